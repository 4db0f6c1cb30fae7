"""The sentences at the top of the page, one topic a line, with the numbers that matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from components.report.slices import TOO_SMALL, is_more_than_the_class_known
from components.report.words import counted, listed, number, percent, spread
from schema import contract
from schema.class_tables import MOST_COLUMNS, named
from schema.findings import Finding, Weight

MODEL: Final = "Model"
ACCURACY: Final = "Accuracy"
COMPARED: Final = "Compared"
WORST_GROUP: Final = "Worst group"
LEAKS: Final = "Leaks"
SHORTCUTS: Final = "Shortcuts"
LIMITS: Final = "Limits"

NOT_FOR_DIAGNOSIS: Final = (
    "Not for diagnosis: accuracy on this test split is no estimate of clinical use."
)


def lines(figures: Mapping[str, Any], numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Say what the top of the page says.

    Args:
        figures: of the verdict (see `components.report.verdict`).
        numbers: of the whole report.

    Returns:
        One line a topic, each the fields of a `Finding`; `about` is the topic, one of this
        module's.
    """
    said = (
        (MODEL, _model(figures, numbers)),
        (ACCURACY, (Weight.RECORD, f"{_right(figures['accuracy'], 'test images')}.")),
        (COMPARED, _compared(figures)),
        (WORST_GROUP, _worst_group(figures, numbers["models"][figures["model"]]["slices"])),
        (LEAKS, _leaks(figures["leaks"])),
        (SHORTCUTS, _shortcuts(figures["shortcut"], numbers["audit"])),
        (LIMITS, (Weight.NOTICE, " ".join(_limits(figures, numbers["classes"])))),
    )
    return [Finding(about, *line).as_json() for about, line in said]


def _right(accuracy: Mapping[str, Any], images: str) -> str:
    """Say a share: "15 of 18 test images are right, 83.3 % (95 % interval 60.8–94.2 %)"."""
    return f"{accuracy['count']} of {accuracy['total']} {images} are right, {spread(accuracy)}"


def _model(figures: Mapping[str, Any], numbers: Mapping[str, Any]) -> tuple[Weight, str]:
    name, models = figures["model"], numbers["models"]
    passed = sum(model["blessed"] for model in models.values())
    refused = figures["not_pushed_because"]
    if figures["champion"]:
        judged = models[name]["validation"]["judged_on"]
        among = (
            f", the best of {passed} models that passed the gate, by {judged}"
            if passed > 1
            else f", the only one of {counted(len(models), 'model')} that passed the gate"
        )
        if len(models) == 1:
            among = ": it passed the gate"
        if refused is None:
            return Weight.RECORD, f"{name} is the champion{among}. It is pushed."
        return Weight.DOUBT, f"{name} is the champion{among}. But nothing is pushed: {refused}."
    said = f"Nothing is pushed: {refused}."
    if len(models) > 1:
        said += f" This page is about {name}, the most accurate one on the test split."
    if not models[name]["blessed"]:
        first, *others = (models[name]["refused_because"] or "no reason is given").split("; ")
        more = f", and for {counted(len(others), 'more reason')} (below)" if others else ""
        said += f" {name} was refused because {first}{more}."
    return Weight.DOUBT, said


def _compared(figures: Mapping[str, Any]) -> tuple[Weight, str]:
    accuracy, baseline, paper = (figures[key] for key in ("accuracy", "baseline", "paper"))
    guess = figures["most_frequent_class"]
    said, weight = [], Weight.RECORD
    if baseline:
        said.append(
            f"The baseline, the {figures['model']} before it, has {_of(baseline['accuracy'])} on "
            f"the same images; the difference {_chance(baseline)} (McNemar's test)."
        )
    else:
        said.append("There is no baseline: no earlier model to compare with, or none asked for.")
    if paper:
        said.append(
            f"The paper's {figures['model']} has {_of(paper['accuracy'])} on other images; the "
            f"difference {_chance(paper)} (Fisher's exact test)."
        )
    said.append(
        f"Always naming the most frequent class: {guess['count']} of {guess['total']} right, "
        f"{percent(guess['value'])}."
    )
    for other in filter(None, (baseline, paper)):
        if other["significant"] and other["accuracy"]["value"] > accuracy["value"]:
            weight = Weight.NOTICE
    if accuracy["wilson95"][0] <= guess["value"]:
        said.append("The model is not surely better than that.")
        weight = Weight.DOUBT
    return weight, " ".join(said)


