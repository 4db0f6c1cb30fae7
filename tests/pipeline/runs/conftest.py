"""Metadata stores made by ml_metadata itself, with runs as TFX notes them down."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.config.layout import OutputLayout
from pipeline.runs.evaluation_file import metrics_message

CLASSES = ["COVID-19", "Normal"]
Outputs = Mapping[str, Mapping[str, Any]]


def write_evaluation(folder: Path, metrics: Mapping[str, float], **baseline: float) -> None:
    """Writes a metrics file such as TFMA's: a slice first, then the whole test split.

    Args:
        folder: `evaluation`'s.
        metrics: of the candidate, on all images.
        baseline: of the baseline; where there are any, TFMA names both models.
    """
    of_a_slice = _metrics({"accuracy": 0.125, "example_count": 8})
    of_a_slice.slice_key.single_slice_keys.add(column="patient/sex").bytes_value = b"F"
    whole = _metrics(metrics, "candidate" if baseline else "")
    whole.MergeFrom(_metrics(baseline, "baseline"))
    if baseline:
        whole.MergeFrom(_metrics({"accuracy": -0.5}, "candidate", is_diff=True))
    one_class = whole.metric_keys_and_values.add()
    one_class.key.name = "accuracy"
    one_class.key.sub_key.class_id.value = 1
    folder.mkdir(parents=True)
    with (folder / "metrics-00000-of-00001.tfrecord").open("wb") as file:
        for message in (of_a_slice, whole):
            record = message.SerializeToString()
            file.write(struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0))


def _metrics(values: Mapping[str, float], model: str = "", *, is_diff: bool = False) -> Any:
    message: Any = metrics_message()()
    for name, value in values.items():
        item = message.metric_keys_and_values.add()
        item.key.name, item.key.model_name, item.key.is_diff = name, model, is_diff
        item.value.double_value.value = value
    return message


class Store:
    """An output folder with a store to write into.

    Attributes:
        layout: of the folder.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.layout = OutputLayout(root)
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(self.layout.metadata)
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self._store = mlmd.MetadataStore(config)
        self._artifacts: dict[int, pb.Artifact] = {}
        self._contexts: dict[int, pb.Context] = {}
        self._by_name: dict[tuple[str, str], pb.Context] = {}
        self._types: dict[tuple[str, str], int] = {}
        self._count = 0

    def begin(self, run_id: str) -> int:
        """A run without a node yet; returns its context's id."""
        return int(self._context("pipeline_run", run_id).id)

    def node(
        self,
        run: int,
        name: str,
        state: str = "COMPLETE",
        *,
        kind: str | None = None,
        properties: Mapping[str, Any] | None = None,
        inputs: Mapping[str, int] | None = None,
        outputs: Outputs | None = None,
        same: Mapping[str, int] | None = None,
    ) -> dict[str, int]:
        """What a node did in a run.

        Args:
            run: context's id.
            name: node id.
            state: ml_metadata's.
            kind: the execution's type; of the node's name where None.
            properties: execution properties.
            inputs: key -> artifact's id.
            outputs: key -> properties of a new artifact; its folder is made.
            same: key -> id of an artifact that is taken from the cache.

        Returns:
            Output key -> artifact's id.
        """
        type_id = self._type(pb.ExecutionType(name=kind or f"components.{name.partition('.')[0]}"))
        execution = pb.Execution(type_id=type_id, last_known_state=pb.Execution.State.Value(state))
        _set(execution.custom_properties, properties or {})
        known = [(pb.Event.INPUT, key, id_) for key, id_ in (inputs or {}).items()]
        known += [(pb.Event.OUTPUT, key, id_) for key, id_ in (same or {}).items()]
        artifacts = [(self._artifacts[id_], _event(event, key)) for event, key, id_ in known]
        for key, values in (outputs or {}).items():
            self._count += 1
            folder = self.layout.artifacts / name / key / str(self._count)
            folder.mkdir(parents=True)
            type_id = self._type(pb.ArtifactType(name=f"Type of {key}"))
            artifact = pb.Artifact(type_id=type_id, uri=str(folder))
            _set(artifact.custom_properties, values)
            artifacts.append((artifact, _event(pb.Event.OUTPUT, key)))
        # All at once, as TFX does.
        _, ids, _ = self._store.put_execution(
            execution, artifacts, [self._contexts[run], self._context("node", f"cxr-tfx.{name}")]
        )
        written = {}
        for id_, (artifact, event) in zip(ids, artifacts, strict=True):
            artifact.id = id_
            self._artifacts[id_] = artifact
            if event.type == pb.Event.OUTPUT:
                written[event.path.steps[0].key] = id_
        return written

    def folder(self, artifact: int) -> Path:
        """Where an artifact lies."""
        return Path(self._artifacts[artifact].uri)

    def _context(self, kind: str, name: str) -> pb.Context:
        known = self._by_name.get((kind, name))
        if known is not None:
            return known
        context = pb.Context(type_id=self._type(pb.ContextType(name=kind)), name=name)
        (context.id,) = self._store.put_contexts([context])
        self._contexts[context.id] = self._by_name[kind, name] = context
        return context

    def _type(self, wanted: pb.ExecutionType | pb.ArtifactType | pb.ContextType) -> int:
        kind = type(wanted).__name__
        if (kind, wanted.name) not in self._types:
            put = {
                "ExecutionType": self._store.put_execution_type,
                "ArtifactType": self._store.put_artifact_type,
                "ContextType": self._store.put_context_type,
            }[kind]
            self._types[kind, wanted.name] = put(wanted)
        return self._types[kind, wanted.name]


