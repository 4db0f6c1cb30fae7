"""The generations of TFX that this project runs on, and what each of them needs.

scripts/setup.sh picks one when it makes the environment, and leaves a note there that says which
and why. The table in that script is this one again; tests/scripts/test_setup_sh.py holds them
together. Nothing of TFX is imported here: `cxr doctor` has to answer even where TFX can't be.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# What setup.sh leaves in the environment: `1.21: why this one`.
NOTE: Final = Path(sys.prefix, "cxr-generation")


@dataclass(frozen=True)
class Generation:
    """A TFX with what belongs to it.

    Attributes:
        tfx: its version, without the last part.
        pythons: the versions of CPython that it runs on, best first.
        glibc: the oldest C library that its packages are content with.
        system: distributions that have one.
        packages: distribution -> how its version must begin; "" takes any.
    """

    tfx: str
    pythons: tuple[str, ...]
    glibc: tuple[int, int]
    system: str
    packages: Mapping[str, str] = field(repr=False, hash=False)

    @property
    def python_range(self) -> str:
        """`3.10`, or `3.11 to 3.13`."""
        first, last = self.pythons[-1], self.pythons[0]
        return first if first == last else f"{first} to {last}"

    @property
    def glibc_text(self) -> str:
        """`2.39`."""
        return ".".join(map(str, self.glibc))


# The newest first: it is taken where the machine has what it needs.
GENERATIONS: Final = (
    Generation(
        tfx="1.21",
        pythons=("3.13", "3.12", "3.11"),
        glibc=(2, 39),
        system="Debian 13 or Ubuntu 24.04",
        packages={
            "tfx": "1.21.",
            "tensorflow": "2.21.",
            "keras": "3.",
            "apache-beam": "2.",
            "tensorflow-model-analysis": "0.52.",
            "tensorflow-data-validation": "1.21.",
            "tensorflow-transform": "1.21.",
            "protobuf": "6.",
            "dill": "",
        },
    ),
    Generation(
        tfx="1.16",
        pythons=("3.10",),
        glibc=(2, 28),
        system="Debian 12 or Ubuntu 22.04",
        packages={
            "tfx": "1.16.",
            "tensorflow": "2.16.",
            "keras": "3.",
            "apache-beam": "2.",
            "tensorflow-model-analysis": "0.47.",
            "tensorflow-data-validation": "1.16.",
            "tensorflow-transform": "1.16.",
            "protobuf": "3.20.",
            "dill": "",
        },
    ),
)


def find_generation(tfx: str) -> Generation | None:
    """Find the generation of a version of TFX, such as `1.16` or `1.16.0`."""
    return next((one for one in GENERATIONS if f"{tfx}.".startswith(f"{one.tfx}.")), None)


def read_note() -> tuple[Generation, str] | None:
    """Read what setup.sh picked and why; None where it left no note, or one that isn't known."""
    try:
        tfx, separator, why = NOTE.read_text(encoding="utf-8").strip().partition(": ")
    except (OSError, UnicodeDecodeError):
        return None
    generation = find_generation(tfx)
    return (generation, why) if generation and separator else None


def derive_generation(
    tfx: str | None, python: str, glibc: tuple[int, ...]
) -> tuple[Generation, str]:
    """Find the generation that an environment without a note is closest to, and why.

    Args:
        tfx: the version that is installed, if any.
        python: such as `3.10`.
        glibc: the C library's version; empty where it is another one.
    """
    if tfx and (installed := find_generation(tfx)):
        return installed, f"tfx {tfx} is installed"
    for generation in GENERATIONS:
        if python in generation.pythons and glibc >= generation.glibc:
            return generation, f"Python {python} and the C library fit it"
    newest, *_, oldest = GENERATIONS
    if glibc >= newest.glibc:
        return newest, f"glibc is {newest.glibc_text} or newer"
    return oldest, f"TFX {newest.tfx} needs glibc {newest.glibc_text}, which is not there"
