"""The lists of requirements agree with each other and give nothing away."""

from __future__ import annotations

import re
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
LOCKS = ("py310.lock", "bootstrap.lock")


def _names(lines: list[str]) -> set[str]:
    """Names without extras and bounds, spelled as the locks spell them."""
    found = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines)
    return {re.sub(r"[._-]+", "-", match[0]).lower() for match in found if match}


def _listed(file: str) -> set[str]:
    return _names((REQUIREMENTS / file).read_text().splitlines())


def test_setup_py_names_the_runtime_requirements() -> None:
    with mock.patch("setuptools.setup") as setup:
        source = (ROOT / "setup.py").read_text()
        exec(compile(source, str(ROOT / "setup.py"), "exec"), {"__file__": str(ROOT / "setup.py")})
    assert _names(setup.call_args.kwargs["install_requires"]) == _listed("runtime.in")


@pytest.mark.parametrize(
    ("source", "lock"),
    [("runtime.in", "py310.lock"), ("dev.in", "py310.lock"), ("bootstrap.in", "bootstrap.lock")],
)
def test_lock_holds_what_is_listed(source: str, lock: str) -> None:
    assert _listed(source) <= _listed(lock)


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_is_pins_and_hashes_only(lock: str) -> None:
    lines = (REQUIREMENTS / lock).read_text().splitlines()
    pin = re.compile(r"[a-z0-9._-]+==[^ ]+( ; [^\\]+)? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert [line for line in lines if not pin.fullmatch(line) and not digest.fullmatch(line)] == []
    # Every pin is followed by a digest: pip would refuse the whole file otherwise.
    assert all(digest.fullmatch(lines[i + 1]) for i, line in enumerate(lines) if pin.match(line))
