"""The gate on slices: what TFMA computes, judges and writes, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime import prepare_environment

prepare_environment()

import tensorflow_model_analysis as tfma  # noqa: E402
from tensorflow_model_analysis.evaluators import metrics_validator  # noqa: E402
from tensorflow_model_analysis.metrics import metric_types  # noqa: E402

from common.intervals import wilson, wilson95, wilson_by_group  # noqa: E402
from components.evaluator import metrics as tfma_metrics  # noqa: E402
from components.evaluator.configuration import SliceGateConfig  # noqa: E402
from components.evaluator.eval_config import eval_config  # noqa: E402
from components.evaluator.results import (  # noqa: E402
    SliceCount,
    accuracy_interval,
    candidate_result,
    gate_figures,
    metrics_of,
    refusal,
    slice_counts,
    slice_name,
)
from components.report.judgement import share  # noqa: E402
from components.report.slices import slices  # noqa: E402
from schema import contract  # noqa: E402
from tests.pipeline.made_evaluation import Answered, evaluated  # noqa: E402

# (sex, view, right answers, images)
Group = tuple[str, str, int, int]
Judge = Callable[..., str]
# Blanks and dots are nothing special in a column's name.
COLUMN = "x-ray unit no."


def _slice(**fields: Any) -> SliceGateConfig:
    return SliceGateConfig.model_validate(fields)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """The evaluation of answers to such images; the rest of the gate is open."""

    def call(groups: list[Group], *slices: SliceGateConfig) -> str:
        test_split = [
            Answered(
                label=0,
                candidate=[0.8, 0.2] if number < right else [0.2, 0.8],
                features={
                    contract.SEX: sex,
                    contract.VIEW: view,
                    f"{contract.COLUMN_PREFIX}{COLUMN}": f"unit {view}",
                    # Of one image only, as it is of a file.
                    contract.SHA256: f"{sex}{view}{number}",
                },
            )
            for sex, view, right, images in groups
            for number in range(images)
        ]
        config = eval_config(
            n_classes=2,
            min_accuracy=0.0,
            against_baseline=False,
            slices=slices,
            columns=[COLUMN],
        )
        folder = tmp_path_factory.mktemp("evaluation")
        return evaluated(folder, config, test_split, has_baseline=False)

    return call


def test_the_slice_that_is_too_bad_is_named(judge: Judge) -> None:
    """18 of 20 reach 0.9 exactly, 13 of 20 don't; the whole is 31 of 40."""
    groups = [("F", "PA", 18, 20), ("M", "PA", 13, 20)]
    assert refusal(judge(groups, _slice(feature="sex", min_accuracy=0.9))) == (
        "accuracy 0.6500 on the 20 test images with sex 'M' is below 0.9 "
        "(gate.slices.0.min_accuracy)"
    )
    assert refusal(judge(groups, _slice(feature="sex", value="F", min_accuracy=0.9))) is None


def test_a_further_column_is_sliced_by_and_judged_like_the_others(judge: Judge) -> None:
    groups = [("F", "PA", 18, 20), ("M", "AP", 13, 20)]
    evaluation = judge(groups, _slice(feature=COLUMN.upper(), min_accuracy=0.9))
    assert refusal(evaluation) == (
        f"accuracy 0.6500 on the 20 test images with {COLUMN} 'unit AP' is below 0.9 "
        "(gate.slices.0.min_accuracy)"
    )
    feature = f"{contract.COLUMN_PREFIX}{COLUMN}"
    assert slice_counts(evaluation)[-2:] == [
        SliceCount(feature, "unit AP", 13, 20, wilson95(13, 20)),
        SliceCount(feature, "unit PA", 18, 20, wilson95(18, 20)),
    ]
    assert slices(candidate_result(evaluation), ["a", "b"])[-1] | {"classes": None} == {
        "feature": COLUMN,
        "value": "unit PA",
        "images": 20,
        "accuracy": share(18, 20),
        "classes": None,
        "too_small": False,
    }
    said = refusal(judge(groups, _slice(feature=COLUMN, value="unit LL", min_accuracy=0.1)))
    assert said == f"no test image has {COLUMN} 'unit LL' (gate.slices.0.value)"


def test_no_two_features_go_by_one_name() -> None:
    assert slice_name(contract.AGE_GROUP) == "age group"
    assert slice_name("metadata/age group") == "metadata/age group"
    assert slice_name("metadata/class") == "metadata/class"
    assert slice_name("metadata/age_groups") == "age_groups"


