"""pyproject.toml, requirements.lock and environment.yml name one environment."""

import importlib.metadata as metadata
import itertools
import re
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

TORCHS_OWN = re.compile(r"nvidia-|cuda-|triton$")
PYTHONS = ["3.11", "3.12", "3.13"]
PLATFORMS = {"linux": ("Linux", "x86_64"), "darwin": ("Darwin", "arm64")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lock():
    text = (ROOT / "requirements.lock").read_text()
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    found = [Requirement(line) for line in lines if line]
    return {canonicalize_name(r.name): r for r in found}


def direct():
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    return [Requirement(line) for line in lines]


def marks(python, system):
    name, machine = PLATFORMS[system]
    return {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": system,
        "platform_system": name,
        "platform_machine": machine,
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }


def applies(requirement, place):
    return requirement.marker is None or requirement.marker.evaluate(place)


def test_the_lock_pins_every_direct_dependency_within_its_range():
    pins = lock()
    for wanted in direct():
        pin = pins.get(canonicalize_name(wanted.name))
        assert pin, f"{wanted.name} is in pyproject.toml and not in requirements.lock"
        version = next(iter(pin.specifier)).version
        assert wanted.specifier.contains(version), f"{pin} does not fit {wanted}"


def test_the_lock_is_exact_and_leaves_torchs_packages_to_torch():
    pins = lock()
    for name, pin in pins.items():
        assert [s.operator for s in pin.specifier] == ["=="], f"{pin}: pin one version"
        assert not TORCHS_OWN.match(name), f"{name}: torch pins it itself"
    assert pins["torch"].specifier == pins["torchaudio"].specifier == SpecifierSet("==2.11.0")


@pytest.mark.parametrize(("python", "system"), [*itertools.product(PYTHONS, PLATFORMS)])
def test_the_lock_is_closed_on_every_platform(python, system):
    """Every requirement of a locked package is locked too, where this machine can look it up."""
    place, pins = marks(python, system), lock()
    chosen = {name: pin for name, pin in pins.items() if applies(pin, place)}
    for name in chosen:
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # another platform's
        for need in map(Requirement, needs):
            needed = canonicalize_name(need.name)
            if not applies(need, place) or TORCHS_OWN.match(needed):
                continue
            assert needed in chosen, f"{name} needs {needed} on {python}, {system}: lock it"
            version = next(iter(chosen[needed].specifier)).version
            assert need.specifier.contains(version, prereleases=True), f"{name} needs {need}"


def test_what_is_installed_is_what_the_lock_says():
    from packaging.markers import default_environment

    here = default_environment() | {"extra": ""}
    wrong = []
    for pin in lock().values():
        if applies(pin, here):
            try:
                found = metadata.version(pin.name)
            except metadata.PackageNotFoundError:
                found = "missing"
            if found == "missing" or not pin.specifier.contains(found):
                wrong.append(f"{pin} (here: {found})")
    assert not wrong, f"run `make env`: {', '.join(wrong)}"


def test_conda_gets_the_same_packages_and_the_same_pythons():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert conda["name"] == "wsaed"
    python = Requirement(next(d for d in conda["dependencies"] if str(d).startswith("python ")))
    assert python.specifier == SpecifierSet(PROJECT["requires-python"])
    from_pip = next(d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    assert from_pip == ["-r requirements.lock", "-e ."] and "pip" in conda["dependencies"]
    for version in PYTHONS:
        assert python.specifier.contains(version)
    for version in ("3.10", "3.14"):
        assert not python.specifier.contains(version)
    in_makefile = re.search(
        r"\((\d+), (\d+)\) <= .* < \((\d+), (\d+)\)", (ROOT / "Makefile").read_text()
    )
    assert in_makefile.groups() == ("3", "11", "3", "14")
