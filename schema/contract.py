"""The names on which every stage of the pipeline agrees.

Nothing here computes anything. Components, models, the server and the reports
import these constants instead of spelling the strings, so a rename is one edit.
"""

from __future__ import annotations

from typing import Final

SPLIT_TRAIN: Final = "train"
SPLIT_EVAL: Final = "eval"
SPLIT_TEST: Final = "test"
SPLITS: Final = (SPLIT_TRAIN, SPLIT_EVAL, SPLIT_TEST)

# What RadiographExampleGen writes, one tf.train.Example an image.
IMAGE: Final = "image/encoded"  # bytes, a PNG: the file as it was, or what was made of it
LABEL: Final = "image/class/label"  # int64, index into the configured classes
LABEL_TEXT: Final = "image/class/text"  # bytes, the class name
PATH: Final = "image/path"  # bytes, relative to the data folder, "/" separated
SHA256: Final = "image/sha256"  # bytes, lower-case hex digest: what an image is known by
WIDTH: Final = "image/width"  # int64, pixels
HEIGHT: Final = "image/height"  # int64, pixels
BYTES: Final = "image/bytes"  # int64, size of the file
MEAN: Final = "image/mean"  # float, grey level 0..255
STD: Final = "image/std"  # float, grey levels
ENTROPY: Final = "image/entropy"  # float, bits a pixel of the grey histogram, 0..8
PATIENT: Final = "patient/id"  # bytes, UNKNOWN where there is none
SEX: Final = "patient/sex"  # bytes
AGE: Final = "patient/age"  # float, years; absent where unknown
AGE_GROUP: Final = "patient/age_group"  # bytes
# bytes, the same for all images that must stay together, those of a patient: the smallest digest
# of them, which says nothing of the patient. An image that stands alone has its own.
GROUP: Final = "patient/group"
VIEW: Final = "image/view"  # bytes
SOURCE: Final = "image/source"  # bytes

UNKNOWN: Final = "unknown"  # an empty cell of metadata.csv

# The key of metadata.csv (relative path), and what, where present, must agree with the class
# folder.
FILE_COLUMN: Final = "file"
LABEL_COLUMN: Final = "label"
# metadata.csv column -> feature.
METADATA_TEXT_COLUMNS: Final = {
    "patient_id": PATIENT,
    "sex": SEX,
    "age_group": AGE_GROUP,
    "view": VIEW,
    "source": SOURCE,
}
METADATA_NUMBER_COLUMNS: Final = {"age": AGE}
OWN_COLUMNS: Final = (
    FILE_COLUMN, LABEL_COLUMN, *METADATA_TEXT_COLUMNS, *METADATA_NUMBER_COLUMNS
)  # fmt: skip
# + a further column's name in lower case: bytes, UNKNOWN where empty. Only the columns that a run
# slices by are features, and neither statistics nor schema nor any model knows them.
COLUMN_PREFIX: Final = "metadata/"
# + a column that models take (`schema.table`), by our name: bytes, in which part of it the image
# is, for TFMA (components/radiograph_example_gen/table_slices.py).
TABLE_SLICE_PREFIX: Final = "table_slice/"
# Further columns that a DICOM's header fills in where no table does.
HEADER_COLUMNS: Final = (
    *("modality", "manufacturer", "institution", "pixel_spacing", "presentation_intent"),
    "days_since_first",
)
# The terms under which an image may be used, by either name, the first that is filled in. They
# are counted in the manifest. A run may slice by them as by any further column.
LICENCE_COLUMNS: Final = ("licence", "license")

# What Transform reads besides the models' inputs (`schema.inputs`), and hands on as it is.
TRANSFORM_HANDS_ON: Final = (LABEL, LABEL_TEXT, SHA256, GROUP)
# Features that are not fit for statistics: the pixels.
PIXEL_FEATURES: Final = (IMAGE,)
# What TFMA slices by, besides the whole test split and further columns.
SLICE_FEATURES: Final = (LABEL_TEXT, SOURCE, VIEW, SEX, AGE_GROUP)
# The configuration's names of these: as in metadata.csv, but for the class, which the folder says.
SLICE_NAMES: Final = {
    "class": LABEL_TEXT,
    "source": SOURCE,
    "view": VIEW,
    "sex": SEX,
    "age_group": AGE_GROUP,
}
# Its field of the gate on slices. What an item asks for is a metric named as the field, such as
# gate.slices.0.min_accuracy.
GATE_SLICES: Final = "gate.slices"

