"""The gate's own metrics, through TFMA, against what the raw predictions say."""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.intervals import wilson, wilson95
from common.runtime import prepare_environment

prepare_environment()

import apache_beam as beam  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_model_analysis as tfma  # noqa: E402
from tensorflow_model_analysis.metrics import metric_types  # noqa: E402
from tensorflow_model_analysis.proto import config_pb2  # noqa: E402

from common.in_process_beam import InProcessRunner  # noqa: E402
from components.evaluator import combiners  # noqa: E402
from components.evaluator import metrics as tfma_metrics  # noqa: E402
from components.evaluator.combiners import mcnemar_p  # noqa: E402
from components.evaluator.configuration import SliceGateConfig  # noqa: E402
from components.evaluator.eval_config import eval_config  # noqa: E402
from components.evaluator.results import (  # noqa: E402
    SliceCount,
    candidate_result,
    confidence_curve,
    gate_figures,
    refusal,
    slice_counts,
)
from components.report.answers import read_answers  # noqa: E402
from schema import contract  # noqa: E402
from tests.pipeline.made_evaluation import (  # noqa: E402
    BASELINE,
    CANDIDATE,
    Answered,
    evaluated,
    figures_of,
)

Evaluate = Callable[..., str]
SLICE = contract.SLICE_FEATURES[0]
# Blanks and dots are nothing special in a column's name.
COLUMN = "x-ray unit no."
METRICS = (
    tfma_metrics.AccuracyWilsonLower(),
    tfma_metrics.McNemarPValue(),
    tfma_metrics.ConfidenceCurve(),
    tfma_metrics.SliceAccuracy("accuracy of a slice", min_images=10),
    tfma_metrics.SliceWilsonLower("wilson lower of a slice", min_images=10),
)
# Sums of quarters: ties of two classes come up, and probabilities that are thresholds.
QUARTERS = [(a / 4, b / 4, (4 - a - b) / 4) for a in range(5) for b in range(5 - a)]
answers = st.sampled_from(QUARTERS) | st.tuples(*[st.floats(0, 1, width=32)] * 3)


class Image(NamedTuple):
    """An image's label, what either model says of it, and the slice that it is in."""

    label: int
    candidate: tuple[float, ...]
    baseline: tuple[float, ...]
    group: str


images = st.builds(Image, st.integers(0, 2), answers, answers, st.sampled_from("FM"))


def _pairs(both: int = 0, candidate: int = 0, baseline: int = 0, neither: int = 0) -> list[Image]:
    """Images that both models, one of them, or neither of them gets right."""
    right, wrong = (0.8, 0.1, 0.1), (0.1, 0.1, 0.8)
    return (
        [Image(0, right, right, "F")] * both
        + [Image(0, right, wrong, "F")] * candidate
        + [Image(0, wrong, right, "M")] * baseline
        + [Image(0, wrong, wrong, "M")] * neither
    )


# Right and wrong answers of either model, ties, and probabilities that are thresholds.
TEST_SPLIT = [
    *_pairs(both=4, candidate=2, baseline=6, neither=1),
    *(
        Image(index % 3, answer, QUARTERS[-1 - index], "FM"[index % 2])
        for index, answer in enumerate(QUARTERS)
    ),
    Image(0, (0.9, 0.05, 0.05), (0.29, 0.7, 0.01), "F"),
    Image(2, (0.58, 0.13, 0.29), (0.2, 0.2, 0.6), "M"),
]
# Images of TEST_SPLIT that the SavedModel was asked about, too, and how far off it is there.
SERVED = {2: 0.0, 5: 0.25, 7: 0.125}
GATE: dict[str, Any] = {
    "served_within": 0.2,
    "min_accuracy": 0.95,
    "min_wilson_lower": 0.9,
    "slices": [
        SliceGateConfig(feature=COLUMN, min_accuracy=0.9, min_wilson_lower=0.8),
        SliceGateConfig(feature="class", value="M", min_accuracy=0.9, min_images=30),
        SliceGateConfig(feature=COLUMN, value="unit X", min_accuracy=0.1),
    ],
    "columns": [COLUMN],
}


