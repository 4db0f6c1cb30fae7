"""The check of CI's run on real images finds what is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.check_reference_run import COUNTS, MODELS, WEIGHTS, main, problems

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
                "total": 129,
                "blessed": True,
                "pushed_to": str(tmp_path / name),
            }
            for name in MODELS
        },
        "champion_pushed_to": str(tmp_path / "champion"),
    }


def test_a_good_run_passes(good: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(good))
    assert main(str(tmp_path)) == 0


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
