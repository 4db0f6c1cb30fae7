"""What one recipe came to with one seed, and the file that keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.hyperparameters import TrainingParams
from models.predictions import Predictions
from pipeline.study.files import read_json, write_json
from schema import contract


@dataclass(frozen=True)
class Recipe:
    """What is trained.

    Attributes:
        name: of the recipe, and of the folder of its results.
        backbone: name in the table.
        params: resolved.
    """

    name: str
    backbone: str
    params: TrainingParams


@dataclass(frozen=True)
class SeedResult:
    """What one recipe came to with one seed.

    Attributes:
        recipe: its name.
        backbone: name in the table.
        seed: of split and training.
        weights: "imagenet", "random", or a file's name.
        validation: see `models.calibration.validation_report`.
        eval: calibrated answers by which it is judged: out of fold, or to the validation split.
        test: to the test images.
        seconds: that training and answering took, when they were done.
    """

    recipe: str
    backbone: str
    seed: int
    weights: str
    validation: dict[str, Any]
    eval: Predictions
    test: Predictions
    seconds: float

    @property
    def correct(self) -> int:
        """Test images that are read correctly."""
        predicted = self.test.probabilities[contract.FLAT].argmax(axis=-1)
        return int((predicted == self.test.labels).sum())


@dataclass(frozen=True)
class ResultFile:
    """A result in JSON.

    Attributes:
        path: of the file.
        key: of what the result depends on.
    """

    path: Path
    key: str

    def write(self, result: SeedResult, paths: Sequence[str]) -> None:
        """Keeps a result.

        Args:
            result: what to keep.
            paths: of the test images, for people that look into the file.
        """
        values = {
            "key": self.key,
            "recipe": result.recipe,
            "backbone": result.backbone,
            "seed": result.seed,
            "weights": result.weights,
            "seconds": result.seconds,
            "validation": result.validation,
            "eval": result.eval.to_json(),
            "test": {**result.test.to_json(), "paths": list(paths)},
        }
        write_json(self.path, values)

    def read(self) -> SeedResult | None:
        """The result; None where there is none, or one that depends on something else."""
        values: Any = read_json(self.path)
        if not isinstance(values, dict) or values.get("key") != self.key:
            return None
        return SeedResult(
            recipe=values["recipe"],
            backbone=values["backbone"],
            seed=values["seed"],
            weights=values["weights"],
            validation=values["validation"],
            eval=Predictions.from_json(values["eval"]),
            test=Predictions.from_json(values["test"]),
            seconds=values["seconds"],
        )
