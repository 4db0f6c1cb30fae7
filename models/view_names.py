"""The names of the exact views of an image (`models.views` makes them)."""

from __future__ import annotations

from typing import Final, Literal

View = Literal["identity", "mirror", "crop_nw", "crop_ne", "crop_sw", "crop_se"]
VIEW_IDENTITY: Final[View] = "identity"
VIEW_MIRROR: Final[View] = "mirror"
IMAGE_AND_MIRROR: Final[tuple[View, ...]] = (VIEW_IDENTITY, VIEW_MIRROR)
