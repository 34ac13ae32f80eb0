"""The four papers: name -> the module that lists its systems, tables and published numbers."""

from wsaed.joint import systems as joint
from wsaed.secost import systems as secost
from wsaed.shallow import systems as shallow
from wsaed.tsd import systems as tsd

PAPERS = {module.PAPER: module for module in (secost, joint, shallow, tsd)}
