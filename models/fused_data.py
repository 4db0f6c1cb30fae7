"""Images as the taps of several networks: what a fused head is fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models import feature_records
from models.boundary import FeatureSpec
from models.convex import Taps
from models.training_data import Moments, moments_of
from models.view_names import VIEW_IDENTITY

# Images a step of reading.
_BATCH = 256


def fused_name(backbone: str, tap: str) -> str:
    """Name of one backbone's tap among all backbones'."""
    return f"{backbone}_{tap}"


@dataclass(frozen=True)
class FusedImages:
    """Images, each as it is, in the order of their hashes.

    Attributes:
        taps: {tap, with its backbone's name: float32 [images, channels]}.
        labels: int64 [images].
        sha256: hex digest of each image file.
        groups: of each image (`contract.GROUP`).
    """

    taps: Taps
    labels: np.ndarray
    sha256: tuple[str, ...]
    groups: tuple[str, ...]

    def rows(self, numbers: np.ndarray) -> FusedImages:
        """Some of the images, in this order."""
        return FusedImages(
            {name: values[numbers] for name, values in self.taps.items()},
            self.labels[numbers],
            tuple(self.sha256[number] for number in numbers),
            tuple(self.groups[number] for number in numbers),
        )

    @staticmethod
    def joined(one: FusedImages, other: FusedImages) -> FusedImages:
        """The images of two splits, as if they had been one."""
        both = FusedImages(
            {name: np.concatenate([one.taps[name], other.taps[name]]) for name in one.taps},
            np.concatenate([one.labels, other.labels]),
            one.sha256 + other.sha256,
            one.groups + other.groups,
        )
        return both.rows(np.argsort(np.asarray(both.sha256), kind="stable"))

    def moments(self) -> Moments:
        """Mean and population variance per channel."""
        return moments_of(self.taps)

    def channels(self) -> dict[str, int]:
        """Tap -> channels."""
        return {name: values.shape[-1] for name, values in self.taps.items()}


def read_fused(
    sources: Mapping[str, Sequence[str]], specs: Mapping[str, Mapping[str, FeatureSpec]]
) -> FusedImages:
    """Reads what Featurizers wrote of one split; other views than the image as it is are left out.

    Args:
        sources: backbone -> patterns of its feature records.
        specs: backbone -> which features to read, each a tap.

    Raises:
        FileNotFoundError: patterns match nothing.
        ValueError: the records aren't of the same images.
    """
    taps: dict[str, np.ndarray] = {}
    found: list[tuple[tuple[str, str, int], ...]] = []
    for name, patterns in sources.items():
        keys = feature_records.read_keys(patterns, (VIEW_IDENTITY,))
        order = np.argsort(np.asarray([key.sha256 for key in keys]), kind="stable")
        found.append(tuple((keys[i].sha256, keys[i].group, keys[i].label) for i in order))
        if found[-1] != found[0]:
            raise ValueError(f"the features of {', '.join(sources)} are of different images")
        dataset = feature_records.read(
            patterns, specs[name], batch_size=_BATCH, views=(VIEW_IDENTITY,)
        )
        parts = [features for features, _ in dataset.as_numpy_iterator()]
        for tap in specs[name]:
            values = np.concatenate([part[tap] for part in parts])
            taps[fused_name(name, tap)] = values[order]
    sha256, groups, labels = zip(*found[0], strict=True)
    return FusedImages(taps, np.asarray(labels, np.int64), sha256, groups)