def _event(kind: int, key: str) -> pb.Event:
    event = pb.Event(type=kind)
    event.path.steps.add(key=key)
    event.path.steps.add(index=0)
    return event


def _set(fields: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        kind = {int: "int_value", float: "double_value", str: "string_value"}[type(value)]
        setattr(fields[name], kind, value)


class Runs:
    """Whole runs of one model, `tiny`, in a store.

    Attributes:
        store: to add to.
    """

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    def example_gen(self, run: int, *, digest: str = "d1", seed: int = 3, train: int = 10) -> None:
        """ExampleGen with its manifest."""
        counts = {"splits": {name: {"train": train, "eval": 4, "test": 5} for name in CLASSES}}
        self.store.node(
            run,
            "RadiographExampleGen",
            properties={"seed": seed, "data_dir": "/images", "code_digest": "c0"},
            outputs={"manifest": {"digest": digest * 32, "counts": json.dumps(counts)}},
        )

    def trainer(self, run: int, *, learning_rate: float = 0.001, code: str = "c1") -> int:
        """Trainer; returns the model's id."""
        config = {"training": {"learning_rate": learning_rate, "views": ["identity"]}, "seed": 3}
        written = self.store.node(
            run,
            "Trainer.tiny",
            properties={
                "custom_config": json.dumps({**config, "code_digest": code}),
                "eval_args": '{\n  "splits": [\n    "eval"\n  ]\n}',
            },
            outputs={"model": {}, "model_run": {}},
        )
        return written["model"]

    def evaluator(
        self,
        run: int,
        model: int,
        *,
        correct: int,
        total: int = 10,
        blessed: bool = True,
        baseline: int | None = None,
        only: tuple[int, int] = (0, 0),
        min_accuracy: float = 0.8999999165534973,
    ) -> int:
        """Evaluator with its metrics file; returns the evaluation's id.

        Args:
            run: context's id.
            model: that is judged.
            correct: images that it gets right.
            total: images.
            blessed: the verdict.
            baseline: a model to compare with.
            only: images that only the candidate, and only the baseline, gets right.
            min_accuracy: of the gate.
        """
        bound = {"threshold": {"value_threshold": {"lower_bound": min_accuracy}}}
        accuracy = {
            "class_name": "SparseCategoricalAccuracy",
            "config": '"name": "accuracy"',
            "per_slice_thresholds": [{"slicing_specs": [{}], **bound}],
        }
        own = {"class_name": "ConfidenceCurve", "config": '"code_digest": "c2"'}
        config = {"metrics_specs": [{"metrics": [accuracy, own]}]}
        self.store.node(run, "Baseline.tiny", kind="tfx.dsl.components.common.resolver.Resolver")
        written = self.store.node(
            run,
            "Evaluator.tiny",
            properties={"eval_config": json.dumps(config)},
            inputs={"model": model} | ({} if baseline is None else {"baseline_model": baseline}),
            outputs={"evaluation": {}, "blessing": {"blessed": int(blessed)}},
        )
        metrics = {"accuracy": correct / total, "example_count": float(total)}
        others: dict[str, float] = {}
        if baseline is not None:
            names = ("mcnemar_only_candidate_right", "mcnemar_only_baseline_right")
            metrics |= dict(zip(names, map(float, only), strict=True))
            others = {"accuracy": 0.25, "example_count": float(total)}
        folder = self.store.folder(written["evaluation"])
        folder.rmdir()
        write_evaluation(folder, metrics, **others)
        return written["evaluation"]

    def rest(self, run: int, *, blessed: bool = True) -> None:
        """Pushers and Champion."""
        pushed: dict[str, Any] = {"pushed": int(blessed)}
        if blessed:
            pushed["pushed_destination"] = "/serving/tiny/17"
        self.store.node(run, "Pusher.tiny", outputs={"pushed_model": pushed})
        champion = {"backbone": "tiny"} if blessed else {}
        outputs: Outputs = {"model": champion, "blessing": {"blessed": int(blessed)}}
        self.store.node(run, "Champion", outputs=outputs)
        self.store.node(run, "Pusher.champion", outputs={"pushed_model": pushed})

    def whole(self, run_id: str, *, correct: int = 9, blessed: bool = True, **data: Any) -> int:
        """A run that came to its end; returns its model's id."""
        run = self.store.begin(run_id)
        self.example_gen(run, **data)
        model = self.trainer(run)
        self.evaluator(run, model, correct=correct, blessed=blessed)
        self.rest(run, blessed=blessed)
        return model


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """An empty store in an output folder of its own."""
    return Runs(tmp_path / "output")


@pytest.fixture
def evaluation_file() -> Callable[..., None]:
    """`write_evaluation`."""
    return write_evaluation