# What Inferrer adds to the test split's records, in place of the pixels; each float [n_classes].
ANSWER: Final = "answer/probabilities"
BASELINE_ANSWER: Final = "answer/baseline"  # only where there is a baseline
SERVED_ANSWER: Final = "answer/served"  # of a sample: what the exported SavedModel says

# What TFMA's result calls what the gate looks at; components/evaluator computes the rest.
ACCURACY: Final = "accuracy"
EXAMPLE_COUNT: Final = "example_count"
# Fewer patients than this, and a figure of them is called wide by name (models/by_patient.py).
FEW_PATIENTS: Final = 100
FEW_PATIENTS_LOWER: Final = "accuracy_lower_by_few_patients"
PATIENTS: Final = "_patients"  # behind the name of such a metric: how many there are
WILSON_LOWER: Final = "accuracy_wilson_lower"
WILSON_UPPER: Final = "accuracy_wilson_upper"
MCNEMAR_P: Final = "mcnemar_p"
ONLY_CANDIDATE_RIGHT: Final = "mcnemar_only_candidate_right"
ONLY_BASELINE_RIGHT: Final = "mcnemar_only_baseline_right"
SERVED_DIFFERENCE: Final = "served_difference"
CONFIDENCE_CURVE: Final = "confidence_curve"
ANSWERED_IMAGES: Final = "answers_sha256"  # text [images], and beside it, in the same order:
ANSWERS: Final = "answers"  # float64 [images, 1 + classes], label and probabilities

# What Transform adds.
TRANSFORMED_IMAGE: Final = "image/uint8_png"  # bytes, lossless PNG, IMAGE_SIZE², 1 channel
IMAGE_SIZE: Final = 256
# Width x height of the largest image that is decoded, unless told otherwise.
MAX_PIXELS: Final = 100_000_000

# What Featurizer writes.
# bytes, of `models/augmentation_names.py`
AUGMENTATION_NAME: Final = "augmentation/name"
FEATURE_PREFIX: Final = "features/"  # + tap name: raw little-endian tensor bytes
# A feature of the images as they are: what the input gate knows of the pixels, float32.
GATE_FACTS: Final = "input_gate"
# Beside the splits in Featurizer's artifact: the features of images that are no radiographs.
PLANTED: Final = "planted"
# Of validation.json: `models.input_gate.InputGate.facts`.
INPUT_GATE: Final = "input_gate"
# In Inferrer's artifact, and Evaluator's: how the input gate did on these and on the test split.
INPUT_GATE_FILE: Final = "input_gate.json"

# Files in the artifacts of PretrainedBackbone and Trainer.
BACKBONE_WEIGHTS_FILE: Final = "backbone.weights.h5"
# Beside it: at which size the network sees the image.
BACKBONE_FACTS_FILE: Final = "backbone.json"
HISTORY_FILE: Final = "history.json"  # metric name -> value per epoch, or iteration
# In the history of a head that a solver fitted, and only there: 0, the start, and so on.
HISTORY_ITERATION: Final = "iteration"
TRAINING_FILE: Final = "training.json"  # the TrainingParams that were used
CONTINUED_FILE: Final = "continued.json"  # from which model it started, where there was one
VALIDATION_FILE: Final = "validation.json"  # accuracy, loss, total, confusion, …
# A field of it: a sentence that says why the model is not pushed though the gate may let it pass;
# null or absent where nothing speaks against it.
NOT_TO_PUSH: Final = "not_to_push"
PREDICTIONS_FILE: Final = "validation_predictions.json"  # see models/predictions.py

# What a model's `classify` knows of an image, each probabilities of all classes: the
# answer; and, where a class is healthy, sick or healthy times which illness.
FLAT: Final = "flat"
HIERARCHICAL: Final = "hierarchical"
# And how far it is from the training's images: float32 [batch, 1], above 1 where that is too far
# (models/input_gate.py). Only of a model that has an input gate.
DISTANCE: Final = "distance"

# And what each part of an answer added to the log-odds of each class, nats, float32
# [batch, n_classes, parts]. Only of a model that takes columns of the table, and for evaluation.
PARTS: Final = "parts"
# In Inferrer's artifact, and Evaluator's: the same, summed up over the test split.
PARTS_FILE: Final = "parts.json"

