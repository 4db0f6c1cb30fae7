"""What a search found, read back from a store: for the summary, and to be used again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from common.errors import InputError
from pipeline import cli
from pipeline.config.layout import OutputLayout
from pipeline.config.pipeline_config import PipelineConfig, load_config
from pipeline.local.folder.places import relocate
from pipeline.local.tuning_results import check_reusable, latest_search, search_summary

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun
    from tests.pipeline.conftest import Run

VALUES: dict[str, Any] = {
    "boundary": "head",
    "learning_rate": 0.002,
    "batch_size": 32,
    "head.kind": "regularised",
    "head.dropout": 0.25,
    "head.l2": 0.01,
}


class Searched:
    """The golden run's store, copied, with searches of vgg16 that somebody made up.

    Attributes:
        layout: of the folder in which it lies.
        store: the store.
    """

    def __init__(self, golden: GoldenRun, root: Path) -> None:
        root.mkdir()
        self.layout = OutputLayout(root)
        shutil.copy(golden.layout.metadata, self.layout.metadata)
        # Read through it; nothing here writes.
        self.layout.artifacts.symlink_to(golden.layout.artifacts)
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(self.layout.metadata)
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE
        self.store = mlmd.MetadataStore(config)
        self._data = golden.data
        self._settings = golden.folder / "settings.yaml"
        self._count = 0

    def config(self, **fields: Any) -> PipelineConfig:
        """The golden run's, for vgg16 alone, that uses what was found."""
        values: dict[str, Any] = {
            "data": {"dir": self._data},
            "output": self.layout.root,
            "backbones": ["vgg16"],
            "tuning": {"mode": "reuse"},
        }
        return load_config(self._settings, overrides=values | fields)

    def search(
        self, values: dict[str, Any] = VALUES, *, trials: int = 4, in_last_run: bool = False
    ) -> list[pb.Artifact]:
        """Its two outputs, the hyperparameters first. Three trials came to an end."""
        outputs = []
        for key, kind, name, content in (
            ("best_hyperparameters", "HyperParameters", "best_hyperparameters.txt",
             {"space": [], "values": values}),
            ("tuner_results", "TunerResults", "tuner_results.json",
             [{"score": 0.5}, {"score": 0.25}, {"score": 0.75}]),
        ):  # fmt: skip
            self._count += 1
            folder = self.layout.root / f"{key}-{self._count}"
            folder.mkdir()
            (folder / name).write_text(json.dumps(content))
            type_id = self.store.put_artifact_type(pb.ArtifactType(name=kind))
            state = pb.Artifact.State.LIVE
            outputs.append((key, pb.Artifact(type_id=type_id, uri=str(folder), state=state)))
        return self._execution(outputs, trials=trials, in_last_run=in_last_run)

    def cached(self, outputs: list[pb.Artifact]) -> None:
        """The same outputs once more, as a cache hit notes them down."""
        keys = ("best_hyperparameters", "tuner_results")
        self._execution(list(zip(keys, outputs, strict=True)), trials=99, in_last_run=False)

    def _execution(
        self, outputs: list[tuple[str, pb.Artifact]], *, trials: int, in_last_run: bool
    ) -> list[pb.Artifact]:
        type_id = self.store.put_execution_type(pb.ExecutionType(name="Tuner"))
        execution = pb.Execution(type_id=type_id)
        execution.custom_properties["custom_config"].string_value = json.dumps({"trials": trials})
        pairs = []
        for key, artifact in outputs:
            event = pb.Event(type=pb.Event.OUTPUT)
            event.path.steps.add(key=key)
            event.path.steps.add(index=0)
            pairs.append((artifact, event))
        contexts = [self._node()]
        if in_last_run:
            runs = self.store.get_contexts_by_type("pipeline_run")
            contexts.append(max(runs, key=lambda run: run.id))
        _, ids, _ = self.store.put_execution(execution, pairs, contexts)
        return self.store.get_artifacts_by_id(ids)

    def _node(self) -> pb.Context:
        name = "cxr-tfx.Tuner.vgg16"
        known = self.store.get_context_by_type_and_name("node", name)
        if known is None:
            known = pb.Context(type_id=self.store.get_context_type("node").id, name=name)
            (known.id,) = self.store.put_contexts([known])
        return known


