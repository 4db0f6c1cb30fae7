"""The kernel's description of the machine: its files of `key : value` lines, below /proc."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MEMINFO: Final = Path("/proc/meminfo")


def fields(file: Path) -> dict[str, str]:
    """Read such a file; of a key that comes again (one CPU each), the first counts.

    Returns:
        Key -> value; nothing where the file can't be read.
    """
    found: dict[str, str] = {}
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        key, separator, value = line.partition(":")
        if separator:
            found.setdefault(key.strip(), value.strip())
    return found


def kibibytes(text: str) -> int | None:
    """Read a value of `MEMINFO` such as `24684084 kB`, in bytes; None where it is none."""
    number = text.removesuffix("kB").strip()
    return int(number) * 1024 if number.isdigit() else None
