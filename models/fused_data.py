"""Images as the taps of several networks: what a fused head is fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models import feature_records
from models.augmentation_names import IDENTITY
from models.boundary import FeatureSpec
from models.head_rows import Taps
from models.training_data import ImageTaps
from schema.inputs import Input

# Images a step of reading.
_BATCH = 256


def fused_name(backbone: str, tap: str) -> str:
    """Name of one backbone's tap among all backbones'."""
    return f"{backbone}_{tap}"


def read_fused(
    sources: Mapping[str, Sequence[str]],
    specs: Mapping[str, Mapping[str, FeatureSpec]],
    beside: Sequence[Input] = (),
) -> ImageTaps:
    """Read what Featurizers wrote of some images; further augmentations of them are left out.

    Args:
        sources: backbone -> patterns of its feature records.
        specs: backbone -> which features to read, each a tap.
        beside: inputs that go straight to the head; each is a further tap, by its own name.

    Returns:
        Taps by their names among all backbones' (`fused_name`); a row an image.

    Raises:
        FileNotFoundError: patterns match nothing.
        ValueError: the records aren't of the same images.
    """
    straight = feature_records.specs_of(beside)
    taps: dict[str, np.ndarray] = {}
    found: list[list[tuple[str, str, int]]] = []
    for name, patterns in sources.items():
        keys = feature_records.read_keys(patterns, (IDENTITY,))
        order = np.argsort(np.asarray([key.sha256 for key in keys]), kind="stable")
        found.append([(keys[row].sha256, keys[row].group, keys[row].label) for row in order])
        if found[-1] != found[0]:
            raise ValueError(f"the features of {', '.join(sources)} are of different images")
        for tap, values in _read(patterns, {**specs[name], **straight}).items():
            taps[tap if tap in straight else fused_name(name, tap)] = values[order]
    sha256, groups, labels = zip(*found[0], strict=True)
    return _one_row_an_image(taps, np.asarray(labels, np.int64), sha256, groups)


def joined(one: ImageTaps, other: ImageTaps) -> ImageTaps:
    """Join the images of two splits; each of what `read_fused` returned."""
    sha256, groups = one.sha256 + other.sha256, one.groups + other.groups
    order = np.argsort(np.asarray(sha256), kind="stable")
    return _one_row_an_image(
        {tap: np.concatenate([one.taps[tap], other.taps[tap]])[order] for tap in one.taps},
        np.concatenate([one.labels, other.labels])[order],
        tuple(sha256[row] for row in order),
        tuple(groups[row] for row in order),
    )


def _read(patterns: Sequence[str], specs: Mapping[str, FeatureSpec]) -> Taps:
    dataset = feature_records.read(patterns, specs, batch_size=_BATCH, augmentations=(IDENTITY,))
    parts = [features for features, _ in dataset.as_numpy_iterator()]
    return {tap: np.concatenate([part[tap] for part in parts]) for tap in specs}


def _one_row_an_image(
    taps: Taps, labels: np.ndarray, sha256: tuple[str, ...], groups: tuple[str, ...]
) -> ImageTaps:
    rows = np.arange(len(labels))
    return ImageTaps(taps, rows, rows, labels, sha256, groups)
