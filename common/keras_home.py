"""The place where Keras keeps the weights that it downloads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

# Set while a run sends Keras' own files elsewhere: the folder that is Keras' home otherwise.
OWN_KERAS_HOME: Final = "CXR_KERAS_HOME"


def keras_cache() -> Path:
    """Find the folder in which Keras keeps downloaded weights."""
    home = os.environ.get(OWN_KERAS_HOME) or os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"
