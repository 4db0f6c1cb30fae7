"""The names that the IR and the steps agree on. Imports nothing."""

from __future__ import annotations

from typing import Final

# The pipeline's parameters, which a run may set anew.
DATA: Final = "data"
METADATA: Final = "metadata"
DATA_VERSION: Final = "data_version"
SEED: Final = "seed"
MIN_ACCURACY: Final = "min_accuracy"
# Where `data` has `{SPAN}`: how many of the latest spans are taken, and the last one of them.
WINDOW: Final = "window"
SPAN_NUMBER: Final = "span"
# What these two are where nothing is asked for; KFP's parameters know no null.
ALL_SPANS: Final = 0
LATEST_SPAN: Final = -1

# RadiographExampleGen's and PretrainedBackbone's properties that name a file or folder.
DATA_DIR: Final = "data_dir"
METADATA_CSV: Final = "metadata_csv"
WEIGHTS_PATH: Final = "weights_path"
# What `pipeline.kubeflow.spans` fills in as RadiographExampleGen starts.
SPANS: Final = "spans"
PLACES: Final = (DATA_DIR, METADATA_CSV, WEIGHTS_PATH)

# A parameter that a step gets only to edit another one with it (pipeline.kubeflow.edits).
EDIT: Final = "edit_"

# The argument by which a step is told of its outputs; TFX has one for inputs alone.
OUTPUTS_ARGUMENT: Final = "--json_serialized_outputs_spec_args"

# What a step's container runs, instead of TFX's own entry point.
STEP_COMMAND: Final = ("python", "-m", "pipeline.kubeflow.step")