@pytest.fixture
def searched(golden: GoldenRun, tmp_path: Path) -> Searched:
    """No search yet."""
    return Searched(golden, tmp_path / "output")


def test_the_last_search_that_is_still_there_is_used_again(searched: Searched) -> None:
    assert latest_search(searched.store, "vgg16") is None
    first, _ = searched.search(trials=1)
    second, results = searched.search()
    gone, _ = searched.search()
    gone.state = pb.Artifact.State.DELETED
    searched.store.put_artifacts([gone])
    found = latest_search(searched.store, "vgg16")
    assert found is not None
    assert (found.id, found.uri) == (second.id, second.uri) != (first.id, first.uri)
    assert latest_search(searched.store, "xception") is None
    check_reusable(searched.config(), searched.layout)
    expected = {"values": VALUES, "validation_loss": 0.25, "trials": 3, "failed": 1}
    assert search_summary(searched.store, found) == expected
    searched.cached([second, results])
    assert search_summary(searched.store, found) == expected


@pytest.mark.slow
def test_a_runs_summary_tells_of_its_search_or_of_the_one_it_used(searched: Searched) -> None:
    from pipeline.local.summary import read_run, summarize

    def tuned(mode: str) -> Any:
        config = searched.config(tuning={"mode": mode})
        return summarize(config, read_run(searched.layout), {})["models"]["vgg16"]["tuned"]

    assert tuned("reuse") is None
    searched.search()
    assert tuned("reuse")["values"] == VALUES
    assert tuned("off") is None
    own = VALUES | {"batch_size": 16}
    searched.search(own, in_last_run=True)
    # Another one since.
    searched.search()
    assert tuned("search")["values"] == own


def test_what_does_not_fit_is_refused_by_name(searched: Searched) -> None:
    searched.search(VALUES | {"boundary": "block5"})
    with pytest.raises(InputError, match=r"tuning\.boundaries: head, .* at 'block5'; name it"):
        check_reusable(searched.config(), searched.layout)
    boundaries = {"mode": "reuse", "boundaries": ["head", "block5"]}
    check_reusable(searched.config(tuning=boundaries), searched.layout)
    searched.search(VALUES | {"learning_rate": -1.0})
    with pytest.raises(InputError, match=r"(?s)vgg16: .*learning_rate"):
        check_reusable(searched.config(), searched.layout)


def test_backbones_without_a_search_are_named(searched: Searched, tmp_path: Path) -> None:
    outputs = searched.search()
    both = searched.config(backbones=["vgg16", "xception"])
    with pytest.raises(InputError, match="xception has no result of a search") as refused:
        check_reusable(both, searched.layout)
    assert "vgg16 has no" not in str(refused.value)
    # Its files are gone.
    shutil.rmtree(outputs[0].uri)
    with pytest.raises(InputError, match=r"vgg16 has no result .*; run with --tune first"):
        check_reusable(searched.config(), searched.layout)
    with pytest.raises(InputError, match="vgg16 has no result"):
        check_reusable(searched.config(), OutputLayout(tmp_path / "empty"))


def test_nothing_to_reuse_is_said_before_anything_runs(run: Run, tmp_path: Path) -> None:
    outcome = run(tmp_path / "output", "--tuned")
    assert outcome.exit_code == cli.EXIT_INPUT
    assert "tiny has no result of a search" in outcome.printed
    assert "--tune first" in outcome.printed
    assert outcome.how == {}
    assert not (outcome.output / "metadata.sqlite").exists()


def test_a_result_that_does_not_fit_is_said_before_anything_runs(
    searched: Searched, run: Run
) -> None:
    searched.search(VALUES | {"boundary": "block5"})
    # As a run would: the store is a copy.
    relocate(searched.layout)
    before = searched.layout.metadata.read_bytes()
    outcome = run(searched.layout.root, "--tuned", config={"backbones": ["vgg16"]})
    assert outcome.exit_code == cli.EXIT_INPUT
    assert "tuning.boundaries" in outcome.printed
    assert "'block5'" in outcome.printed
    assert outcome.how == {}
    assert searched.layout.metadata.read_bytes() == before
