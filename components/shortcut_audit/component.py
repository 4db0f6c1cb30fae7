"""ShortcutAudit: examples and their split -> what leaks, and what predicts without lungs."""

from __future__ import annotations

from collections.abc import Sequence

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.radiograph_example_gen.artifact import SplitManifest
from components.shortcut_audit.artifact import AuditReport
from components.shortcut_audit.executor import AUDIT, EXAMPLES, MANIFEST, Executor
from schema.table import TABLE_PROPERTY, TableColumn, to_json


class ShortcutAuditSpec(component_spec.ComponentSpec):
    """Artifacts and parameters of ShortcutAudit."""

    PARAMETERS = {
        "seed": component_spec.ExecutionParameter(type=int),
        "min_correlation": component_spec.ExecutionParameter(type=float),
        "max_duplicates_across_splits": component_spec.ExecutionParameter(type=int, optional=True),
        "max_patients_across_splits": component_spec.ExecutionParameter(type=int, optional=True),
        "max_shortcut_accuracy": component_spec.ExecutionParameter(type=float, optional=True),
        "max_table_auc": component_spec.ExecutionParameter(type=float, optional=True),
        TABLE_PROPERTY: component_spec.ExecutionParameter(type=str, optional=True),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        MANIFEST: component_spec.ChannelParameter(type=SplitManifest),
    }
    OUTPUTS = {AUDIT: component_spec.ChannelParameter(type=AuditReport)}


class ShortcutAudit(base_component.BaseComponent):
    """The node that looks for what makes the test accuracy mean less than it seems to.

    Near-duplicates and patients in two splits; and how well the class is predicted from what
    is not lung. It reports. Where limits are given and exceeded, its verdict is no, and the
    Pushers that ask it push nothing.
    """

    SPEC_CLASS = ShortcutAuditSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: channel.BaseChannel,
        manifest: channel.BaseChannel,
        seed: int,
        min_correlation: float,
        code_digest: str,
        max_duplicates_across_splits: int | None = None,
        max_patients_across_splits: int | None = None,
        max_shortcut_accuracy: float | None = None,
        max_table_auc: float | None = None,
        table: Sequence[TableColumn] = (),
    ) -> None:
        """Construct the node.

        Args:
            examples: RadiographExampleGen's, with all three splits.
            manifest: its manifest.
            seed: which images the shortcuts are fitted on, where there are very many.
            min_correlation: of the textures of two near-duplicates, 0..1.
            code_digest: of the code that the report depends on.
            max_duplicates_across_splits: see `limits.Limits`, as the two below.
            max_patients_across_splits: as above.
            max_shortcut_accuracy: as above.
            max_table_auc: as above.
            table: columns that models take; asked for what they give away.
        """
        super().__init__(
            spec=ShortcutAuditSpec(
                examples=examples,
                manifest=manifest,
                seed=seed,
                min_correlation=min_correlation,
                max_duplicates_across_splits=max_duplicates_across_splits,
                max_patients_across_splits=max_patients_across_splits,
                max_shortcut_accuracy=max_shortcut_accuracy,
                max_table_auc=max_table_auc,
                table=to_json(table),
                code_digest=code_digest,
                audit=channel.Channel(type=AuditReport),
            )
        )
