"""What is pushed, and what is cached, in runs that follow each other."""

# No `from __future__ import annotations`: TFX reads those of the nodes.

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.types import standard_artifacts

from common.errors import InputError
from components.model_card.artifact import ModelCardFiles
from components.serving_pusher import ServingPusher
from components.shortcut_audit import AuditReport
from schema import contract
from tests.components.serving_pusher.conftest import Clock

pytestmark = pytest.mark.slow


@tfx.dsl.components.component
def Train(  # noqa: N802 (a node's name)
    model: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
    recipe: tfx.dsl.components.Parameter[str],
) -> None:
    """Stands in for Trainer."""
    serving = Path(model.uri, "Format-Serving")
    (serving / "variables").mkdir(parents=True)
    (serving / "variables" / "recipe").write_text(recipe)
    (serving / "saved_model.pb").touch()


@tfx.dsl.components.component
def Evaluate(  # noqa: N802
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    blessing: tfx.dsl.components.OutputArtifact[standard_artifacts.ModelBlessing],
    gate: tfx.dsl.components.Parameter[int],
) -> None:
    """Stands in for Evaluator: the gate is passed unless it is 0."""
    blessing.set_int_custom_property("current_model_id", model.id)
    blessing.set_int_custom_property("blessed", int(gate > 0))


@tfx.dsl.components.component
def WriteCard(  # noqa: N802
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    model_card: tfx.dsl.components.OutputArtifact[ModelCardFiles],
    text: tfx.dsl.components.Parameter[str],
) -> None:
    """Stands in for ModelCard."""
    Path(model_card.uri).mkdir(parents=True, exist_ok=True)
    Path(model_card.uri, contract.MODEL_CARD_FILE).write_text(text)
    Path(model_card.uri, contract.MODEL_CARD_DATA_FILE).write_text("{}")


@tfx.dsl.components.component
def Audit(  # noqa: N802
    audit: tfx.dsl.components.OutputArtifact[AuditReport],
    passed: tfx.dsl.components.Parameter[int],
) -> None:
    """Stands in for ShortcutAudit."""
    audit.set_int_custom_property("passed", passed)


@dataclass
class Outcome:
    """What one run's Pusher did.

    Attributes:
        cached: taken from the cache.
        pushed_to: what its output says, as `pipeline.local.summary` reads it; "" if nothing.
    """

    cached: bool
    pushed_to: str

    @property
    def recipe(self) -> str:
        """Of the model in the folder that is said to be pushed to."""
        return Path(self.pushed_to, "variables", "recipe").read_text()


Push = Callable[..., Outcome]


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "tiny"


@pytest.fixture
def push(launch: Callable[..., Any], serving: Path, clock: Clock) -> Push:
    """One run."""

    def run(
        recipe: str,
        *,
        gate: int = 1,
        base: Path = serving,
        card: str | None = None,
        audit: int | None = None,
    ) -> Outcome:
        trainer = Train(recipe=recipe)
        evaluator = Evaluate(model=trainer.outputs["model"], gate=gate)
        cards = [] if card is None else [WriteCard(model=trainer.outputs["model"], text=card)]
        audits = [] if audit is None else [Audit(passed=audit)]
        pusher = ServingPusher(
            model=trainer.outputs["model"],
            model_blessing=evaluator.outputs["blessing"],
            model_card=cards[0].outputs["model_card"] if cards else None,
            audit=audits[0].outputs["audit"] if audits else None,
            push_destination=tfx.proto.PushDestination(
                filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(base))
            ),
        ).with_id("Pusher.tiny")
        nodes = (trainer, evaluator, *cards, *audits, pusher)
        store = mlmd.MetadataStore(launch(*nodes, enable_cache=True))
        execution = max(
            (e for e in store.get_executions() if e.type.endswith(".ServingPusher")),
            key=lambda e: e.id,
        )
        (written,) = (
            event.artifact_id
            for event in store.get_events_by_execution_ids([execution.id])
            if event.type == metadata_store_pb2.Event.OUTPUT
        )
        (pushed,) = store.get_artifacts_by_id([written])
        return Outcome(
            execution.last_known_state == metadata_store_pb2.Execution.CACHED,
            pushed.custom_properties["pushed_destination"].string_value,
        )

    return run


def _versions(serving: Path) -> list[str]:
    """Recipes of the versions, the lowest first."""
    folders = sorted(serving.iterdir(), key=lambda folder: int(folder.name))
    return [(folder / "variables" / "recipe").read_text() for folder in folders]


def test_an_unchanged_run_is_cached_and_what_was_deleted_is_pushed_again(
    push: Push, serving: Path
) -> None:
    first = push("A")
    assert not first.cached
    assert first.recipe == "A"
    assert push("A") == Outcome(True, first.pushed_to)
    assert _versions(serving) == ["A"]
    last = first
    for lost in (Path(), Path("saved_model.pb"), Path("..")):
        gone = Path(last.pushed_to, lost).resolve()
        if gone.is_dir():
            shutil.rmtree(gone)
        else:
            gone.unlink()
        again = push("A")
        assert not again.cached
        assert again.recipe == "A"
        assert Path(again.pushed_to, "saved_model.pb").exists()
        assert push("A") == Outcome(True, again.pushed_to)
        last = again
    assert _versions(serving) == ["A"]


