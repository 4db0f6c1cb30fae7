"""The top of the page, from made numbers: each kind of run has a right one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.runtime import prepare_environment

prepare_environment()

from components.report.comparison import against_baseline  # noqa: E402
from components.report.judgement import share  # noqa: E402
from components.report.slices import worst_group  # noqa: E402
from components.report.verdict import verdict  # noqa: E402
from schema.contract import ONLY_BASELINE_RIGHT, ONLY_CANDIDATE_RIGHT  # noqa: E402
from schema.findings import Weight  # noqa: E402
from tests.components.report.made_numbers import (  # noqa: E402
    CLASSES,
    audit,
    compared,
    model,
    numbers,
    row,
    shortcut,
)
from tests.many_classes import class_names  # noqa: E402

TOPICS = ["Model", "Accuracy", "Compared", "Worst group", "Leaks", "Shortcuts", "Limits"]


def _lines(made: dict[str, Any], main: str = "vgg16") -> dict[str, str]:
    """Topic -> sentence."""
    found = verdict(main, made)
    assert [line["about"] for line in found["lines"]] == TOPICS
    # What programs read.
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return {line["about"]: line["sentence"] for line in found["lines"]}


def _weights(made: dict[str, Any], main: str = "vgg16") -> dict[str, int]:
    return {line["about"]: line["weight"] for line in verdict(main, made)["lines"]}


def test_a_first_run_that_found_nothing_wrong() -> None:
    made = numbers()
    assert _lines(made) == {
        "Model": "vgg16 is the champion: it passed the gate. It is pushed.",
        "Accuracy": "110 of 129 test images are right, 85.3 % (95 % interval 78.1–90.4 %).",
        "Compared": "There is no baseline: no earlier model to compare with, or none asked for. "
        "Always naming the most frequent class: 43 of 129 right, 33.3 %.",
        "Worst group": "class COVID-19: 40 of 43 test images are right, 93.0 % (95 % interval "
        "81.4–97.6 %). Nothing but the class is known of the images.",
        "Leaks": "No near-duplicate image and no patient in two splits.",
        "Shortcuts": "None found: what is not the lungs predicts no class better than guessing.",
        "Limits": "Not for diagnosis: accuracy on this test split is no estimate of clinical "
        "use. It knows no class but COVID-19, Normal, Viral Pneumonia. Of each class it was "
        "trained on 123 and tested on 43 images.",
    }
    assert {topic for topic, weight in _weights(made).items() if weight} == {"Limits"}


def test_the_figures_are_there_for_programs() -> None:
    found = verdict("vgg16", numbers(summary={"remarks": [{"topic": "ages", "sentence": "s"}]}))
    assert found["champion"] and found["pushed"] and found["not_pushed_because"] is None
    assert found["accuracy"] == share(110, 129) and found["most_frequent_class"] == share(43, 129)
    assert found["worst_group"] == {
        "feature": "class", "value": "COVID-19", "accuracy": share(40, 43),
    }  # fmt: skip
    assert found["leaks"] == {
        "near_duplicates": 0, "patients": 0, "images_without_patient": 0, "images": 657,
    }  # fmt: skip
    assert found["images_of_a_class"]["train"] == {"fewest": 123, "most": 123}
    assert found["could_not_know"] == 1 and found["shortcut"] is None


def test_baseline_and_paper_stand_beside_the_accuracy() -> None:
    known = model(baseline=compared(100, 129, 0.2), paper=compared(122, 129, 0.03))
    said = _lines(numbers({"vgg16": known}))["Compared"]
    assert said.startswith(
        "The baseline, the vgg16 before it, has 100 of 129 right, 77.5 % (95 % interval "
        "69.6–83.9 %), on the same images; the difference can be chance, p 0.200 (McNemar's test). "
        "The paper's vgg16 has 122 of 129 right, 94.6 % (95 % interval 89.2–97.3 %), on other "
        "images; the difference is more than chance, p 0.030 (Fisher's exact test). Always"
    )
    assert _weights(numbers({"vgg16": known}))["Compared"] == Weight.NOTICE
    # Better than the paper is nothing to warn of.
    better = model(128, paper=compared(100, 129, 0.001))
    assert _weights(numbers({"vgg16": better}))["Compared"] == Weight.RECORD


def test_the_baselines_accuracy_follows_from_what_the_gate_counted() -> None:
    accuracy = share(110, 129)
    metrics = {
        ONLY_CANDIDATE_RIGHT: {"doubleValue": 12.0}, ONLY_BASELINE_RIGHT: {"doubleValue": 2.0},
    }  # fmt: skip
    found = against_baseline(accuracy, metrics)
    assert found is not None and found["accuracy"] == share(100, 129) and found["significant"]
    assert against_baseline(accuracy, {}) is None


def test_no_better_than_guessing_is_said() -> None:
    made = numbers({"vgg16": model(45)})
    assert _lines(made)["Compared"].endswith("The model is not surely better than that.")
    assert _weights(made)["Compared"] == Weight.DOUBT


def test_a_champion_of_several() -> None:
    models = {"vgg16": model(), "xception": model(), "cascade": model(blessed=False)}
    assert _lines(numbers(models))["Model"] == (
        "vgg16 is the champion, the best of 2 models that passed the gate, by the validation "
        "split. It is pushed."
    )
    models["xception"]["blessed"] = False
    assert ", the only one of 3 models that passed the gate." in _lines(numbers(models))["Model"]


def test_a_run_whose_models_the_gate_refused() -> None:
    reasons = "accuracy 0.5 is below 0.8 (gate.min_accuracy); b; c"
    models = {
        "vgg16": model(60, blessed=False, refused_because="no"),
        "xception": model(70, blessed=False, refused_because=reasons),
    }
    made = numbers(models, champion=None)
    assert _lines(made, "xception")["Model"] == (
        "Nothing is pushed: the gate refused all 2 models. This page is about xception, the most "
        "accurate one on the test split. xception was refused because accuracy 0.5 is below 0.8 "
        "(gate.min_accuracy), and for 2 more reasons (below)."
    )
    assert _weights(made, "xception")["Model"] == Weight.DOUBT
    found = verdict("xception", made)
    assert not found["champion"] and not found["pushed"]
    (alone,) = [numbers({"vgg16": models["vgg16"]}, champion=None)]
    assert _lines(alone)["Model"] == (
        "Nothing is pushed: the gate refused it. vgg16 was refused because no."
    )


def test_a_run_whose_models_could_not_be_served() -> None:
    made = numbers({"vgg16": model(), "xception": model(blessed=False)}, champion=None)
    assert _lines(made)["Model"].startswith(
        "Nothing is pushed: vgg16 passed the gate, but could not be served on trial. This page"
    )
    made["models"]["xception"]["blessed"] = True
    assert "2 models passed the gate, but none of them could" in _lines(made)["Model"]


def test_a_run_whose_only_model_training_holds_back() -> None:
    why = "The joint model doesn't beat the image alone. It is not pushed."
    held = model(not_to_push=why, table={"sentence": why, "few_patients": "Only 3 patients."})
    made = numbers({"joint": held}, champion=None)
    assert _lines(made, "joint")["Model"].startswith(
        "Nothing is pushed: joint passed the gate, but training says: The joint model doesn't beat "
        "the image alone. It is not pushed."
    )
    (models,) = [
        each["findings"]
        for each in verdict("joint", made)["findings"]
        if each["group"] == "Models and the gate"
    ]
    sentences = [each["sentence"] for each in models]
    assert f"joint: {why}" in sentences and "joint: Only 3 patients." in sentences
    made = numbers({"joint": held, "vgg16": model()}, champion=None)
    assert "or is to be pushed by what training found" in _lines(made, "joint")["Model"]


def test_a_champion_that_the_audit_stopped() -> None:
    stopped = audit(3, passed=False, failures=["3 pairs in two splits, more than 0 (audit.max)"])
    made = numbers(audit=stopped)
    assert _lines(made)["Model"] == (
        "vgg16 is the champion: it passed the gate. But nothing is pushed: the audit found more "
        "than its limits allow: 3 pairs in two splits, more than 0 (audit.max)."
    )
    found = verdict("vgg16", made)
    assert found["champion"] and not found["pushed"]


@pytest.mark.parametrize("count", [2, 100])
def test_few_and_many_classes(count: int) -> None:
    classes = class_names(count)
    few = {name: {"train": 7 + n, "eval": 3, "test": 3} for n, name in enumerate(classes)}
    made = numbers(
        {"vgg16": model(slices=[row("class", name, 2, 3) for name in classes])},
        classes=classes,
        summary={"split_counts": few},
    )
    said = _lines(made)
    assert said["Worst group"].startswith("No group can be judged: none has the 20 test images")
    known = "the run's 100" if count == 100 else ", ".join(classes)
    assert f"It knows no class but {known}. " in said["Limits"]
    assert f"trained on 7 to {6 + count} and tested on 3 images." in said["Limits"]
    assert max(map(len, said.values())) < 400


def test_no_metadata_at_all() -> None:
    unknown = [row(name, "unknown", 100, 129) for name in ("sex", "view", "source")]
    made = numbers(
        {"vgg16": model(slices=[*model()["slices"], *unknown])},
        summary={
            "patients_in_two_splits": None,
            "images_without_patient": 657,
            "remarks": [{"topic": "patients", "sentence": "unknown"}] * 2,
        },
    )
    said = _lines(made)
    assert said["Leaks"] == (
        "No near-duplicate image in two splits. Patients unknown: images of one person may lie "
        "in several splits."
    )
    assert said["Worst group"].endswith("Nothing but the class is known of the images.")
    assert said["Limits"].endswith(" What this run could not know: 2 things, named below.")
    assert _weights(made)["Leaks"] == Weight.NOTICE


def test_leaks_put_the_accuracy_in_doubt() -> None:
    made = numbers(
        audit=audit(3), summary={"patients_in_two_splits": 1, "images_without_patient": 9}
    )
    assert _lines(made)["Leaks"] == (
        "3 pairs of near-duplicate images and 1 patient in two splits: the accuracy may be too "
        "high. Of 9 of 657 images the patient is unknown: images of one person among them may lie "
        "in several splits."
    )
    assert _weights(made)["Leaks"] == Weight.DOUBT


def test_without_an_audit_nothing_is_said_to_be_clean() -> None:
    said = _lines(numbers(audit=None))
    assert said["Leaks"] == (
        "No patient in two splits. Near-duplicate images were not looked for: there was no audit."
    )
    assert said["Shortcuts"] == "Not looked for: there was no audit."
    assert _weights(numbers(audit=None))["Shortcuts"] == Weight.NOTICE
    assert _lines(numbers(audit=audit(shortcuts=[])))["Shortcuts"].startswith("Not measured")


def test_the_best_shortcut_is_told() -> None:
    found = [
        shortcut("metadata: source, Normal or not", "column:source", 129, against_rest="Normal"),
        shortcut("image statistics", "image_statistics", 86),
        shortcut("whole image, for comparison", "whole_image", 120),
    ]
    assert _lines(numbers(audit=audit(shortcuts=found)))["Shortcuts"] == (
        "A simple model tells the class of 86 of 129 test images, 66.7 % (95 % interval "
        "58.2–74.2 %), by one thing alone: image statistics. Guessing: 33.3 %."
    )
    of_one = _lines(numbers(audit=audit(shortcuts=found[:1])))["Shortcuts"]
    assert of_one.startswith("A simple model tells Normal from the other classes in 129 of 129 ")
    assert "by one thing alone: metadata: source. Guessing" in of_one


def test_the_worst_group_is_one_that_can_be_judged_and_is_known() -> None:
    rows = [
        row("class", "Normal", 30, 43),
        row("sex", "F", 0, 19),
        row("sex", "unknown", 1, 40),
        row("source", "phantom", 20, 129),
        row("scanner", "A", 25, 40),
    ]
    worst = worst_group(rows, 129)
    assert worst == {"feature": "scanner", "value": "A", "accuracy": share(25, 40)}
    assert _lines(numbers({"vgg16": model(slices=rows)}))["Worst group"] == (
        "scanner A: 25 of 40 test images are right, 62.5 % (95 % interval 47.0–75.8 %). 1 of 5 "
        "groups has fewer than 20 images and is not judged."
    )
    # A class may be called so.
    assert worst_group([row("class", "unknown", 9, 40)], 129) is not None


def test_groups_without_a_mistake() -> None:
    rows = [row("class", name, 43, 43) for name in CLASSES]
    said = _lines(numbers({"vgg16": model(129, slices=rows)}))["Worst group"]
    assert said.startswith("None: in every group of 20 images or more, all are right.")
