"""The folder of converted networks that a push leaves beside the models. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# No server takes a folder without a number in it for a model, and people's listings pass it over.
PUSHED_NETWORKS: Final = ".networks"


def beside(version: Path) -> Path:
    """Name it for a version's folder, SERVING/NAME/NUMBER."""
    return version.parent.parent / PUSHED_NETWORKS
