"""The comparison of two runs finds each thing in which they may differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.runtime import prepare_environment
from scripts.compare_runs import TOLERANCE, compare, main

prepare_environment()
import tensorflow as tf  # noqa: E402

from models import feature_records  # noqa: E402

Write = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes what the comparison reads of a run."""

    def write(
        name: str, *, digest: str = "d", blessed: bool = True, shift: float = 0.0, images: int = 2
    ) -> Path:
        output = tmp_path / name
        split = output / "artifacts" / "Featurizer.tiny" / "features" / "10" / "Split-test"
        split.mkdir(parents=True)
        # An older one, which doesn't count.
        (split.parents[1] / "9" / "Split-test").mkdir(parents=True)
        with tf.io.TFRecordWriter(str(split / "features-00000")) as records:
            for image in range(images):
                values = np.array([0.25, -4.0 + shift], np.float32)
                records.write(
                    feature_records.serialize(
                        {"last": values},
                        augmentation="identity",
                        label=0,
                        class_name=b"Normal",
                        sha256=str(image).encode(),
                        group=str(image).encode(),
                    )
                )
        one: dict[str, Any] = {"blessed": blessed, "correct": 7, "members": None}
        combined = {"blessed": True, "correct": 8, "members": ["tiny"]}
        summary = {
            "tfx_version": name,
            "data": {"digest": digest},
            "models": {"tiny": one, "ensemble": combined},
        }
        (output / "summary.json").write_text(json.dumps(summary))
        return output

    return write


def test_runs_that_came_to_the_same(written: Write, capsys: pytest.CaptureFixture[str]) -> None:
    runs = written("1.16"), written("1.21", shift=0.9 * TOLERANCE * 4)
    assert main(*map(str, runs)) == 0
    shown = capsys.readouterr()
    assert "TFX 1.16 and 1.21: split d\n" in shown.out
    assert "tiny: blessed True and True, correct 7 and 7" in shown.out
    assert "tiny last: features differ by 9.0e-04 of the largest at most" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"digest": "e"}, "split d and e"),
        ({"blessed": False}, "tiny: blessed True and False"),
        ({"shift": 1.1 * TOLERANCE * 4}, "tiny last: features differ by 1.1e-03"),
        ({"images": 1}, "tiny: 1 features are in one run only"),
    ],
)
def test_each_difference_is_said(
    written: Write,
    change: dict[str, Any],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(str(written("one")), str(written("other", **change))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line


def test_a_run_without_features_is_a_difference(written: Write, tmp_path: Path) -> None:
    one, other = written("one"), written("other")
    for file in (other / "artifacts").rglob("features-*"):
        file.unlink()
    _, different = compare(one, other)
    assert different == ["tiny: 2 features are in one run only"]
