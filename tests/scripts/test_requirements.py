"""The lists of requirements agree with each other and give nothing away."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from common.generations import GENERATIONS, Generation

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
LOCKS = (*(f"tfx-{generation.tfx}.lock" for generation in GENERATIONS), "bootstrap.lock")

every_python = pytest.mark.parametrize(
    ("generation", "python"),
    [(generation, python) for generation in GENERATIONS for python in generation.pythons],
    ids=lambda value: value.tfx if isinstance(value, Generation) else value,
)


def _requirements(lines: Iterable[str]) -> list[Requirement]:
    """What is named, without comments and options."""
    return [Requirement(line) for line in lines if re.match(r"[A-Za-z0-9]", line)]


def _listed(file: str) -> list[Requirement]:
    """What an .in file names, with the files that it takes in."""
    lines = (REQUIREMENTS / file).read_text().splitlines()
    taken_in = [line.removeprefix("-r ") for line in lines if line.startswith("-r ")]
    return _requirements(lines) + [entry for other in taken_in for entry in _listed(other)]


@functools.cache
def _locked(file: str) -> list[Requirement]:
    pins = (line.removesuffix(" \\") for line in (REQUIREMENTS / file).read_text().splitlines())
    return _requirements(pins)


@functools.cache
def _setup() -> dict[str, list[str]]:
    """What setup.py requires; of its extras the one with its name."""
    with mock.patch("setuptools.setup") as setup:
        source = (ROOT / "setup.py").read_text()
        exec(compile(source, str(ROOT / "setup.py"), "exec"), {"__file__": str(ROOT / "setup.py")})
    given = setup.call_args.kwargs
    return {"": given["install_requires"], **given["extras_require"]}


def _for(python: str, requirements: Iterable[Requirement]) -> list[Requirement]:
    """Those that count on Linux with this Python."""
    machine = {"python_version": python, "python_full_version": f"{python}.1"}
    return [entry for entry in requirements if _holds(entry.marker, machine)]


def _holds(marker: Marker | None, machine: dict[str, str]) -> bool:
    return marker is None or marker.evaluate({"sys_platform": "linux", **machine})


def _names(requirements: Iterable[Requirement]) -> set[str]:
    return {canonicalize_name(entry.name) for entry in requirements}


@every_python
def test_setup_py_names_the_runtime_requirements(generation: Generation, python: str) -> None:
    required = _for(python, _requirements(_setup()[""]))
    assert _names(required) == _names(_listed("runtime.in")) | {"tfx"}
    extras = {
        name: _for(python, _requirements(wanted)) for name, wanted in _setup().items() if name
    }
    for name, wanted in extras.items():
        assert _names(wanted) == _names(_listed(f"{name}.in"))
    extra = list(itertools.chain.from_iterable(extras.values()))
    # Once each: of a package with bounds for each TFX, only one line counts.
    assert len(required + extra) == len(_names(required + extra))
    assert _names(_listed(f"tfx-{generation.tfx}.in")) == _names(required + extra)


@every_python
def test_lock_fits_the_bounds(generation: Generation, python: str) -> None:
    bounds = [
        *_for(python, _requirements(_setup()[""] + _setup()["kubeflow"])),
        *_listed(f"tfx-{generation.tfx}.in"),
        *_listed("dev.in"),
    ]
    pins = _for(python, _locked(f"tfx-{generation.tfx}.lock"))
    versions = {
        canonicalize_name(entry.name): str(entry.specifier).removeprefix("==") for entry in pins
    }
    assert len(versions) == len(pins), "two versions of one package"
    for bound in bounds:
        assert bound.specifier.contains(versions[canonicalize_name(bound.name)]), bound


def test_bootstrap_lock_holds_what_is_listed() -> None:
    assert _names(_listed("bootstrap.in")) <= _names(_locked("bootstrap.lock"))


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_is_pins_and_hashes_only(lock: str) -> None:
    lines = (REQUIREMENTS / lock).read_text().splitlines()
    pin = re.compile(r"[a-z0-9._-]+==[^ ]+( ; [^\\]+)? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert [line for line in lines if not pin.fullmatch(line) and not digest.fullmatch(line)] == []
    # Every pin is followed by a digest: pip would refuse the whole file otherwise.
    assert all(digest.fullmatch(lines[i + 1]) for i, line in enumerate(lines) if pin.match(line))


def test_python_requires_is_that_of_the_generations() -> None:
    pythons = {python for generation in GENERATIONS for python in generation.pythons}
    assert 'python_requires=">=3.10,<3.14"' in (ROOT / "setup.py").read_text()
    assert pythons == {f"3.{minor}" for minor in range(10, 14)}
