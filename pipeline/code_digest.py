"""Digests of the code that a node's result depends on.

Nodes name their functions by import path, so TFX's cache doesn't see edits of the code.
A digest among the execution properties makes it see them.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_SUFFIXES = (".py", ".j2", ".css")


@lru_cache
def code_digest(*paths: str) -> str:
    """SHA-256 over source files.

    Args:
        paths: files or folders (their code and templates, recursively), relative to the root that
            holds `pipeline/`.

    Returns:
        A hex digest that depends on names and contents alone.

    Raises:
        FileNotFoundError: a path leads nowhere.
    """
    digest = hashlib.sha256()
    for path in sorted(set(paths)):
        for file in _sources(_ROOT / path):
            digest.update(f"{file.relative_to(_ROOT).as_posix()}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _sources(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(file for suffix in _SUFFIXES for file in path.rglob(f"*{suffix}"))
    if not files:
        raise FileNotFoundError(f"no source code at {path}")
    return files
