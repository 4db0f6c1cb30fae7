"""Which model becomes the baseline."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from components.baseline_resolver import LatestOtherBlessedStrategy

SPLIT = {"train": ["a of anna", "b"], "eval": ["c of carl"], "test": ["d of dora", "e"]}


def _blessing(number: int, *, of: int | None, blessed: bool = True) -> Any:
    """As Evaluator sets it; `of` is None where Evaluator had no threshold to check."""
    artifact = standard_artifacts.ModelBlessing()
    artifact.id = number
    if of is not None:
        artifact.set_int_custom_property("current_model_id", of)
        artifact.set_int_custom_property("blessed", int(blessed))
    return artifact


def _resolve(store: Any, inputs: dict[str, list[Any]]) -> dict[str, list[int]]:
    resolved = LatestOtherBlessedStrategy().resolve_artifacts(store, inputs)
    return {key: [artifact.id for artifact in found] for key, found in resolved.items()}


@pytest.fixture
def models(lineage: Any) -> list[Any]:
    """Three models of one split."""
    examples, _ = lineage.split(SPLIT)
    return [lineage.train(examples) for _ in range(3)]


@pytest.mark.parametrize(
    ("known", "blessings", "expected"),
    [
        # Which models the channel holds; of which there is a blessing, by the order of
        # the blessings; and the baseline's index. The candidate is model 2.
        pytest.param([2], [], None, id="first run"),
        pytest.param([2], [(2, True)], None, id="only the candidate"),
        pytest.param([0, 1, 2], [(0, True), (1, True)], 1, id="latest"),
        pytest.param(
            [1, 0, 2], [(0, True), (1, True), (2, True)], 1, id="latest but one, in any order"
        ),
        pytest.param([0, 1, 2], [(0, True), (1, False)], 0, id="not blessed"),
        pytest.param([0, 2], [(None, True)], None, id="never gated"),
        pytest.param([0, 2], [(1, True)], None, id="blessing of a lost model"),
        # A rerun with a stricter gate doesn't take back what was pushed.
        pytest.param([0, 2], [(0, True), (0, False)], 0, id="blessed once, not twice"),
        pytest.param([], [], None, id="nothing at all"),
    ],
)
def test_the_latest_other_blessed_model(
    lineage: Any,
    models: list[Any],
    known: list[int],
    blessings: list[tuple[int | None, bool]],
    expected: int | None,
) -> None:
    inputs = {
        "candidate": [models[2]],
        "model": [models[index] for index in known],
        "model_blessing": [
            _blessing(90 + order, of=None if index is None else models[index].id, blessed=blessed)
            for order, (index, blessed) in enumerate(blessings)
        ],
    }
    resolved = _resolve(lineage.store, inputs)
    assert resolved["candidate"] == [models[2].id]
    assert resolved["model"] == ([] if expected is None else [models[expected].id])
    orders = [90 + n for n, (index, good) in enumerate(blessings) if index == expected and good]
    assert resolved["model_blessing"] == ([] if expected is None else orders)


def test_missing_keys_are_empty_lists(lineage: Any) -> None:
    assert _resolve(lineage.store, {}) == {"candidate": [], "model": [], "model_blessing": []}


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged."""
    from absl import logging

    sentences: list[str] = []
    monkeypatch.setattr(
        logging, "warning", lambda message, *values: sentences.append(message % values)
    )
    return sentences


Choose = Callable[..., int | None]


@pytest.fixture
def baseline(lineage: Any) -> Choose:
    """(candidate, others, all blessed) → the baseline's id."""

    def choose(candidate: Any, *others: Any, store: Any = lineage.store) -> int | None:
        blessings = [_blessing(900 + other.id, of=other.id) for other in others]
        inputs = {
            "candidate": [candidate],
            "model": [*others, candidate],
            "model_blessing": blessings,
        }
        found = _resolve(store, inputs)["model"]
        return found[0] if found else None

    return choose


@pytest.mark.parametrize(
    ("old", "why"),
    [
        pytest.param(SPLIT, None, id="the same split, made again"),
        pytest.param(
            {"train": ["a", "x"], "eval": [], "test": ["d", "e"]}, None, id="smaller, same places"
        ),
        pytest.param(
            {"train": ["a", "d of dora"], "eval": [], "test": ["b"]},
            "1 of the 2 test images",
            id="a test image was trained on",
        ),
        pytest.param(
            {"train": ["a"], "eval": ["d", "e"], "test": ["b"]},
            "2 of the 2 test images",
            id="test images were validated on",
        ),
        pytest.param(
            {"train": ["z of dora"], "eval": [], "test": ["b"]},
            "1 of the 1 test patients",
            id="another image of a test patient",
        ),
        pytest.param(
            {"train": ["z", "y"], "eval": ["x"], "test": ["a"]}, None, id="nobody is no patient"
        ),
    ],
)
def test_what_has_seen_the_test_split_is_no_baseline(
    lineage: Any, baseline: Choose, warnings: list[str], old: Any, why: str | None
) -> None:
    model, candidate = lineage.model(old), lineage.model(SPLIT)
    assert baseline(candidate, model) == (None if why else model.id)
    if why is None:
        assert warnings == []
    else:
        (warning,) = warnings
        assert why in warning
        assert model.uri in warning


