"""The fused head in a study: one pass through each network, and the results of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.runtime import prepare_environment
from pipeline.config.pipeline_config import PipelineConfig, load_config
from pipeline.study.command import run_study
from schema import contract
from tests.miniatures import miniature_backbones
from tests.pipeline.study.conftest import Remembering

prepare_environment()

# Whole studies of two networks.
pytestmark = pytest.mark.long
BACKBONES = ("xception", "densenet121")
SEEDS = (3,)


@pytest.fixture(scope="module", autouse=True)
def _miniatures() -> Iterator[None]:
    with miniature_backbones():
        yield


def _config(output: Path, data: Path, **fields: Any) -> PipelineConfig:
    values: dict[str, Any] = {
        "data": {"dir": data},
        "output": output,
        "backbones": list(BACKBONES),
        "combinations": ["fusion"],
        "gate": {"min_accuracy": 0.3},
        "training": {"epochs": 3},
    }
    return load_config(preset="demo", overrides=values | fields)


def test_a_study_has_the_fused_head_from_the_same_pass_and_keeps_it(
    tmp_path: Path, phantom_folder: Path
) -> None:
    screen = Remembering()
    report = run_study(_config(tmp_path, phantom_folder), SEEDS, screen)
    both = [(name, seed) for name in (*BACKBONES, "fusion") for seed in SEEDS]
    assert sorted(screen.computed) == sorted(both)
    assert report["results"] == len(both)
    # Of every backbone all 90 images that the split takes, once; of DenseNet121 the mirrors of the
    # 72 that heads are fitted to, too.
    assert screen.passes == len(BACKBONES) * 90 + 72
    fused, networks = (report["models"][name] for name in ("fusion", BACKBONES[0]))
    assert fused["weights"] is None
    assert fused["multiply_adds"] > networks["multiply_adds"]
    assert set(report["champions"].values()) <= {*BACKBONES, "fusion"}
    kept = json.loads((tmp_path / "results/fusion/seed-3.json").read_text())
    one = json.loads((tmp_path / f"results/{BACKBONES[0]}/seed-3.json").read_text())
    assert sorted(kept["test"]["sha256"]) == sorted(one["test"]["sha256"])
    assert kept["validation"]["members"] == sorted(BACKBONES)
    assert kept["eval"]["folds"] == 5
    right = (
        np.argmax(kept["test"]["probabilities"][contract.FLAT], axis=1) == kept["test"]["labels"]
    )
    assert fused["per_seed"][0]["correct"] == right.sum()

    again = Remembering()
    second = run_study(_config(tmp_path, phantom_folder), SEEDS, again)
    assert (again.computed, again.passes) == ([], 0)
    assert second["models"] == report["models"]
    # Another way to judge changes results and no features.
    other = Remembering()
    held_out = {"training": {"epochs": 3, "validation": "holdout"}}
    run_study(_config(tmp_path, phantom_folder, **held_out), SEEDS, other)
    assert sorted(name for name, _ in other.computed) == sorted((*BACKBONES, "fusion"))
    assert other.passes == 0


def test_one_backbone_is_not_fused(tmp_path: Path, phantom_folder: Path) -> None:
    screen = Remembering()
    run_study(_config(tmp_path, phantom_folder, backbones=["xception"]), SEEDS, screen)
    assert screen.computed == [("xception", 3)]
