"""The part of a request that goes into the log: no pixels unless asked for, and nobody's name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from tensorflow.core.example import example_pb2

from models.conversion import converter_of, dicom
from schema import contract
from serving.prediction_log.image_facts import ImageFacts, Measure, is_image
from serving.prediction_log.settings import LogSettings
from serving.protocol.tensors import strings

_IDENTITIES: Final = frozenset(
    {contract.PATH, contract.PATIENT, contract.GROUP, "patient_id", contract.FILE_COLUMN}
)
# Closed lists of words; all other texts are free, and may name a person.
_WORDS: Final = frozenset(
    {
        *(contract.SEX, contract.AGE_GROUP, contract.VIEW, contract.SOURCE, contract.LABEL_TEXT),
        *(name for name in contract.METADATA_TEXT_COLUMNS if name != "patient_id"),
    }
)
# Of an example, what is no more than a number of an image or of a patient's age.
_NUMBERS: Final = frozenset({contract.LABEL, *contract.METADATA_NUMBER_COLUMNS.values()})
_TABLE: Final = "table/"
# Values a row, from which on an array is an image, or a map as large as one.
MOST_VALUES: Final = 1024


def kept_string(
    name: str, sent: bytes, ready: bytes, settings: LogSettings, sha256: str | None = None
) -> bytes:
    """Return what stands in the log for one string of a request.

    Args:
        name: of the input, or of the feature.
        sent: it.
        ready: the same as the model sees it.
        settings: of the log.
        sha256: of it, in hex, where that is known.

    Returns:
        An image's SHA-256 in hex, or, where pixels are kept, the image, but of a DICOM, whose
        header names the patient, the PNG that was made of it. A word of a closed list, or of a
        column that is kept, as it is. Of any other text, nothing.
    """
    if name in _IDENTITIES:
        return b""
    if name in _WORDS or name in settings.kept_texts:
        return sent
    if not is_image(sent):
        return b""
    if settings.pixels:
        return ready if converter_of(sent) is dicom else sent
    return (sha256 or hashlib.sha256(sent).hexdigest()).encode()


def kept_array(
    name: str,
    sent: np.ndarray,
    ready: np.ndarray,
    settings: LogSettings,
    facts: Sequence[ImageFacts] = (),
) -> np.ndarray:
    """Return what stands in the log for an input of a request, of the same number of rows.

    Args:
        name: of the input.
        sent: it; strings are objects.
        ready: the same as the model sees it, of the same shape.
        settings: of the log.
        facts: of its images, where all of it are some, so that none is hashed twice.
    """
    if sent.dtype == np.object_:
        digests: list[str | None] = [fact.sha256 for fact in facts]
        digests = digests or [None] * sent.size
        each = zip(sent.ravel(), ready.ravel(), digests, strict=True)
        kept = [kept_string(name, one, other, settings, digest) for one, other, digest in each]
        return strings(kept).reshape(sent.shape)
    if name in _IDENTITIES:
        return np.zeros_like(sent)
    rows = len(sent) if sent.ndim else 1
    if settings.pixels or sent.size <= MOST_VALUES * rows:
        return sent
    return strings([hashlib.sha256(row.tobytes()).hexdigest().encode() for row in sent])


def kept_example(
    serialized: bytes, settings: LogSettings, measure: Measure, *, any_number: bool
) -> example_pb2.Example:
    """Return what stands in the log for a tf.Example, with the facts of its image.

    Args:
        serialized: it, as the model sees it.
        settings: of the log.
        measure: for images.
        any_number: keep all numbers, and not only those that this project's models know.
    """
    example = example_pb2.Example.FromString(serialized)
    features = example.features.feature
    facts: ImageFacts | None = None
    for name in list(features):
        feature = features[name]
        values = feature.bytes_list.value
        if name == contract.IMAGE and values:
            facts = measure.facts(values[0], values[0])
        if name == contract.IMAGE and not settings.pixels:
            del features[name]
            continue
        if feature.WhichOneof("kind") == "bytes_list":
            texts = [kept_string(name, value, value, settings) for value in values]
            feature.bytes_list.value[:] = texts
            gone = not any(texts)
        else:
            known = name in _NUMBERS or name.startswith(_TABLE) or name in settings.kept_texts
            gone = name in _IDENTITIES or not (any_number or known)
        if gone:
            del features[name]
    if facts is not None:
        add_facts(example, facts)
    return example


def add_facts(example: Any, facts: ImageFacts) -> None:
    """Write an image's facts into an example, under the names that training has for them."""
    features = example.features.feature
    features[contract.SHA256].bytes_list.value[:] = [facts.sha256.encode()]
    features[contract.BYTES].int64_list.value[:] = [facts.size]
    if facts.width:
        features[contract.WIDTH].int64_list.value[:] = [facts.width]
        features[contract.HEIGHT].int64_list.value[:] = [facts.height]
    if facts.statistics is not None:
        names = (contract.MEAN, contract.STD, contract.ENTROPY)
        for name, value in zip(names, facts.statistics, strict=True):
            features[name].float_list.value[:] = [value]


def facts_arrays(facts: Sequence[ImageFacts]) -> dict[str, np.ndarray]:
    """Return the facts of a request's images as arrays, a row an image; NaN where not measured."""
    arrays = {
        contract.SHA256: strings([one.sha256.encode() for one in facts]),
        contract.BYTES: np.array([one.size for one in facts], np.int64),
        contract.WIDTH: np.array([one.width for one in facts], np.int64),
        contract.HEIGHT: np.array([one.height for one in facts], np.int64),
    }
    if any(one.statistics is not None for one in facts):
        nothing = (float("nan"),) * 3
        rows = np.array([one.statistics or nothing for one in facts], np.float32)
        names = (contract.MEAN, contract.STD, contract.ENTROPY)
        arrays |= {name: rows[:, column] for column, name in enumerate(names)}
    return arrays
