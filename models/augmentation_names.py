"""The names of the exact augmentations of an image (`models.augmentations` makes them)."""

from __future__ import annotations

from typing import Final, Literal

Augmentation = Literal["identity", "mirror", "crop_nw", "crop_ne", "crop_sw", "crop_se"]
IDENTITY: Final[Augmentation] = "identity"
MIRROR: Final[Augmentation] = "mirror"
IMAGE_AND_MIRROR: Final[tuple[Augmentation, ...]] = (IDENTITY, MIRROR)