# The SavedModel.
SAVED_MODEL_FILE: Final = "saved_model.pb"  # a version folder without it is no model
# Beside it; other servers pass it over. What `cxr serve` has to heed, where there is something.
# {"precision": "int8", "bf16" or "f32"}
SERVING_NOTE_FILE: Final = "assets.extra/cxr_serving.json"
# How the DICOM images that a model learned from became grey levels (models/rendering.py).
RENDERING_NOTE_FILE: Final = "assets.extra/cxr_rendering.json"
# Whether int8 was chosen at the push, with the figures (serving/networks/int8_choice.py). Where it
# was, the quantised networks lie there, too.
INT8_CHOICE_FILE: Final = "assets.extra/int8.json"
# The model card (components/model_card), for people and for programs; beside a pushed model it
# lies in this folder.
EXTRA_ASSETS: Final = "assets.extra"
# TensorFlow Serving's: requests that a version answers before any client's (serving/warm_up.py).
WARM_UP_FILE: Final = "assets.extra/tf_serving_warmup_requests"
# The signature of all other files of a version (serving/signing).
MODEL_SIGNATURE_FILE: Final = "assets.extra/model.sig"
# The software bill of materials, with the model card in it, in CycloneDX.
SBOM_FILE: Final = "assets.extra/sbom.cdx.json"
MODEL_CARD_FILE: Final = "model_card.md"
MODEL_CARD_DATA_FILE: Final = "model_card.json"
# Beside a model that takes columns of the table: their configuration (`schema.table.to_json`).
TABLE_FILE: Final = "assets.extra/table.json"
SIGNATURE_DEFAULT: Final = "serving_default"  # PNG or JPEG bytes, string [None]
SIGNATURE_EXAMPLES: Final = "serve_examples"  # serialized tf.Example, string [None]
SIGNATURE_EXPLAIN: Final = "explain"  # as serving_default, and a heat map beside each answer
SIGNATURE_TABLE: Final = "serve_with_table"  # as serving_default, and columns of the table
INPUT_IMAGES: Final = "image_bytes"
INPUT_EXAMPLES: Final = "examples"
OUTPUT_CLASSES: Final = "classes"  # string [None, n_classes]
OUTPUT_PROBABILITIES: Final = "probabilities"  # float32 [None, n_classes]
OUTPUT_PREDICTED: Final = "predicted_class"  # string [None]
# Of a model that takes columns of the table: what each part of it and the image added to the
# log-odds of the predicted class against the others (nats), and to what, in the same order.
OUTPUT_PART_NAMES: Final = "part_names"  # string [None, parts]
OUTPUT_PART_LOG_ODDS: Final = "part_log_odds"  # float32 [None, parts]
# Not a column's name: these have no blank.
PART_IMAGE: Final = "the image"
PART_REST: Final = "before anything is known"
OUTPUT_ABSTAIN: Final = "abstain"  # bool [None]: too unsure to answer; ask a person
# Of a model that has an input gate: whether the image is one as those of the training, bool [None],
OUTPUT_IN_DOMAIN: Final = "in_domain"
OUTPUT_DOMAIN_REASON: Final = "domain_reason"  # and why not, string [None], one of these:
DOMAIN_OK: Final = "ok"
DOMAIN_BLANK: Final = "blank"
DOMAIN_INVERTED: Final = "inverted"
DOMAIN_TURNED: Final = "turned"
DOMAIN_UNLIKE: Final = "unlike_training"
DOMAIN_REASONS: Final = (
    DOMAIN_OK, DOMAIN_BLANK, DOMAIN_INVERTED, DOMAIN_TURNED, DOMAIN_UNLIKE
)  # fmt: skip
# float32 [None, IMAGE_SIZE, IMAGE_SIZE], 0..1: what speaks for the predicted class, and where.
OUTPUT_HEAT_MAP: Final = "heat_map"

# Folder and model name of the best backbone in the serving folder.
CHAMPION: Final = "champion"
# Candidates that are put together from the backbones' models.
ENSEMBLE: Final = "ensemble"
CASCADE: Final = "cascade"
FUSION: Final = "fusion"
# Candidates that take the table: alone, and beside the image.
TABLE_MODEL: Final = "table"
JOINT_MODEL: Final = "joint"
SUMMARY_FILE: Final = "summary.json"
