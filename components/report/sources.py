"""The sources of a report: folders that other nodes wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.backbones import BACKBONES
from schema import contract


def in_order(names: Iterable[str]) -> list[str]:
    """Order models as the page shows them: backbones as in the table, then what is made of them."""
    combinations = (
        *(contract.ENSEMBLE, contract.CASCADE, contract.FUSION),
        *(contract.TABLE_MODEL, contract.JOINT_MODEL),
    )
    order = {name: place for place, name in enumerate((*BACKBONES, "", *combinations))}
    # A backbone whose row is gone since comes last of its kind.
    return sorted(names, key=lambda name: (order.get(name, order[""]), name))


@dataclass(frozen=True)
class ModelSources:
    """The artifacts of one backbone, or of a combination of them.

    Attributes:
        name: of the backbone or combination.
        model: folder of the exported SavedModel itself.
        run: Trainer's or ModelCombiner's `model_run`.
        evaluation: Evaluator's `evaluation`.
        blessed: whether the gate let it pass.
        card: ModelCard's `model_card`; None where there is none.
    """

    name: str
    model: str
    run: str
    evaluation: str
    blessed: bool
    card: str | None = None


@dataclass(frozen=True)
class ReportSources:
    """All of it.

    Attributes:
        models: in the order in which they are shown.
        champion: name of the chosen one; None where none was blessed.
        examples: RadiographExampleGen's `examples`.
        manifest: its `manifest`.
        statistics: StatisticsGen's `statistics`.
        schema: the curated `schema`.
        previous_statistics: those behind the last version of other images; nothing is in the folder
            where there is none, and old runs have no folder.
        audit: ShortcutAudit's `audit`; None where there is none.
        span_drift: SpanDrift's `drift`; None where the images came in no spans.
        settings: fields of the configuration (`filing.SETTING_FIELDS`) -> values.
    """

    models: tuple[ModelSources, ...]
    champion: str | None
    examples: str
    manifest: str
    statistics: str
    schema: str
    previous_statistics: str | None = None
    audit: str | None = None
    span_drift: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def model(self, name: str) -> ModelSources:
        """Return one of the models.

        Raises:
            KeyError: there is none of that name.
        """
        return {m.name: m for m in self.models}[name]
