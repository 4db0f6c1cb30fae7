"""The configuration of the search for a better recipe. Imports neither TFX nor TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field, field_validator

from common.strict import Strict
from models.backbones import BOUNDARY_HEAD, Backbone, get_backbone
from models.hyperparameters import CROSS

# TFX Tuner's output key.
BEST_HYPERPARAMETERS: Final = "best_hyperparameters"


def tuner_id(backbone: str) -> str:
    """The id of the Tuner's node of one backbone."""
    return f"Tuner.{backbone}"


class TuningConfig(Strict):
    """Whether fields of `training` are replaced by what a search finds.

    Attributes:
        mode: `off`; `search` for the lowest loss on the images that models are judged by
            (`training.validation`), with a Tuner for each backbone; `reuse` what the latest
            search of that backbone in `output` found.
        trials: recipes tried for a backbone; the configuration's own is the first.
        boundaries: where a recipe may cut the backbone. Features are cached for all of
            them. Of a name that a backbone lacks, it takes no notice, as long as another
            has it.
    """

    mode: Literal["off", "search", "reuse"] = "off"
    trials: int = Field(30, ge=1, le=1000)
    boundaries: tuple[str, ...] = Field((BOUNDARY_HEAD,), min_length=1)

    @field_validator("boundaries")
    @classmethod
    def _check_boundaries(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("each at most once")
        return names

    def boundaries_of(self, backbone: Backbone) -> tuple[str, ...]:
        """Those of `boundaries` that the backbone has."""
        return tuple(name for name in self.boundaries if name in backbone.boundaries)

    def problems(self, backbones: Sequence[str], validation: str | None) -> list[str]:
        """Say what is wrong with it for a run, a sentence a problem.

        Args:
            backbones: of the run.
            validation: as the run's configuration has it (`TrainingParams.validation`).
        """
        rows = [get_backbone(name) for name in backbones]
        known = {boundary for row in rows for boundary in row.boundaries}
        found = [
            f"tuning.boundaries: no backbone of this run has {name!r}"
            for name in self.boundaries
            if name not in known
        ]
        found += [
            f"tuning.boundaries: {row.name} has none of them; it has {', '.join(row.boundaries)}"
            for row in rows
            if not self.boundaries_of(row)
        ]
        if (
            self.mode == "search"
            and validation == CROSS
            and set(self.boundaries) != {BOUNDARY_HEAD}
        ):
            found.append(
                "tuning.boundaries: with training.validation cross, 'head' alone can be searched; "
                "set training.validation to holdout, or leave it out"
            )
        return found
