"""The check of CI's run on real images finds what is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.check_reference_run import COUNTS, MODELS, WEIGHTS, main, problems, report_problems

CLASSES = ("COVID-19", "Normal", "Viral Pneumonia")


@pytest.fixture
def good(tmp_path: Path) -> dict[str, Any]:
    for name in (*MODELS, "champion"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    return {
        "data": {
            "classes": list(CLASSES),
            "counts": {split: dict.fromkeys(CLASSES, n) for split, n in COUNTS.items()},
            "patients_in_two_splits": 0,
        },
        "models": {
            name: {
                "weights": WEIGHTS.get(name),
                "accuracy": 0.95,
                "correct": 122,
                "total": 129,
                "blessed": True,
                "pushed_to": str(tmp_path / name),
            }
            for name in MODELS
        },
        "champion": "vgg16",
        "champion_pushed_to": str(tmp_path / "champion"),
    }


@pytest.fixture
def report(good: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The report's numbers, which agree; written, with figures."""
    numbers = {
        "champion": "vgg16",
        "models": {
            name: {"accuracy": {"count": model["correct"], "total": model["total"]}}
            for name, model in good["models"].items()
        },
    }
    figures = tmp_path / "report" / "figures"
    figures.mkdir(parents=True)
    for name in MODELS:
        (figures / f"{name}-confusion.png").touch()
        (figures / f"{name}-curves.png").touch()
    (tmp_path / "report" / "report.json").write_text(json.dumps(numbers))
    return numbers


def test_a_report_of_another_run_is_noticed(
    good: dict[str, Any], report: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    assert list(report_problems(good, folder)) == []
    report["models"]["vgg16"]["accuracy"]["count"] = 121
    report["champion"] = "cascade"
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "figures" / "xception-curves.png").unlink()
    said = list(report_problems(good, folder))
    assert len(said) == 3
    assert "vgg16" in said[0] and "cascade" in said[1] and "xception-curves" in said[2]


@pytest.mark.usefixtures("report")
def test_a_good_run_passes(good: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(good))
    assert main(str(tmp_path)) == 0


@pytest.mark.usefixtures("report")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: s["data"]["counts"]["eval"].update({"Normal": 52}), "split eval"),
        (lambda s: s["data"].update(patients_in_two_splits=1), "1 patients"),
        (lambda s: s["models"]["densenet121"].update(weights="imagenet"), "weights 'imagenet'"),
        (lambda s: s["models"]["vgg16"].update(blessed=False), "vgg16: not blessed"),
        (lambda s: s["models"]["xception"].update(pushed_to=None), "xception: no SavedModel"),
        (lambda s: s["models"]["xception"].update(total=128), "judged on 128"),
        (lambda s: s.update(champion_pushed_to="/gone"), "champion: no SavedModel"),
    ],
)
def test_what_is_wrong_is_said(
    good: dict[str, Any],
    tmp_path: Path,
    spoil: Callable[[dict[str, Any]], None],
    said: str,
) -> None:
    bad = copy.deepcopy(good)
    spoil(bad)
    (sentence,) = problems(bad)
    assert said in sentence
    (tmp_path / "summary.json").write_text(json.dumps(bad))
    assert main(str(tmp_path)) == 1