class _Oracle(tf.Module):
    """A model that reads its answer from a feature of the example."""

    def __init__(self, feature: str) -> None:
        super().__init__()
        self._spec = {feature: tf.io.FixedLenFeature([3], tf.float32)}
        self._feature = feature

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def answer(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(examples, self._spec)
        return {contract.OUTPUT_PROBABILITIES: parsed[self._feature]}


def digest_of(index: int) -> str:
    """The digest that stands for the test split's image of that index; not sorted by it."""
    return hashlib.sha256(str(index).encode()).hexdigest()


def _features(index: int, image: Image) -> dict[str, str]:
    return {
        contract.SHA256: digest_of(index),
        SLICE: image.group,
        f"{contract.COLUMN_PREFIX}{COLUMN}": f"unit {image.group}",
    }


def _served(index: int, image: Image) -> list[float]:
    return [p - SERVED[index] for p in image.candidate] if index in SERVED else []


def _serialized(index: int, image: Image) -> bytes:
    example = tf.train.Example()
    feature = example.features.feature
    feature[contract.LABEL].int64_list.value.append(image.label)
    for name, value in _features(index, image).items():
        feature[name].bytes_list.value.append(value.encode())
    feature[contract.ANSWER].float_list.value.extend(image.candidate)
    feature[contract.BASELINE_ANSWER].float_list.value.extend(image.baseline)
    if served := _served(index, image):
        feature[contract.SERVED_ANSWER].float_list.value.extend(served)
    return bytes(example.SerializeToString())


def _config(**gate: Any) -> config_pb2.EvalConfig:
    return eval_config(n_classes=3, **{"min_accuracy": 0.0, "against_baseline": True} | gate)


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Evaluate:
    """The evaluation of two models that answer what the images say."""

    def call(test_split: list[Image], *, has_baseline: bool = True, **gate: Any) -> str:
        sampled = test_split is TEST_SPLIT
        answered = [
            Answered(
                image.label,
                image.candidate,
                image.baseline,
                _features(index, image),
                _served(index, image) if sampled else (),
            )
            for index, image in enumerate(test_split)
        ]
        folder = tmp_path_factory.mktemp("evaluation")
        return evaluated(folder, _config(**gate), answered, has_baseline=has_baseline)

    return call


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> str:
    """TEST_SPLIT with its answers, as Inferrer writes it."""
    path = tmp_path_factory.mktemp("records") / "test.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index, image in enumerate(TEST_SPLIT):
            writer.write(_serialized(index, image))
    return str(path)


def _job(config: config_pb2.EvalConfig, records: str, folder: Path, models: Path) -> str:
    """TFMA's own job, in this process and without AutoGraph, as Evaluator runs it.

    test_evaluator.py shows that Beam's own runner finds the same. Models lie in folders of their
    names, if they do.
    """
    shared = [
        tfma.default_eval_shared_model(
            str(models / spec.name), model_name=spec.name, eval_config=config
        )
        for spec in config.model_specs
    ]
    output = str(folder / "evaluation")
    here = InProcessRunner(beam.runners.DirectRunner())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beam, "Pipeline", functools.partial(beam.Pipeline, runner=here))
        run = tf.autograph.experimental.do_not_convert(tfma.run_model_analysis)
        run(shared, eval_config=config, data_location=records, output_path=output)
    return output


def _whole_config() -> config_pb2.EvalConfig:
    """The configuration as Evaluator completes it."""
    return tfma.utils.update_eval_config_with_defaults(
        _config(**GATE), has_baseline=True, rubber_stamp=True
    )


