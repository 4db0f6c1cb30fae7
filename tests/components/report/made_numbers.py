"""The numbers of a report that no run made, for what is said of them."""

from __future__ import annotations

from typing import Any, Final

from components.report.judgement import share

CLASSES: Final = ["COVID-19", "Normal", "Viral Pneumonia"]


def row(feature: str, value: str, right: int, images: int) -> dict[str, Any]:
    """A slice; fewer than 20 images are too few."""
    return {
        "feature": feature,
        "value": value,
        "images": images,
        "accuracy": share(right, images),
        "too_small": images < 20,
    }


def model(right: int = 110, images: int = 129, **other: Any) -> dict[str, Any]:
    """One that passed the gate, with 129 images of three classes unless told otherwise."""
    third = images // 3
    rest = images - 2 * third
    return {
        "accuracy": share(right, images),
        "confusion": [[third, 0, 0], [0, third, 0], [rest, 0, 0]],
        "blessed": True,
        "refused_because": None,
        "baseline": None,
        "paper": None,
        "slices": [row("class", name, 40, 43) for name in CLASSES],
        "largest_gap": None,
        "validation": {
            "folds": 0,
            "judged_on": "the validation split",
            "fitted_to": "the train split",
        },
        **other,
    }


def compared(right: int, images: int, p: float) -> dict[str, Any]:
    """A baseline's or the paper's result."""
    return {"accuracy": share(right, images), "p": p, "significant": p < 0.05}


def shortcut(name: str, seen: str, right: int, **other: Any) -> dict[str, Any]:
    """One of audit.json's, above chance, of 129 images."""
    return {
        "name": name,
        "seen": seen,
        "against_rest": None,
        "correct": right,
        "total": 129,
        "accuracy": right / 129,
        "wilson95": share(right, 129)["wilson95"],
        "chance": 1 / 3,
        "above_chance": True,
        **other,
    }


def audit(pairs: int = 0, **other: Any) -> dict[str, Any]:
    """audit.json, as far as the report's words need it; nothing was found."""
    weighed = other.pop("weighed", [])
    return {
        "passed": True,
        "failures": [],
        "findings": [one["sentence"] for one in weighed],
        "weighed": weighed,
        "duplicates": {"across_splits": pairs},
        "shortcuts": [shortcut("border and corners", "borders", 44, above_chance=False)],
        **other,
    }


def numbers(models: dict[str, dict[str, Any]] | None = None, **other: Any) -> dict[str, Any]:
    """Of a whole report: vgg16 is the champion, nothing is wrong; `summary` adds to the data's."""
    classes = other.get("classes", CLASSES)
    summary = {
        "split_totals": {"train": 369, "eval": 159, "test": 129},
        "split_counts": {name: {"train": 123, "eval": 53, "test": 43} for name in classes},
        "patients_in_two_splits": 0,
        "images_without_patient": 0,
        "remarks": [],
        "deviations": [],
        **other.pop("summary", {}),
    }
    return {
        "classes": classes,
        "champion": "vgg16",
        "models": models or {"vgg16": model()},
        "pairs": [],
        "drift": {},
        "span_drift": None,
        "audit": audit(),
        "data": {"summary": summary, "left_out": other.pop("left_out", [])},
        **other,
    }
