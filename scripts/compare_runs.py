"""Checks that two runs on the same images came to the same: one of each generation of TFX, say.

    python scripts/compare_runs.py OUTPUT OTHER_OUTPUT

Compares the digest of the split, the features that Featurizer cached, and the blessings. Exits
with 1 and a line for each thing that differs. The runs need not be on this machine's paths: only
what lies below the two folders is read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from schema import contract

# Of a feature, as a share of the largest absolute value that its tap has in this run.
TOLERANCE: Final = 1e-3

Features = dict[tuple[str, str, str], np.ndarray]


def summary_of(output: Path) -> dict[str, Any]:
    """Read what the run wrote about itself."""
    content: dict[str, Any] = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    return content


def decisions(summary: Mapping[str, Any]) -> dict[str, bool]:
    """Return for each model whether it was blessed."""
    return {name: bool(model["blessed"]) for name, model in summary["models"].items()}


def features_of(output: Path, backbone: str) -> Features:
    """Read what the newest Featurizer of a backbone cached at the boundary `head`.

    Returns:
        (image's sha256, augmentation, tap) -> float32 [channels].

    Raises:
        FileNotFoundError: the run has no features of the backbone.
    """
    import tensorflow as tf

    node = output / "artifacts" / f"Featurizer.{backbone}" / "features"
    newest = max(node.glob("*"), key=lambda folder: int(folder.name), default=None)
    if newest is None:
        raise FileNotFoundError(f"{node} holds no features")
    found: Features = {}
    files = sorted(map(str, newest.glob("Split-*/*")))
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        found.update(_features_in(record))
    return found


def _features_in(record: bytes) -> Features:
    import tensorflow as tf

    fields = tf.train.Example.FromString(record).features.feature
    sha256, augmentation = (
        fields[name].bytes_list.value[0].decode()
        for name in (contract.SHA256, contract.AUGMENTATION_NAME)
    )
    return {
        (sha256, augmentation, name.removeprefix(contract.FEATURE_PREFIX)): np.frombuffer(
            field.bytes_list.value[0], np.float32
        )
        for name, field in fields.items()
        if name.startswith(contract.FEATURE_PREFIX)
    }


def largest_differences(one: Features, other: Features) -> dict[str, float]:
    """Compute each tap's largest difference, as a share of its largest absolute value.

    Raises:
        ValueError: they are not of the same images, augmentations and taps.
    """
    if one.keys() != other.keys():
        raise ValueError(f"{len(one.keys() ^ other.keys())} features are in one run only")
    scale: dict[str, float] = {}
    difference: dict[str, float] = {}
    for key, values in one.items():
        tap = key[2]
        scale[tap] = max(scale.get(tap, 0.0), float(np.abs(values).max()))
        gap = float(np.abs(values - other[key]).max())
        difference[tap] = max(difference.get(tap, 0.0), gap)
    return {tap: gap / scale[tap] if scale[tap] else gap for tap, gap in difference.items()}


def compare(one: Path, other: Path) -> tuple[list[str], list[str]]:
    """Say what the two have in common, and in what they differ, a sentence each."""
    summaries = summary_of(one), summary_of(other)
    same: list[str] = []
    different: list[str] = []
    versions = " and ".join(summary["tfx_version"] for summary in summaries)
    digests = [summary["data"]["digest"] for summary in summaries]
    (same if digests[0] == digests[1] else different).append(
        f"TFX {versions}: split {' and '.join(dict.fromkeys(digests))}"
    )
    blessings = [decisions(summary) for summary in summaries]
    for name in sorted(blessings[0].keys() | blessings[1].keys()):
        verdicts = [b.get(name) for b in blessings]
        correct = [s["models"].get(name, {}).get("correct") for s in summaries]
        (same if verdicts[0] == verdicts[1] else different).append(
            f"{name}: blessed {verdicts[0]} and {verdicts[1]}, "
            f"correct {correct[0]} and {correct[1]}"
        )
    for name, model in sorted(summaries[0]["models"].items()):
        if model["members"] is not None:
            continue
        try:
            gaps = largest_differences(features_of(one, name), features_of(other, name))
        except (FileNotFoundError, ValueError) as error:
            different.append(f"{name}: {error}")
            continue
        for tap, gap in sorted(gaps.items()):
            (same if gap <= TOLERANCE else different).append(
                f"{name} {tap}: features differ by {gap:.1e} of the largest at most"
            )
    return same, different


def main(one: str, other: str) -> int:
    """Print what was found; return the exit code."""
    same, different = compare(Path(one), Path(other))
    for sentence in same:
        print(sentence)
    for sentence in different:
        print(f"compare_runs: differs: {sentence}", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("compare_runs: give the OUTPUT folders of two runs.")
    sys.exit(main(*sys.argv[1:]))