@pytest.fixture(scope="module")
def job(records: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The evaluation that TFMA's own job writes of TEST_SPLIT; there is no model."""
    folder = tmp_path_factory.mktemp("job")
    return _job(_whole_config(), records, folder, Path("nowhere"))


def test_answers_are_judged_as_the_models_would_be(job: str, records: str, tmp_path: Path) -> None:
    """Every value and plot, to the last digit, beside TFMA's with the models in it."""
    config = _whole_config()
    for spec in config.model_specs:
        oracle = _Oracle(spec.prediction_key)
        signatures = {contract.SIGNATURE_EXAMPLES: oracle.answer}
        tf.saved_model.save(oracle, str(tmp_path / spec.name), signatures)
        spec.ClearField("model_type")
        spec.signature_name = contract.SIGNATURE_EXAMPLES
        spec.prediction_key = contract.OUTPUT_PROBABILITIES
    by_models = _job(config, records, tmp_path / "models", tmp_path)
    for name in (CANDIDATE, BASELINE):
        ours = tfma.load_eval_result(job, model_name=name)
        theirs = tfma.load_eval_result(by_models, model_name=name)
        assert len(theirs.slicing_metrics) > 1
        assert dict(ours.slicing_metrics) == dict(theirs.slicing_metrics)
        assert dict(ours.plots) == dict(theirs.plots)
    assert refusal(job) == refusal(by_models)


def _metrics(evaluation: str, **of_slice: str) -> dict[str, Any]:
    slices = dict(candidate_result(evaluation).slicing_metrics)
    return slices[tuple(of_slice.items())][""][""]


def _right(image: Image, answer: tuple[float, ...]) -> bool:
    return answer.index(max(answer)) == image.label


def _wilson_lower(right: int, total: int) -> float:
    """Wilson's formula, written out."""
    z, share = NormalDist().inv_cdf(0.975), right / total
    spread = math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    return (share + z**2 / (2 * total) - z * spread) / (1 + z**2 / total)


def _one_sided_p(only_candidate: int, only_baseline: int) -> float:
    """By counting: of all ways in which the coins may fall, those at least as bad."""
    coins = only_candidate + only_baseline
    return sum(math.comb(coins, k) for k in range(only_baseline, coins + 1)) / 2**coins


def _check(evaluation: str, test_split: list[Image], **of_slice: str) -> None:
    metrics = _metrics(evaluation, **of_slice)
    candidate = [_right(image, image.candidate) for image in test_split]
    baseline = [_right(image, image.baseline) for image in test_split]
    right, total = sum(candidate), len(test_split)
    assert metrics["accuracy"]["doubleValue"] == pytest.approx(right / total, rel=1e-6)
    lower = metrics[contract.WILSON_LOWER]["doubleValue"]
    assert lower == pytest.approx(_wilson_lower(right, total), abs=1e-12)
    pairs = list(zip(candidate, baseline, strict=True))
    only = pairs.count((True, False)), pairs.count((False, True))
    names = (contract.ONLY_CANDIDATE_RIGHT, contract.ONLY_BASELINE_RIGHT)
    assert tuple(metrics[name]["doubleValue"] for name in names) == only
    p = metrics[contract.MCNEMAR_P]["doubleValue"]
    assert p == pytest.approx(_one_sided_p(*only), rel=1e-9)
    curve = confidence_curve(evaluation, tuple(of_slice.items()))
    assert [threshold for threshold, _, _ in curve] == [step / 100 for step in range(101)]
    for threshold, answered, answered_rightly in curve:
        sure = [np.float32(max(i.candidate)) >= np.float32(threshold) for i in test_split]
        assert answered == sum(sure)
        both = [s and r for s, r in zip(sure, candidate, strict=True)]
        assert answered_rightly == sum(both)


def _check_all(evaluation: str, test_split: list[Image], *features: str) -> None:
    """Metrics of the whole and of each slice by these features, and the answers kept."""
    _check(evaluation, test_split)
    kept = read_answers(evaluation)
    answered = zip(kept.sha256, kept.labels, kept.probabilities.tolist(), strict=True)
    assert list(answered) == sorted(
        (digest_of(index), image.label, np.array(image.candidate, np.float32).tolist())
        for index, image in enumerate(test_split)
    )
    counted = []
    for feature in features:
        for value in sorted({_features(0, image)[feature] for image in test_split}):
            part = [image for image in test_split if _features(0, image)[feature] == value]
            _check(evaluation, part, **{feature: value})
            right = sum(_right(image, image.candidate) for image in part)
            counted.append(SliceCount(feature, value, right, len(part), wilson95(right, len(part))))
    assert slice_counts(evaluation) == counted


def test_a_real_job_finds_the_metrics_of_the_raw_predictions(job: str) -> None:
    _check_all(job, TEST_SPLIT, SLICE, f"{contract.COLUMN_PREFIX}{COLUMN}")


def test_a_made_evaluation_is_the_real_jobs(job: str, evaluate: Evaluate) -> None:
    made = evaluate(TEST_SPLIT, **GATE)
    ours = figures_of(made)
    # Nobody reads the loss, and `made_evaluation` leaves it out.
    theirs = {key: value for key, value in figures_of(job).items() if "entropy" not in key[-1]}
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key] == value, key
    assert gate_figures(made) == gate_figures(job)
    assert slice_counts(made) == slice_counts(job)
    said = refusal(job)
    assert refusal(made) == said
    assert said is not None
    assert re.findall(r"\((gate\..*?)\)", said) == [
        "gate.min_accuracy",
        "gate.against_baseline",
        "gate.min_wilson_lower",
        *("gate.slices.0.min_accuracy", "gate.slices.0.min_wilson_lower") * 2,
        "gate.slices.2.value",
    ]
    assert "up to 0.25 from the judged ones, more than 0.2" in said


