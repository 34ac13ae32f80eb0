"""The four papers: name -> the module that lists its systems, tables and published numbers."""

from wsaed.joint import systems as joint
from wsaed.secost import systems as secost
from wsaed.shallow import systems as shallow
from wsaed.tsd import systems as tsd

PAPERS = {module.PAPER: module for module in (secost, joint, shallow, tsd)}


def artefacts(module, folder: str) -> dict[str, list[str]]:
    """{table or figure: its systems} of a paper's module in a folder of results.

    Evidence on a bank of recordings is of the headline systems, which a laptop trains.
    """
    profile, _, bank = folder.partition("-")
    return module.artefacts("laptop" if bank and profile == "evidence" else profile)