def test_each_criterion_of_each_item_is_judged_by_itself(judge: Judge) -> None:
    """The interval of 9 of 9 begins at 9 / (9 + z²), z = 1.96; that of 5 of 10 at 0.2366."""
    groups = [("F", "PA", 9, 9), ("M", "AP", 5, 10)]
    evaluation = judge(
        groups,
        _slice(feature="sex", value="F", min_accuracy=1, min_wilson_lower=0.75, min_images=9),
        _slice(feature="view", value="AP", min_accuracy=0.5, min_wilson_lower=0.3),
    )
    assert refusal(evaluation) == (
        "the 95 % Wilson interval of accuracy 1.0000 on the 9 test images with sex 'F' begins at "
        "0.7009, below 0.75 (gate.slices.0.min_wilson_lower); "
        "the 95 % Wilson interval of accuracy 0.5000 on the 10 test images with view 'AP' begins "
        "at 0.2366, below 0.3 (gate.slices.1.min_wilson_lower)"
    )


def test_too_few_images_are_not_judged(judge: Judge) -> None:
    groups = [("F", "PA", 0, 4), ("M", "PA", 30, 30)]
    criteria = {"min_accuracy": 0.9, "min_wilson_lower": 0.5}
    evaluation = judge(groups, _slice(feature="sex", min_images=5, **criteria))
    assert refusal(evaluation) is None
    metrics = dict(candidate_result(evaluation).slicing_metrics)[((contract.SEX, "F"),)][""][""]
    assert metrics["accuracy"]["doubleValue"] == 0.0
    assert metrics["gate.slices.0.min_accuracy"]["doubleValue"] == 1.0
    assert metrics["gate.slices.0.min_wilson_lower"]["doubleValue"] == 1.0
    said = refusal(judge(groups, _slice(feature="sex", min_images=4, **criteria)))
    assert said is not None
    assert said.count("on the 4 test images with sex 'F'") == 2


def test_a_value_that_no_image_has_refuses_and_is_said(judge: Judge) -> None:
    """TFMA does so itself, however few images would be too few."""
    groups = [("F", "PA", 3, 3), ("M", "PA", 1, 1)]
    ap = _slice(feature="view", value="AP", min_accuracy=0.1)
    assert refusal(judge(groups, ap)) == "no test image has view 'AP' (gate.slices.0.value)"
    low = _slice(feature="sex", value="M", min_accuracy=0.5, min_images=1)
    assert refusal(judge(groups, low, ap, ap)) == (
        "no test image has view 'AP' (gate.slices.1.value, gate.slices.2.value)"
    )


def test_a_reason_for_one_image_reads_well(judge: Judge) -> None:
    said = refusal(judge([("F", "PA", 0, 1)], _slice(feature="sex", min_accuracy=1, min_images=1)))
    assert said is not None
    assert said.startswith("accuracy 0.0000 on the 1 test image with sex 'F' is below 1 ")


def _value(metric: metric_types.Metric, right: int, total: int) -> float:
    (computation,) = metric.computations(model_names=[""])
    combiner = computation.combiner
    accumulators = []
    for number in range(total):
        label = np.array([0 if number < right else 1])
        element = metric_types.StandardMetricInputs(labels=label, predictions=np.array([0.9, 0.1]))
        accumulators.append(combiner.add_input(combiner.create_accumulator(), element))
    merged = combiner.merge_accumulators(accumulators)
    (value,) = combiner.extract_output(merged).values()
    return float(value)


counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts=counts, min_images=st.integers(1, 80))
def test_the_metrics_are_the_slices_or_reach_every_bound(
    counts: tuple[int, int], min_images: int
) -> None:
    right, total = counts
    accuracy = _value(tfma_metrics.SliceAccuracy("a", min_images), right, total)
    lower = _value(tfma_metrics.SliceWilsonLower("w", min_images), right, total)
    if total < min_images:
        assert accuracy == lower == 1.0
    else:
        assert accuracy == right / total
        assert lower == wilson(right, total)[0] < 1.0


@given(percent=st.integers(0, 100), images=st.integers(1, 40))
def test_a_share_that_just_reaches_its_bound_passes_and_an_image_fewer_does_not(
    percent: int, images: int
) -> None:
    """All of it in float64: there is no rounding to take back, as there is for TFMA's own."""
    right, total = percent * images, 100 * images
    # What a person writes, not what division gives.
    bound = float(f"{percent // 100}.{percent % 100:02d}")
    config = eval_config(
        n_classes=2,
        min_accuracy=0.0,
        against_baseline=False,
        slices=[_slice(feature="sex", value="F", min_accuracy=bound)],
    )
    config = tfma.utils.update_eval_config_with_defaults(config)

    def passes(right: int) -> bool:
        key = metric_types.MetricKey(name="gate.slices.0.min_accuracy")
        others = {
            metric_types.MetricKey(name="accuracy"): 1.0,
            metric_types.MetricKey(name="accuracy_wilson_lower"): 1.0,
            metric_types.MetricKey(name=contract.FEW_PATIENTS_LOWER): 1.0,
            metric_types.MetricKey(name="gate.slices.0.few_patients"): 1.0,
        }
        metrics = {**others, key: _exact(right, total)}
        result = metrics_validator.validate_metrics((((contract.SEX, "F"),), metrics), config)
        return bool(result.validation_ok)

    assert passes(right)
    assert right == 0 or not passes(right - 1)


