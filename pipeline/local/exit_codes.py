"""The codes with which a run ends."""

from __future__ import annotations

from typing import Final

EXIT_PUSHED: Final = 0
EXIT_ERROR: Final = 1
EXIT_INPUT: Final = 2
EXIT_NONE_BLESSED: Final = 3
EXIT_INTERRUPTED: Final = 130
