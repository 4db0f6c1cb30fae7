"""The folder of converted networks, unless somebody says otherwise. Imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path


def default_folder() -> Path | None:
    """Return the user's own folder for what can be made again; None where he has none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # As the specification says, a relative path is to be ignored.
        base = cache if cache.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "cxr-tfx" / "networks"