def _exact(right: int, total: int) -> float:
    (computation,) = tfma_metrics.SliceAccuracy("a", 10).computations(model_names=[""])
    (value,) = computation.combiner.extract_output(np.array([total - right, right])).values()
    return float(value)


@pytest.mark.parametrize("metric", ["SliceAccuracy", "SliceWilsonLower"])
def test_fewer_than_one_image_is_no_slice(metric: str) -> None:
    with pytest.raises(ValueError, match="min_images"):
        getattr(tfma_metrics, metric)("m", 0)


def test_the_short_names_are_those_of_what_tfma_slices_by() -> None:
    assert tuple(contract.SLICE_NAMES.values()) == contract.SLICE_FEATURES
    columns = {name: long for name, long in contract.SLICE_NAMES.items() if name != "class"}
    assert columns.items() <= contract.METADATA_TEXT_COLUMNS.items()


def _of_patients(sizes: list[tuple[int, int]]) -> list[Answered]:
    """Test images of patients, each given as right answers and images."""
    return [
        Answered(
            label=0,
            candidate=[0.8, 0.2] if number < right else [0.2, 0.8],
            features={
                contract.GROUP: f"patient {patient}",
                contract.SHA256: f"{patient} {number}",
                contract.SEX: "F",
            },
        )
        for patient, (right, images) in enumerate(sizes)
        for number in range(images)
    ]


def _refused(folder: Path, sizes: list[tuple[int, int]], **gate: Any) -> str | None:
    asked = {"min_accuracy": 0.8, "against_baseline": False} | gate
    config = eval_config(n_classes=2, **asked)
    return refusal(evaluated(folder, config, _of_patients(sizes), has_baseline=False))


def test_few_patients_of_many_images_cannot_say_that_an_accuracy_is_reached(
    tmp_path: Path,
) -> None:
    """60 of 60 images are enough by themselves, and 6 patients are not."""
    few = [(10, 10)] * 6
    said = _refused(tmp_path / "few", few)
    assert said == (
        "6 patients are too few to say that 0.8 is reached (gate.min_accuracy): the 95 % interval "
        f"over patients of accuracy 1.0000 begins at {wilson(6, 6)[0]:.4f}; test more patients, or "
        "set gate.few_patients to allow"
    )
    assert _refused(tmp_path / "allowed", few, few_patients="allow") is None
    assert _refused(tmp_path / "single", [(1, 1)] * 6) is None, "each image is its own witness"
    assert _refused(tmp_path / "many", [(2, 2)] * contract.FEW_PATIENTS) is None
    assert _refused(tmp_path / "clear", [(2, 2)] * 30) is None, "30 patients decide 0.8"


def test_few_patients_of_a_slice_are_named_with_the_slice(tmp_path: Path) -> None:
    part = _slice(feature="sex", min_accuracy=0.8)
    said = _refused(tmp_path, [(10, 10)] * 6, min_accuracy=0.0, slices=[part])
    assert said is not None
    assert said.startswith(
        "6 patients are too few to say that 0.8 is reached (gate.slices.0.min_accuracy): the 95 % "
        "interval over patients of accuracy 1.0000 on the 60 test images with sex 'F' begins at "
    )


def test_the_gates_wilson_interval_counts_patients(tmp_path: Path) -> None:
    gate = {"min_accuracy": 0.0, "min_wilson_lower": 0.7}
    assert _refused(tmp_path / "images", [(1, 1)] * 60, **gate) is None
    said = _refused(tmp_path / "patients", [(10, 10)] * 6, **gate)
    assert said is not None
    assert f"begins at {wilson(6, 6)[0]:.4f}, below 0.7 (gate.min_wilson_lower)" in said


def test_the_interval_that_is_shown_counts_patients_like_the_gates(tmp_path: Path) -> None:
    sizes = [(4, 4), (0, 4), (3, 4), (1, 1)]
    config = eval_config(n_classes=2, min_accuracy=0.0, against_baseline=False)
    evaluation = evaluated(tmp_path, config, _of_patients(sizes), has_baseline=False)
    right, images = np.array(sizes).T
    interval = list(wilson_by_group(right, images))
    narrower = wilson95(8, 13)
    assert interval[0] < narrower[0] < narrower[1] < interval[1]
    result = candidate_result(evaluation)
    assert accuracy_interval(metrics_of(result)) == interval
    assert gate_figures(evaluation)[contract.WILSON_LOWER] == interval[0]
    (women,) = (one for one in slice_counts(evaluation) if one.feature == contract.SEX)
    assert women == SliceCount(contract.SEX, "F", 8, 13, interval)
    shown = [row["accuracy"] for row in slices(result, ["a", "b"]) if row["feature"] == "sex"]
    assert shown == [share(8, 13) | {"wilson95": interval}]


def test_an_evaluation_without_the_upper_end_is_of_an_earlier_version() -> None:
    with pytest.raises(KeyError, match="run the pipeline again"):
        accuracy_interval({contract.WILSON_LOWER: {"doubleValue": 0.5}})
