"""pyproject.toml, requirements.lock and environment.yml name one environment."""

import importlib.metadata as metadata
import itertools
import re
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

TORCHS_OWN = re.compile(r"nvidia-|cuda-|triton$")
PYTHONS = ["3.11", "3.12", "3.13"]
PLATFORMS = {"linux": {"platform_system": "Linux", "platform_machine": "x86_64"}}
PLATFORMS["darwin"] = {"platform_system": "Darwin", "platform_machine": "arm64"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [line.partition("#")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()]
LOCK = {canonicalize_name(r.name): r for r in map(Requirement, filter(str.strip, LINES))}


def version(pin):
    return next(iter(pin.specifier)).version


def applies(requirement, place):
    return requirement.marker is None or requirement.marker.evaluate(place)


def fits(requirement, number):
    return number is not None and requirement.specifier.contains(number, prereleases=True)


def test_the_lock_is_exact_and_pins_every_direct_dependency_within_its_range():
    direct = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    for wanted in map(Requirement, direct):
        pin = LOCK.get(canonicalize_name(wanted.name))
        assert pin, f"{wanted.name} is in pyproject.toml and not in requirements.lock"
        assert wanted.specifier.contains(version(pin)), f"{pin} does not fit {wanted}"
    for name, pin in LOCK.items():
        assert [s.operator for s in pin.specifier] == ["=="], f"{pin}: pin one version"
        assert not TORCHS_OWN.match(name), f"{name}: torch pins it itself"
    assert LOCK["torch"].specifier == LOCK["torchaudio"].specifier == SpecifierSet("==2.11.0")


@pytest.mark.parametrize(("python", "system"), [*itertools.product(PYTHONS, PLATFORMS)])
def test_the_lock_is_closed_on_every_platform(python, system):
    """Every requirement of a locked package is locked too, where this machine can look it up."""
    place = default_environment() | {"python_version": python, "python_full_version": f"{python}.9"}
    place |= PLATFORMS[system] | {"sys_platform": system, "extra": ""}
    chosen = {name: pin for name, pin in LOCK.items() if applies(pin, place)}
    for name in chosen:
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # another platform's
        for need in map(Requirement, needs):
            needed = canonicalize_name(need.name)
            if applies(need, place) and not TORCHS_OWN.match(needed):
                assert needed in chosen, f"{name} needs {needed} on {python}, {system}: lock it"
                assert fits(need, version(chosen[needed])), f"{name} needs {need}"


def test_what_is_installed_is_what_the_lock_says():
    here = default_environment() | {"extra": ""}
    every = [*metadata.distributions()][::-1]  # the first on the path counts
    found = {canonicalize_name(d.name): d.version for d in every}
    pins = {name: pin for name, pin in LOCK.items() if applies(pin, here)}
    wrong = [f"{p} (here: {found.get(n)})" for n, p in pins.items() if not fits(p, found.get(n))]
    assert not wrong, f"run `make env`: {', '.join(wrong)}"


def test_conda_gets_the_same_packages_and_the_same_pythons():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert conda["name"] == "wsaed"
    python = Requirement(next(d for d in conda["dependencies"] if str(d).startswith("python ")))
    assert python.specifier == SpecifierSet(PROJECT["requires-python"])
    from_pip = next(d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    assert from_pip == ["-r requirements.lock", "-e ."] and "pip" in conda["dependencies"]
    fitting = [v for v in ("3.10", *PYTHONS, "3.14") if python.specifier.contains(v)]
    made = re.search(r"\((\d+), (\d+)\) <= .* < \((\d+), (\d+)\)", (ROOT / "Makefile").read_text())
    assert fitting == PYTHONS and made.groups() == ("3", "11", "3", "14")