@settings(max_examples=5)
@given(test_split=st.lists(images, min_size=1, max_size=30))
def test_the_metrics_are_those_of_the_raw_predictions(
    evaluate: Evaluate, test_split: list[Image]
) -> None:
    _check_all(evaluate(test_split), test_split, SLICE)


def test_the_metrics_of_a_test_split_as_large_as_the_papers(evaluate: Evaluate) -> None:
    test_split = _pairs(both=113, candidate=1, baseline=9, neither=6)
    evaluation = evaluate(test_split)
    _check(evaluation, test_split)
    assert gate_figures(evaluation) == {
        "accuracy": pytest.approx(114 / 129),
        "accuracy_wilson_lower": pytest.approx(_wilson_lower(114, 129)),
        "baseline_accuracy": pytest.approx(122 / 129),
        # 10 coins, at most one head: 11 of 1,024 ways.
        "mcnemar_p": pytest.approx(11 / 1024),
        "mcnemar_only_candidate_right": 1,
        "mcnemar_only_baseline_right": 9,
    }


@settings(max_examples=40)
@given(
    rows=st.lists(images, min_size=1, max_size=30),
    groups=st.lists(st.integers(0, 3), min_size=30, max_size=30),
    metric=st.sampled_from(METRICS),
)
def test_merged_parts_are_the_whole(
    rows: list[Image], groups: list[int], metric: tfma.metrics.Metric
) -> None:
    specs = [config_pb2.ModelSpec(name="new"), config_pb2.ModelSpec(name="old", is_baseline=True)]
    computation, *_ = metric.computations(
        eval_config=config_pb2.EvalConfig(model_specs=specs), model_names=["new", "old"]
    )
    combiner = computation.combiner
    elements = [
        metric_types.StandardMetricInputs(
            labels=np.array([label]),
            predictions={"new": np.array(new, np.float32), "old": np.array(old, np.float32)},
        )
        for label, new, old, _ in rows
    ]

    def accumulated(chosen: list[Any]) -> np.ndarray:
        accumulator = combiner.create_accumulator()
        for element in chosen:
            accumulator = combiner.add_input(accumulator, element)
        return accumulator

    parts = [
        accumulated([e for e, group in zip(elements, groups, strict=False) if group == part])
        for part in range(4)
    ]
    merged = combiner.extract_output(combiner.merge_accumulators(iter(parts)))
    whole = combiner.extract_output(accumulated(elements))
    assert merged.keys() == whole.keys()
    for key, value in whole.items():
        np.testing.assert_array_equal(merged[key], value)


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_test_is_one_sided_and_exact(only_candidate: int, only_baseline: int) -> None:
    p = mcnemar_p(only_candidate, only_baseline)
    assert p == pytest.approx(_one_sided_p(only_candidate, only_baseline), rel=1e-9)


def test_the_interval_takes_another_confidence() -> None:
    """All right is n / (n + z²) in closed form; 90 % has z = 1.6449."""
    assert wilson(129, 129, 0.9)[0] == pytest.approx(129 / (129 + 1.644854**2))
    for wrong in (0, 1, 1.5):
        with pytest.raises(ValueError, match="confidence"):
            tfma_metrics.AccuracyWilsonLower(confidence=wrong)


def test_a_probability_that_is_a_threshold_is_answered_there(evaluate: Evaluate) -> None:
    """0.9 as float32 is less than 0.9."""
    evaluation = evaluate([Image(0, (0.9, 0.05, 0.05), (1, 0, 0), "F")], has_baseline=False)
    answered = {threshold for threshold, count, _ in confidence_curve(evaluation) if count}
    assert max(answered) == 0.9
    with pytest.raises(KeyError, match="slice"):
        confidence_curve(evaluation, ((SLICE, "X"),))


@pytest.mark.parametrize("level", [None, 0.05])
def test_without_a_baseline_nothing_is_worse(evaluate: Evaluate, level: float | None) -> None:
    evaluation = evaluate(_pairs(both=3), has_baseline=False, baseline_significance=level)
    assert _metrics(evaluation)[contract.MCNEMAR_P]["doubleValue"] == 1.0
    assert set(gate_figures(evaluation)) == {"accuracy", "accuracy_wilson_lower"}
    assert refusal(evaluation) is None


