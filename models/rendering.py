"""The choices of how a DICOM's values become grey levels."""

from __future__ import annotations

from dataclasses import dataclass


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
            raise ValueError(f"dicom_window is {self.window}: it counts from 1")
        if not 0 <= self.percentile < 50:
            raise ValueError(f"dicom_percentile is {self.percentile}: it is from 0 to below 50")


DEFAULT = Rendering()
