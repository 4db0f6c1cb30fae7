"""The choices of how a DICOM's values become grey levels, and their note beside a pushed model."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError
from schema import contract

LOGGER: Final = logging.getLogger("cxr.rendering")
# The note's fields; the configuration and the flags have the same names.
WINDOW: Final = "dicom_window"
PERCENTILE: Final = "dicom_percentile"


@dataclass(frozen=True)
class Rendering:
    """The choices that the standard leaves open.

    Training, `cxr predict` and `cxr serve` need the same.

    Attributes:
        window: which of several VOI LUTs and windows counts, from 1; an image that has fewer takes
            its first. The tables of a VOI LUT Sequence come first, then the windows.
        percentile: 0..49.9, for images without any of these: so much of the darkest and of the
            brightest pixels is cut off. With 0, the whole range of BitsStored is shown.
    """

    window: int = 1
    percentile: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: one of them is out of its range.
        """
        if self.window < 1:
            raise ValueError(f"{WINDOW} is {self.window}: it counts from 1")
        if not 0 <= self.percentile < 50:
            raise ValueError(f"{PERCENTILE} is {self.percentile}: it is from 0 to below 50")

    def to_json(self) -> dict[str, float]:
        """Return the note's fields."""
        return {WINDOW: self.window, PERCENTILE: self.percentile}


DEFAULT = Rendering()


@dataclass(frozen=True)
class AskedRendering:
    """The choices that somebody asks for, in place of those that a model learned with.

    Attributes:
        window: as `Rendering` has it; None for the model's own.
        percentile: likewise.
    """

    window: int | None = None
    percentile: float | None = None

    def over(self, learned: Rendering | None, model: str) -> Rendering:
        """Choose; a warning says where a model gets other grey levels than it learned with.

        Args:
            learned: the model's own; None where nothing is known of them.
            model: how the warning calls it.
        """
        own = learned or DEFAULT
        chosen = Rendering(
            own.window if self.window is None else self.window,
            own.percentile if self.percentile is None else self.percentile,
        )
        if learned is not None and chosen != learned:
            LOGGER.warning(
                "%s: DICOM becomes grey by %s, and the model's own is %s; it sees other pixels "
                "than it learned from",
                model,
                _said(chosen),
                _said(learned),
            )
        return chosen


AS_LEARNED = AskedRendering()


def note_text(fields: dict[str, float]) -> str:
    """Write the note that lies beside a model.

    Args:
        fields: `Rendering.to_json`'s.
    """
    return json.dumps(fields, indent=1)


def read_note(text: str) -> Rendering:
    """Read such a note.

    Raises:
        ValueError: it is none.
    """
    try:
        fields = json.loads(text)
        window, percentile = fields[WINDOW], fields[PERCENTILE]
    except (KeyError, TypeError) as error:
        raise ValueError(f"has no {WINDOW} and {PERCENTILE}") from error
    if type(window) is not int or type(percentile) not in (int, float):
        raise ValueError(f"{WINDOW} or {PERCENTILE} is no number")
    return Rendering(window, float(percentile))


def learned_by(version: Path) -> Rendering | None:
    """Read which choices a pushed model learned with.

    Args:
        version: its folder.

    Returns:
        None where nothing is noted: it learned from no DICOM, or was pushed before they were noted.

    Raises:
        InputError: the note is damaged; what the model learned with can't be guessed.
    """
    file = version / contract.RENDERING_NOTE_FILE
    try:
        return read_note(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file}: can't be read ({error}); it says how the model's DICOM images become grey "
            "levels. Push the model again."
        ) from error


def _said(rendering: Rendering) -> str:
    return f"{WINDOW} {rendering.window} and {PERCENTILE} {rendering.percentile:g}"
