"""Made evaluations against those of the golden run, which TFX's Evaluator wrote."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402
import tensorflow_model_analysis as tfma  # noqa: E402

from components.evaluator.results import (  # noqa: E402
    confusion_matrix,
    gate_figures,
    refusal,
    slice_counts,
)
from components.report.answers import read_answers  # noqa: E402
from schema import contract  # noqa: E402
from tests.pipeline.made_evaluation import Answered, evaluated, figures_of  # noqa: E402

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun

# Of float32, whose sum depends on the order of the images.
_LOSS = "sparse_categorical_crossentropy"


def _features(examples: Path, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Digest -> these features, of the test split's images."""
    files = [str(file) for file in (examples / f"Split-{contract.SPLIT_TEST}").iterdir()]
    found = {}
    for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        values = {
            name: feature[name].bytes_list.value[0].decode() for name in (contract.SHA256, *names)
        }
        found[values[contract.SHA256]] = values
    return found


def test_of_the_golden_runs_answers_they_are_the_golden_runs(
    golden: GoldenRun, tmp_path: Path
) -> None:
    artifacts = golden.layout.artifacts
    (real,) = map(str, (artifacts / "Evaluator.xception" / "evaluation").iterdir())
    (examples,) = (artifacts / "RadiographExampleGen" / "examples").iterdir()
    config = tfma.load_eval_result(real).config
    answers = read_answers(real)
    sliced_by = [name for spec in config.slicing_specs for name in spec.feature_keys]
    features = _features(examples, [*sliced_by, contract.GROUP])
    test_split = [
        Answered(int(label), probabilities, features=features[digest])
        for digest, label, probabilities in zip(
            answers.sha256, answers.labels, answers.probabilities, strict=True
        )
    ]
    made = evaluated(tmp_path, config, test_split, has_baseline=False)
    theirs, ours = figures_of(real), figures_of(made)
    assert {name for _, _, name in theirs.keys() - ours.keys()} == {_LOSS}
    for key, value in ours.items():
        if key[-1] == contract.SERVED_DIFFERENCE:
            # The made one asked no SavedModel; the real one's is what was judged.
            assert 0 < theirs[key]["doubleValue"] < 1e-4 or key[0], key
        else:
            assert theirs[key] == value, key
    for read in (gate_figures, slice_counts, refusal):
        assert read(made) == read(real)
    np.testing.assert_array_equal(confusion_matrix(made, 3), confusion_matrix(real, 3))
