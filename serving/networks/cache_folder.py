"""The folder of converted networks, unless somebody says otherwise. Imports nothing heavy."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from common.errors import InputError


def default_folder() -> Path | None:
    """Return the user's own folder for what can be made again; None where he has none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # As the specification says, a relative path is to be ignored.
        base = cache if cache.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "cxr-tfx" / "networks"


def require_private(folder: Path) -> None:
    """Check that nobody else can change the converted networks in a folder, where it is there.

    Raises:
        InputError: it is another user's, or others may write to it.
    """
    try:
        found = folder.stat()
    except FileNotFoundError:
        return
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(
            f"network-cache: others may write to {folder}, and what lies there isn't signed: with "
            "--require-signature give a folder of your own (chmod go-w), or an empty name for none."
        )
