"""The log's records as rows: one an image that was asked about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from components.radiograph_example_gen.span_facts import NUMBERS, TEXTS
from schema import contract
from serving.prediction_log.examples import (
    ANSWER_ABSTAIN,
    ANSWER_CLASS,
    ANSWER_CLASSES,
    ANSWER_DOMAIN_REASON,
    MODEL,
    SECONDS,
    VERSION,
    examples_of,
)
from serving.prediction_log.reading import Reading, find_shards, read_shards

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
# A texts' other name, in a signature of its own input.
_SHORT: Final = {name: text for text, name in contract.METADATA_TEXT_COLUMNS.items()}


@dataclass(frozen=True)
class Row:
    """An image, and what a model answered.

    Attributes:
        digest: SHA-256 of the file, hex; empty where the log has none.
        model: name of the model.
        version: of it.
        seconds: since the epoch.
        numbers: feature -> value, of those that are known.
        texts: likewise.
        classes: in the order of the probabilities.
        probabilities: calibrated.
        predicted: class.
        abstained: whether the answer was too unsure.
        domain_reason: the input gate's, of `contract.DOMAIN_REASONS`; empty where it said none.
    """

    digest: str
    model: str
    version: int
    seconds: int
    numbers: Mapping[str, float]
    texts: Mapping[str, str]
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    predicted: str
    abstained: bool
    domain_reason: str = ""

    @property
    def in_domain(self) -> bool | None:
        """True of an image as those of the training, by the input gate; None where it has none."""
        return self.domain_reason == contract.DOMAIN_OK if self.domain_reason else None

    @property
    def confidence(self) -> float:
        """The highest probability."""
        return max(self.probabilities)

    @property
    def day(self) -> str:
        """The day of the answer, UTC."""
        return datetime.fromtimestamp(self.seconds, timezone.utc).date().isoformat()


@dataclass
class LogRows:
    """The rows, and what of the log isn't among them.

    Attributes:
        rows: in the order of the log; of each image the first answer of a version.
        reading: what the shards were like.
        repeated: model -> further answers to an image that a version had answered before. They
            aren't rows: an image that is asked about twice is no second image.
        unanswered: records without class and probabilities, or of another kind of request.
    """

    rows: list[Row] = field(default_factory=list)
    reading: Reading = field(default_factory=Reading)
    repeated: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0


def read_rows(place: Path) -> LogRows:
    """Read a log.

    Args:
        place: its folder, or a shard.

    Raises:
        InputError: there is no shard.
    """
    found = LogRows()
    seen: set[tuple[str, int, str]] = set()
    for _, log in read_shards(find_shards(place), found.reading):
        examples = examples_of(log)
        if not examples:
            found.unanswered += 1
        for example in examples:
            row = _row(example)
            if row is None:
                found.unanswered += 1
                continue
            key = (row.model, row.version, row.digest)
            if row.digest and key in seen:
                found.repeated[row.model] += 1
                continue
            seen.add(key)
            found.rows.append(row)
    return found


def _row(example: Any) -> Row | None:
    features = example.features.feature
    probabilities = tuple(features[contract.ANSWER].float_list.value)
    classes = tuple(_texts(features[ANSWER_CLASSES]))
    if not probabilities or len(classes) != len(probabilities):
        return None
    (predicted,) = _texts(features[ANSWER_CLASS]) or [_likeliest(classes, probabilities)]
    (digest,) = _texts(features[contract.SHA256])[:1] or [""]
    numbers = {}
    for name in NUMBERS:
        value = list(features[name].float_list.value or features[name].int64_list.value)
        if len(value) == 1:
            numbers[name] = float(value[0])
    texts = {}
    for name in TEXTS:
        if name == contract.LABEL_TEXT:
            continue
        told = _texts(features[name]) or _texts(features[_SHORT.get(name, name)])
        if len(told) == 1 and told[0] not in ("", contract.UNKNOWN):
            texts[name] = told[0]
    return Row(
        digest=digest if _DIGEST.fullmatch(digest) else "",
        model=_texts(features[MODEL])[0],
        version=features[VERSION].int64_list.value[0],
        seconds=features[SECONDS].int64_list.value[0],
        numbers=numbers,
        texts=texts,
        classes=classes,
        probabilities=probabilities,
        predicted=predicted,
        abstained=any(features[ANSWER_ABSTAIN].int64_list.value),
        domain_reason=next(iter(_texts(features[ANSWER_DOMAIN_REASON])), ""),
    )


def _likeliest(classes: tuple[str, ...], probabilities: tuple[float, ...]) -> str:
    return classes[max(range(len(classes)), key=lambda index: probabilities[index])]


def _texts(feature: Any) -> list[str]:
    return [value.decode("utf-8", "replace") for value in feature.bytes_list.value]
