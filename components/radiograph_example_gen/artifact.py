"""The artifact type of the split manifest."""

from __future__ import annotations

from tfx.types.artifact import Artifact


class SplitManifest(Artifact):
    """The split of each image, what was left out, and why.

    The folder holds `manifest.csv`, `left_out.csv` and `summary.json`; see
    `components.radiograph_example_gen.manifest` for their columns and readers.
    Custom properties: `counts` (JSON), `duplicates_dropped`, `left_out`,
    `patients_in_two_splits` (int; only where a patient is known) and `digest` (hex).
    """

    # As `components` has it: TFX finds the class by this name in a step on Kubeflow.
    TYPE_NAME = "components.SplitManifest"