def _of(accuracy: Mapping[str, Any]) -> str:
    return f"{accuracy['count']} of {accuracy['total']} right, {spread(accuracy)},"


def _chance(compared: Mapping[str, Any]) -> str:
    verdict = "is more than chance" if compared["significant"] else "can be chance"
    return f"{verdict}, p {number(compared['p'])}"


def _worst_group(
    figures: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> tuple[Weight, str]:
    worst, small = figures["worst_group"], sum(row["too_small"] for row in rows)
    bare = not is_more_than_the_class_known(rows)
    known = " Nothing but the class is known of the images." if bare else ""
    if worst is None:
        return (
            Weight.NOTICE,
            f"No group can be judged: none has the {TOO_SMALL} test images that it takes.{known}",
        )
    skipped = (
        f" {small} of {counted(len(rows), 'group')} {'has' if small == 1 else 'have'} fewer than "
        f"{TOO_SMALL} images and {'is' if small == 1 else 'are'} not judged."
        if small
        else ""
    )
    if worst["accuracy"]["count"] == worst["accuracy"]["total"]:
        return (
            Weight.RECORD,
            f"None: in every group of {TOO_SMALL} images or more, all are right.{skipped}{known}",
        )
    named_group = f"{worst['feature']} {worst['value']}"
    return (
        Weight.RECORD,
        f"{named_group}: {_right(worst['accuracy'], 'test images')}.{skipped}{known}",
    )


def _leaks(found: Mapping[str, Any]) -> tuple[Weight, str]:
    pairs, patients, unknown = (
        found[key] for key in ("near_duplicates", "patients", "images_without_patient")
    )
    lying = [counted(pairs, "pair") + " of near-duplicate images"] if pairs else []
    lying += [counted(patients, "patient")] if patients else []
    clean = [] if pairs or pairs is None else ["no near-duplicate image"]
    clean += [] if patients or patients is None else ["no patient"]
    said = []
    if lying:
        said.append(f"{listed(lying)} in two splits: the accuracy may be too high.")
    if clean:
        said.append(f"{listed(clean).capitalize()} in two splits.")
    if pairs is None:
        said.append("Near-duplicate images were not looked for: there was no audit.")
    if patients is None:
        said.append("Patients unknown: images of one person may lie in several splits.")
    elif unknown:
        said.append(
            f"Of {unknown} of {found['images']} images the patient is unknown: images of one "
            "person among them may lie in several splits."
        )
    vague = pairs is None or patients is None or unknown
    return (
        Weight.DOUBT if lying else Weight.NOTICE if vague else Weight.RECORD,
        " ".join(said),
    )


def _shortcuts(
    best: Mapping[str, Any] | None, audit: Mapping[str, Any] | None
) -> tuple[Weight, str]:
    if audit is None:
        return Weight.NOTICE, "Not looked for: there was no audit."
    if not audit["shortcuts"]:
        return Weight.NOTICE, "Not measured: there is no test image, or no second class."
    if best is None:
        return (
            Weight.RECORD,
            "None found: what is not the lungs predicts no class better than guessing.",
        )
    rest = best["against_rest"]
    what = "the class of" if rest is None else f"{rest} from the other classes in"
    seen = best["name"].removesuffix(f", {rest} or not")
    return (
        Weight.DOUBT,
        f"A simple model tells {what} {best['correct']} of {best['total']} test images, "
        f"{spread({**best, 'value': best['accuracy']})}, by one thing alone: {seen}. Guessing: "
        f"{percent(best['chance'])}.",
    )


def _limits(figures: Mapping[str, Any], classes: Sequence[str]) -> Iterator[str]:
    yield NOT_FOR_DIAGNOSIS
    if len(classes) > MOST_COLUMNS:
        yield f"It knows no class but the run's {len(classes)}."
    else:
        yield f"It knows no class but {named(classes)}."
    train, test = (
        _range(figures["images_of_a_class"][split])
        for split in (contract.SPLIT_TRAIN, contract.SPLIT_TEST)
    )
    yield f"Of each class it was trained on {train} and tested on {test} images."
    if unknown := figures["could_not_know"]:
        yield f"What this run could not know: {counted(unknown, 'thing')}, named below."


def _range(images: Mapping[str, int]) -> str:
    low, high = images["fewest"], images["most"]
    return str(low) if low == high else f"{low} to {high}"
