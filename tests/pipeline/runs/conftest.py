"""Output folders with records of runs, as they are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.layout import OutputLayout
from pipeline.runs.record import Node, Record, write_record
from schema.contract import ONLY_BASELINE_RIGHT, ONLY_CANDIDATE_RIGHT

CLASSES = ["COVID-19", "Normal"]
FIELDS: Mapping[str, Any] = {
    "seed": 3,
    "backbones": ["tiny"],
    "gate.min_accuracy": 0.9,
    "training.learning_rate": 0.001,
    "training_of.tiny.learning_rate": 0.001,
}
FOLDERS = {
    "RadiographExampleGen": "manifest",
    "Trainer.tiny": "model",
    "Evaluator.tiny": "blessing",
}


class Runs:
    """Records of runs of one model, `tiny`, in an output folder.

    Attributes:
        layout: of the folder.
    """

    def __init__(self, root: Path) -> None:
        self.layout = OutputLayout(root)
        self._count = 0
        self._version = 16

    def begin(self, run_id: str, **fields: Any) -> Record:
        """A run without a node yet, which isn't written yet."""
        return Record(
            id=run_id,
            started=datetime.strptime(f"{run_id}+0000", "%Y-%m-%dT%H-%M-%S.%f%z"),
            output=str(self.layout.root),
            configuration={**FIELDS, **fields},
            found={"engine": "openvino-bf16 1"},
            versions={"tfx": "1.16.0"},
        )

    def write(self, record: Record) -> Record:
        """Writes it, and returns it."""
        (self.layout.runs / record.id).mkdir(parents=True, exist_ok=True)
        write_record(record, self.layout)
        return record

    def file(self, run_id: str) -> Path:
        """Where a record lies."""
        return self.layout.runs / run_id / "run.json"

    def whole(
        self,
        run_id: str,
        *,
        correct: int = 9,
        blessed: bool = True,
        digest: str = "d1",
        train: int = 10,
        code: str = "c1",
        baseline: Record | None = None,
        only: tuple[int, int] = (0, 0),
        how: str = "executed",
        **fields: Any,
    ) -> Record:
        """A run that came to its end.

        Args:
            run_id: its id.
            correct: of 10 test images.
            blessed: the verdict, and whether it was pushed.
            digest: of the split, 32 times.
            train: images of each class.
            code: digest of Trainer's.
            baseline: the run whose model this one was compared with.
            only: images that only this run's model, and only the baseline, gets right.
            how: its nodes were done.
            fields: of the configuration, `_` for each dot.
        """
        named = {name: name.replace("_", ".", 1) for name in fields}
        record = self.begin(run_id, **{named[name]: value for name, value in fields.items()})
        for name, key in FOLDERS.items():
            self._count += 1
            folder = f"{name}/{key}/{self._count}"
            (self.layout.artifacts / folder).mkdir(parents=True)
            node = {"how": how, "seconds": 1.5, "outputs": {key: folder}}
            record.nodes[name] = Node.model_validate(node)
        record.nodes["Trainer.tiny"].code = code
        record.nodes["Baseline.tiny"] = Node(how=how)
        gate: dict[str, float | int] = {"accuracy": correct / 10}
        if baseline:
            gate |= {ONLY_CANDIDATE_RIGHT: only[0], ONLY_BASELINE_RIGHT: only[1]}
        self._version += 1
        pushed_to = str(self.layout.serving / "tiny" / str(self._version)) if blessed else None
        compared = baseline.result.models["tiny"].pushed_to if baseline else None
        model = {"correct": correct, "total": 10, "blessed": blessed, "gate": gate}
        counts = {
            split: dict.fromkeys(CLASSES, n)
            for split, n in (("train", train), ("eval", 4), ("test", 5))
        }
        summary = {
            "data": {"digest": digest * 32, "counts": counts, "bad": 0},
            "models": {"tiny": {**model, "baseline": compared, "pushed_to": pushed_to}},
            "champion": "tiny" if blessed else None,
        }
        content = record.model_dump(mode="json") | {
            "result": summary,
            "seconds": 12.5,
            "state": "complete" if blessed else "none blessed",
            "exit": 0 if blessed else 3,
        }
        return self.write(Record.model_validate_json(json.dumps(content)))


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """An output folder without a run."""
    return Runs(tmp_path / "output")
