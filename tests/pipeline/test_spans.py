"""Spans, one after the other: `cxr run` each time new images are there."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from components.radiograph_example_gen.manifest import Entry, read_manifest
from pipeline import cli
from pipeline.config.layout import OutputLayout
from pipeline.phantoms import write_phantoms

if TYPE_CHECKING:
    from tests.pipeline.conftest import Outcome, Run

pytestmark = [pytest.mark.slow, pytest.mark.long]

COUNTS = {1: (30, 33, 31), 2: (15, 16, 17)}
LIMITS: dict[str, Any] = {"window": 2, "max_drift": 0.7}
CONFIG: dict[str, Any] = {
    # Blessed whatever chance says: what is tested is which models meet.
    "gate": {"min_accuracy": 0.1, "baseline_significance": 1e-6},
    "audit": {"enabled": False},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing yet. Patients of the spans to come have the same ids in each."""
    return tmp_path_factory.mktemp("spans")


@dataclass(frozen=True)
class Runs:
    """In this order: with span 1; with spans 1 and 2, twice; with span 3, which is span 2 darkened.

    Attributes:
        done: those that came to their end.
        kept: content of the files with the images' splits, behind them.
        stopped: the last one.
    """

    done: Sequence[Outcome]
    kept: str
    stopped: Outcome


@pytest.fixture(scope="module")
def runs(run: Run, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The runs that all tests share."""
    output = tmp_path_factory.mktemp("run") / "output"
    write_phantoms(root / "span-1", COUNTS[1], size=96, seed=1)
    first = _run(run, root, output)
    write_phantoms(root / "span-2", COUNTS[2], size=96, seed=2)
    done = [first, *(_run(run, root, output, **LIMITS) for _ in range(2))]
    kept = _kept(first)
    for path in (root / "span-2").rglob("*.png"):
        dark = root / "span-3" / path.relative_to(root / "span-2")
        dark.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.point(lambda grey: grey // 4).save(dark)
    shutil.copy(root / "span-2" / "metadata.csv", root / "span-3")
    return Runs(done, kept, _run(run, root, output, **LIMITS))


def _kept(outcome: Outcome) -> str:
    """Which split the images of spans were given, by all pushed versions."""
    files = OutputLayout(outcome.output).pushed.glob("tiny/*/splits/*.csv")
    return "".join(file.read_text() for file in sorted(files))


def _run(run: Run, root: Path, output: Path, **data: Any) -> Outcome:
    return run(output, data=root / "span-{SPAN}", config=CONFIG | {"data": data})


def _entries(outcome: Outcome) -> list[Entry]:
    return read_manifest(outcome.summary["data"]["manifest"])


def _model(outcome: Outcome) -> dict[str, Any]:
    assert outcome.exit_code == cli.EXIT_PUSHED, outcome.printed
    model: dict[str, Any] = outcome.summary["models"]["tiny"]
    return model


def test_images_keep_their_split_and_patients_never_move(runs: Runs) -> None:
    first, second, *_ = runs.done
    last = read_manifest(_last_manifest(first))
    before, after = _entries(first), _entries(second)
    places = [{entry.sha256: entry.split for entry in part} for part in (before, after, last)]
    assert places[0].items() < places[1].items()
    both = places[1].keys() & places[2].keys()
    assert both
    assert {sha: places[1][sha] for sha in both} == {sha: places[2][sha] for sha in both}
    assert {e.file.partition("/")[0] for e in last} == {"span-2", "span-3"}
    homes: dict[str, set[str]] = {}
    for entry in itertools.chain(before, after, last):
        homes.setdefault(entry.patient, set()).add(entry.split)
    assert all(len(splits) == 1 for splits in homes.values())
    assert all(entry.sha256 in runs.kept for entry in after)
    # The ids repeat, so this says something.
    new = {e.patient for e in after if e.file.startswith("span-2/")}
    assert {e.patient for e in before} & new


def _last_manifest(outcome: Outcome) -> str:
    from pipeline.local.summary import read_run

    return read_run(OutputLayout(outcome.output)).uri("RadiographExampleGen", "manifest")


def test_the_last_blessed_model_is_baseline_and_start(runs: Runs) -> None:
    first, second, *_ = map(_model, runs.done)
    assert first["continued"] is None
    assert "baseline_accuracy" not in first["gate"]
    folders = OutputLayout(runs.done[0].output).artifacts / "Previous.tiny" / "model"
    _, copied, *_ = sorted(folders.iterdir(), key=lambda folder: int(folder.name))
    assert second["continued"] == {
        "model": str(copied / "Format-Serving"), "continued": True, "why_not": None,
    }  # fmt: skip
    files = ("saved_model.pb", "variables/variables.index")
    pushed = Path(first["pushed_to"])
    for name in files:
        assert (copied / "Format-Serving" / name).read_bytes() == (pushed / name).read_bytes()
    assert "baseline_accuracy" in second["gate"]


def test_drift_against_the_span_before_is_reported(runs: Runs) -> None:
    found = [run.summary["data"]["drift"] for run in runs.done]
    assert [(each["span"], each["previous"]) for each in found[:2]] == [(1, None), (2, 1)]
    assert {"mean", "entropy"} <= {row["feature"] for row in found[1]["features"]}
    page = OutputLayout(runs.done[0].output).report.joinpath("index.html").read_text()
    assert "Span 2 (" in page
    assert "against span 1 (" in page


def test_the_same_again_comes_from_the_cache(runs: Runs) -> None:
    first, second, again = runs.done
    assert again.executed == set()
    assert again.cached >= second.executed
    assert _model(again) == _model(second)
    # What was pushed before stays.
    assert first.served.items() < second.served.items() == again.served.items()


def test_dark_images_stop_the_run_before_anything_is_trained(runs: Runs) -> None:
    # So the span can be mended.
    assert _kept(runs.stopped) == runs.kept
    assert runs.stopped.exit_code == cli.EXIT_INPUT
    said = " ".join(runs.stopped.printed.split())
    assert "the images drift: span 3 is further from span 2 than data.max_drift = 0.7" in said
    assert "mean: " in said
    assert "Transform" not in runs.stopped.how
    assert "Trainer.tiny" not in runs.stopped.how
