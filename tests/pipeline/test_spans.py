"""Three spans, one after the other: `cxr run` each time new images are there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from components.radiograph_example_gen.manifest import Entry, read_manifest
from pipeline import cli
from pipeline.layout import OutputLayout

if TYPE_CHECKING:
    from tests.pipeline.conftest import Outcome, Run

pytestmark = [pytest.mark.slow, pytest.mark.long]

COUNTS = {1: (30, 33, 31), 2: (15, 16, 17), 3: (16, 15, 15)}
CONFIG: dict[str, Any] = {
    # Blessed whatever chance says: what is tested is which models meet.
    "gate": {"min_accuracy": 0.1, "baseline_significance": 1e-6},
    "audit": {"enabled": False},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing yet. Patients of the spans to come have the same ids in each."""
    return tmp_path_factory.mktemp("spans")


def _arrives(root: Path, number: int) -> None:
    from pipeline.phantoms import write_phantoms

    write_phantoms(root / f"span-{number}", COUNTS[number], size=96, seed=number)


@pytest.fixture(scope="module")
def runs(run: Run, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Outcome]:
    """With span 1; with spans 1 and 2; with the window 2 and 3, twice."""
    output = tmp_path_factory.mktemp("run") / "output"
    outcomes = []
    for number, window in ((1, None), (2, None), (3, 2)):
        _arrives(root, number)
        outcomes.append(_run(run, root, output, window=window))
    return [*outcomes, _run(run, root, output, window=2)]


def _run(run: Run, root: Path, output: Path, **data: Any) -> Outcome:
    return run(output, data=root / "span-{SPAN}", config=CONFIG | {"data": data})


def _entries(outcome: Outcome) -> list[Entry]:
    return read_manifest(outcome.summary["data"]["manifest"])


def _model(outcome: Outcome) -> dict[str, Any]:
    assert outcome.exit_code == cli.EXIT_PUSHED, outcome.printed
    model: dict[str, Any] = outcome.summary["models"]["tiny"]
    return model


def test_images_keep_their_split_and_patients_never_move(runs: Sequence[Outcome]) -> None:
    places = [{entry.sha256: entry.split for entry in _entries(run)} for run in runs]
    assert places[0].items() < places[1].items()
    both = places[1].keys() & places[2].keys()
    assert both
    assert {sha: places[1][sha] for sha in both} == {sha: places[2][sha] for sha in both}
    assert {e.file.partition("/")[0] for e in _entries(runs[2])} == {"span-2", "span-3"}
    homes: dict[str, set[str]] = {}
    for entry in itertools.chain.from_iterable(map(_entries, runs)):
        homes.setdefault(entry.patient, set()).add(entry.split)
    assert all(len(splits) == 1 for splits in homes.values())
    (kept,) = OutputLayout(runs[0].output).splits.iterdir()
    assert all(entry.sha256 in kept.read_text() for entry in _entries(runs[1]))
    # The ids repeat, so this says something.
    old, new = ({e.patient for e in _entries(run)} for run in (runs[0], runs[2]))
    assert old & new


def test_the_last_blessed_model_is_baseline_and_start(runs: Sequence[Outcome]) -> None:
    models = [_model(run) for run in runs]
    assert models[0]["continued"] is None
    assert "baseline_accuracy" not in models[0]["gate"]
    folders = sorted(
        (OutputLayout(runs[0].output).artifacts / "Trainer.tiny" / "model").iterdir(),
        key=lambda folder: int(folder.name),
    )
    assert len(folders) == 3
    for before, model in zip(folders, models[1:3], strict=False):
        assert model["continued"] == {
            "model": str(before / "Format-Serving"), "continued": True, "why_not": None,
        }  # fmt: skip
        assert "baseline_accuracy" in model["gate"]


def test_drift_against_the_span_before_is_reported(runs: Sequence[Outcome]) -> None:
    found = [run.summary["data"]["drift"] for run in runs]
    assert [(each["span"], each["previous"]) for each in found[:3]] == [(1, None), (2, 1), (3, 2)]
    assert {"mean", "entropy"} <= {row["feature"] for row in found[2]["features"]}
    page = OutputLayout(runs[0].output).report.joinpath("index.html").read_text()
    assert "Span 3 (" in page
    assert "against span 2 (" in page


def test_the_same_again_comes_from_the_cache(runs: Sequence[Outcome]) -> None:
    assert runs[3].executed == set()
    assert runs[3].cached >= runs[2].executed
    assert _model(runs[3]) == _model(runs[2])


def test_dark_images_stop_the_run_before_anything_is_trained(
    runs: Sequence[Outcome], run: Run, root: Path
) -> None:
    for path in (root / "span-3").rglob("*.png"):
        dark = root / "span-4" / path.relative_to(root / "span-3")
        dark.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.point(lambda grey: grey // 4).save(dark)
    limits = {"window": 2, "max_drift": 0.7}
    passed = _run(run, root, runs[0].output, span=3, **limits)
    assert passed.exit_code == cli.EXIT_PUSHED, passed.printed
    assert passed.executed <= {"SpanDrift", "Report"}
    (kept,) = OutputLayout(runs[0].output).splits.iterdir()
    before = kept.read_text()
    stopped = _run(run, root, runs[0].output, **limits)
    # So the span can be mended.
    assert kept.read_text() == before
    assert stopped.exit_code == cli.EXIT_INPUT
    said = " ".join(stopped.printed.split())
    assert "the images drift: span 4 is further from span 3 than data.max_drift = 0.7" in said
    assert "mean: " in said
    assert "Transform" not in stopped.how
    assert "Trainer.tiny" not in stopped.how
