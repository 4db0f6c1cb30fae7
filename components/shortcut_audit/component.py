"""ShortcutAudit: examples and their split -> what leaks, and what predicts without lungs."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.radiograph_example_gen.artifact import SplitManifest
from components.shortcut_audit.artifact import AuditReport
from components.shortcut_audit.executor import AUDIT, EXAMPLES, MANIFEST, Executor


class ShortcutAuditSpec(component_spec.ComponentSpec):
    """Artifacts and parameters of ShortcutAudit."""

    PARAMETERS = {
        "seed": component_spec.ExecutionParameter(type=int),
        "min_correlation": component_spec.ExecutionParameter(type=float),
        "max_duplicates_across_splits": component_spec.ExecutionParameter(type=int, optional=True),
        "max_patients_across_splits": component_spec.ExecutionParameter(type=int, optional=True),
        "max_shortcut_accuracy": component_spec.ExecutionParameter(type=float, optional=True),
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
                code_digest=code_digest,
                audit=channel.Channel(type=AuditReport),
            )
        )