def test_more_images_are_no_obstacle_where_the_old_ones_keep_their_splits(
    lineage: Any, baseline: Choose
) -> None:
    model = lineage.model(SPLIT)
    more = {split: [*images, f"new {split} of n{split}"] for split, images in SPLIT.items()}
    assert baseline(lineage.model(more), model) == model.id


def test_spans_that_keep_their_split_are_comparable_whatever_the_window(
    lineage: Any, baseline: Choose
) -> None:
    first = lineage.train(lineage.split(SPLIT)[0])
    later = {split: [f"new {split} of n{split}"] for split in SPLIT}
    assert baseline(lineage.train(lineage.split(later)[0], start=first), first) == first.id


def test_a_model_has_seen_what_it_was_continued_from_has_seen(
    lineage: Any, baseline: Choose, warnings: list[str]
) -> None:
    first = lineage.model({"train": ["d"], "eval": ["e"], "test": ["a"]})
    other = {"train": ["x"], "eval": ["y"], "test": ["z"]}
    continued = lineage.train(lineage.split(other)[0], start=first)
    unrelated = lineage.model(other)
    assert baseline(lineage.model(SPLIT), unrelated) == unrelated.id
    assert baseline(lineage.model(SPLIT), continued) is None
    assert "2 of the 2 test images" in warnings[0]


@pytest.mark.parametrize("classes", [("well", "ill"), ("ill", "well", "both"), ("ill",)])
def test_other_classes_or_another_order(
    lineage: Any, baseline: Choose, warnings: list[str], classes: tuple[str, ...]
) -> None:
    model = lineage.model(SPLIT, classes)
    assert baseline(lineage.model(SPLIT), model) is None
    assert "classes" in warnings[0]


def test_the_next_in_line_is_taken(lineage: Any, baseline: Choose, warnings: list[str]) -> None:
    oldest, old, gone = (lineage.model(SPLIT) for _ in range(3))
    other_seed = lineage.model({"train": ["d"], "eval": ["e"], "test": ["a"]})
    shutil.rmtree(gone.uri)
    assert baseline(lineage.model(SPLIT), oldest, old, gone, other_seed) == old.id
    assert len(warnings) == 2


def test_a_model_without_its_saved_model(
    lineage: Any, baseline: Choose, warnings: list[str]
) -> None:
    model = lineage.model(SPLIT)
    Path(model.uri, "Format-Serving", "saved_model.pb").unlink()
    assert baseline(lineage.model(SPLIT), model) is None
    assert "gone" in warnings[0]


def _without_lineage(lineage: Any) -> Any:
    return lineage.train()


def _with_two_manifests(lineage: Any) -> Any:
    return lineage.train(lineage.split(SPLIT)[0], lineage.split(SPLIT)[0])


def _without_manifest(lineage: Any) -> Any:
    examples, manifest = lineage.split(SPLIT)
    shutil.rmtree(manifest.uri)
    return lineage.train(examples)


def _with_half_a_manifest(lineage: Any) -> Any:
    examples, manifest = lineage.split(SPLIT)
    file = Path(manifest.uri, "manifest.csv")
    file.write_text(file.read_text()[:-8])
    return lineage.train(examples)


def _with_half_a_summary(lineage: Any) -> Any:
    examples, manifest = lineage.split(SPLIT)
    Path(manifest.uri, "summary.json").write_text("{")
    return lineage.train(examples)


@pytest.mark.parametrize(
    "made",
    [
        _without_lineage,
        _with_two_manifests,
        _without_manifest,
        _with_half_a_manifest,
        _with_half_a_summary,
    ],
)
def test_where_the_split_is_not_known(
    lineage: Any, baseline: Choose, warnings: list[str], made: Callable[[Any], Any]
) -> None:
    known, unknown = lineage.model(SPLIT), made(lineage)
    assert baseline(lineage.model(SPLIT), known, unknown) == known.id
    assert unknown.uri in warnings[0]
    assert "manifest" in warnings[0]
    assert baseline(unknown, known) is None
    assert "There is no baseline for the model in " + unknown.uri in warnings[1]


def test_a_runner_without_a_metadata_store(
    lineage: Any, baseline: Choose, warnings: list[str]
) -> None:
    model = lineage.model(SPLIT)
    assert baseline(lineage.model(SPLIT), model, store=None) is None
    assert len(warnings) == 1
    assert baseline(model, store=None) is None
    assert len(warnings) == 1, "where there is nothing to compare, nothing is missing"


def test_without_a_candidate_there_is_nothing_to_compare(lineage: Any, warnings: list[str]) -> None:
    model = lineage.model(SPLIT)
    inputs = {"model": [model], "model_blessing": [_blessing(9, of=model.id)]}
    assert _resolve(lineage.store, inputs)["model"] == []
    assert len(warnings) == 1