def test_one_image_worse_is_refused_by_the_bare_comparison_alone(evaluate: Evaluate) -> None:
    test_split = _pairs(both=120, candidate=3, baseline=4, neither=2)
    assert refusal(evaluate(test_split)) == (
        "accuracy 0.9535 is below the baseline's 0.9612 (gate.against_baseline)"
    )
    assert refusal(evaluate(test_split, baseline_significance=0.05)) is None


def test_significantly_worse_is_refused_from_the_level_on(evaluate: Evaluate) -> None:
    """Four coins, four tails: p = 1/16, which is significant at that very level."""
    test_split = _pairs(both=20, baseline=4)
    assert refusal(evaluate(test_split, baseline_significance=0.0624)) is None
    assert refusal(evaluate(test_split, baseline_significance=1 / 16)) == (
        "accuracy 0.8333 is significantly below the baseline's 1.0000: 4 images only the "
        "baseline got right, 0 only the new model, McNemar's p 0.062 is not above 0.0625 "
        "(gate.baseline_significance)"
    )


def test_the_interval_refuses_what_the_accuracy_would_pass(evaluate: Evaluate) -> None:
    """18 of 20 is 90 %, and its interval begins below 70 %; 'M' alone would be 0 %."""
    test_split = _pairs(both=18, neither=2)
    only_accuracy = evaluate(test_split, min_accuracy=0.9)
    assert refusal(only_accuracy) is None
    lower = gate_figures(only_accuracy)["accuracy_wilson_lower"]
    assert refusal(evaluate(test_split, min_accuracy=0.9, min_wilson_lower=lower)) is None
    higher = math.nextafter(lower, 1)
    assert refusal(evaluate(test_split, min_accuracy=0.9, min_wilson_lower=higher)) is not None
    assert refusal(evaluate(test_split, min_accuracy=0.95, min_wilson_lower=0.7)) == (
        "accuracy 0.9000 is below 0.95 (gate.min_accuracy); "
        f"the 95 % Wilson interval of accuracy 0.9000 begins at {lower:.4f}, below 0.7 "
        "(gate.min_wilson_lower)"
    )


def test_a_slice_is_asked_of_the_candidate_alone(evaluate: Evaluate) -> None:
    """In the first case it is the baseline that gets none of the slice right."""
    part = SliceGateConfig(feature="class", value="M", min_accuracy=0.9)
    right, wrong = (0.8, 0.1, 0.1), (0.1, 0.1, 0.8)
    better = [Image(0, right, right, "F")] * 10 + [Image(0, right, wrong, "M")] * 10
    assert refusal(evaluate(better, slices=[part])) is None
    still_bad = [Image(0, right, wrong, "F")] * 10 + [Image(0, wrong, wrong, "M")] * 10
    assert refusal(evaluate(still_bad, slices=[part])) == (
        "accuracy 0.0000 on the 10 test images with class 'M' is below 0.9 "
        "(gate.slices.0.min_accuracy)"
    )


@pytest.mark.parametrize("label", [[3], [-1], [0, 1], []])
def test_what_is_no_class_index_is_refused(label: list[int]) -> None:
    (computation,) = tfma_metrics.ConfidenceCurve().computations()
    combiner = computation.combiner
    element = metric_types.StandardMetricInputs(
        labels=np.array(label, np.int64), predictions=np.array([0.8, 0.1, 0.1])
    )
    with pytest.raises(ValueError, match=r"the label .* is no index of one of 3 classes"):
        combiner.add_input(combiner.create_accumulator(), element)


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_is_of_all_classes(metric: tfma.metrics.Metric) -> None:
    with pytest.raises(ValueError, match="binarize"):
        metric.computations(sub_keys=[metric_types.SubKey(class_id=0)])


@pytest.mark.parametrize("module", [tfma_metrics, combiners], ids=["metrics", "combiners"])
def test_an_edit_of_the_metrics_changes_the_evaluators_parameters(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> str:
        config = eval_config(n_classes=3, min_accuracy=0.9, against_baseline=True)
        return str(config.SerializeToString(deterministic=True))

    before = asked()
    assert asked() == before
    original = Path.read_bytes
    edited = Path(str(module.__file__))
    monkeypatch.setattr(Path, "read_bytes", lambda p: original(p) + (b"#" if p == edited else b""))
    from common.code_digest import code_digest

    code_digest.cache_clear()
    try:
        assert asked() != before
    finally:
        monkeypatch.undo()
        code_digest.cache_clear()