def test_going_back_to_a_model_serves_it(push: Push, serving: Path) -> None:
    a, b = push("A"), push("B")
    back = push("A")
    assert [a.cached, b.cached, back.cached] == [False, False, False]
    assert _versions(serving) == ["A", "B", "A"]
    assert back.pushed_to == str(max(serving.iterdir(), key=lambda folder: int(folder.name)))
    assert push("A") == Outcome(True, back.pushed_to)
    assert push("B").recipe == "B"
    assert _versions(serving) == ["A", "B", "A", "B"]
    assert push("B").cached


def test_what_is_not_blessed_is_not_pushed_and_cached(push: Push, serving: Path) -> None:
    assert push("A", gate=0) == Outcome(False, "")
    assert push("A", gate=0) == Outcome(True, "")
    assert not serving.exists()
    pushed = push("A", gate=1)
    assert pushed.recipe == "A"
    assert push("B", gate=0) == Outcome(False, "")
    assert push("B", gate=0) == Outcome(True, "")
    assert push("A", gate=1) == Outcome(True, pushed.pushed_to)
    assert _versions(serving) == ["A"]


def test_what_the_audit_stops_is_not_pushed_and_cached(push: Push, serving: Path) -> None:
    assert push("A", audit=0) == Outcome(False, "")
    assert push("A", audit=0) == Outcome(True, "")
    # Blessed or not: both are asked.
    assert push("A", gate=0, audit=1) == Outcome(False, "")
    assert not serving.exists()
    pushed = push("A", audit=1)
    assert pushed.recipe == "A"
    assert push("A", audit=1) == Outcome(True, pushed.pushed_to)
    assert push("B", audit=0) == Outcome(False, "")
    assert push("A", audit=1) == Outcome(True, pushed.pushed_to)
    shutil.rmtree(serving)
    assert push("A", audit=0) == Outcome(True, "")
    assert push("A", audit=1).recipe == "A"
    assert _versions(serving) == ["A"]


def test_another_blessing_pushes_once(push: Push, serving: Path) -> None:
    """As the stock Pusher does; every further run is cached."""
    push("A", gate=1)
    again = push("A", gate=2)
    assert not again.cached
    assert push("A", gate=2) == Outcome(True, again.pushed_to)
    back = push("A", gate=1)
    assert back.recipe == "A"
    assert push("A", gate=1) == Outcome(True, back.pushed_to)
    assert set(_versions(serving)) == {"A"}


def test_a_card_is_pushed_along_and_another_one_pushes_once(push: Push, serving: Path) -> None:
    def beside(outcome: Outcome) -> str:
        return Path(outcome.pushed_to, "assets.extra", "model_card.md").read_text()

    first = push("A", card="one")
    assert (first.cached, first.recipe, beside(first)) == (False, "A", "one")
    assert push("A", card="one") == Outcome(True, first.pushed_to)
    second = push("A", card="two")
    assert (second.cached, second.recipe, beside(second)) == (False, "A", "two")
    assert push("A", card="two") == Outcome(True, second.pushed_to)
    assert push("B", card="two", gate=0) == Outcome(False, "")
    shutil.rmtree(second.pushed_to)
    again = push("A", card="two")
    assert (again.cached, beside(again)) == (False, "two")
    assert _versions(serving) == ["A", "A"]


def test_a_lost_result_pushes_once(push: Push, serving: Path, tmp_path: Path, clock: Clock) -> None:
    """Where the artifact is gone the cache is of no use, whatever the attempt."""
    push("A")
    shutil.rmtree(tmp_path / "root" / "Pusher.tiny")
    clock.sleep(1.1)  # This is the one push that is not waited for: the model is served.
    again = push("A")
    assert not again.cached
    assert push("A") == Outcome(True, again.pushed_to)
    assert _versions(serving) == ["A", "A"]


def test_another_serving_folder(push: Push, serving: Path, tmp_path: Path) -> None:
    push("A")
    elsewhere = push("A", base=tmp_path / "elsewhere")
    assert not elsewhere.cached
    assert push("A", base=tmp_path / "elsewhere") == Outcome(True, elsewhere.pushed_to)
    assert _versions(serving) == _versions(tmp_path / "elsewhere") == ["A"]


def test_a_version_of_this_second_is_no_obstacle(push: Push, serving: Path, clock: Clock) -> None:
    """The stock Pusher would say it had pushed, and leave what is there."""
    future = serving / str(int(clock.time()) + 4)
    (future / "variables").mkdir(parents=True)
    (future / "variables" / "recipe").write_text("other")
    (future / "saved_model.pb").touch()
    assert push("A").recipe == "A"
    assert _versions(serving) == ["other", "A"]


def test_a_version_of_the_far_future_stops_a_push_and_nothing_else(
    push: Push, serving: Path, clock: Clock
) -> None:
    pushed = push("A")
    future = serving / str(int(clock.time()) + 10_000)
    future.mkdir()
    assert push("B", gate=0) == Outcome(False, "")
    assert push("B", audit=0) == Outcome(False, "")
    with pytest.raises(InputError, match=future.name):
        push("B")
    future.rmdir()
    assert push("A") == Outcome(True, pushed.pushed_to)
    assert push("B").recipe == "B"
