"""One head on an image's taps and the columns of its table: late fusion that bears gaps.

What the head reads is put together from parts: the image (the taps of `models.fusion`), the table
(numeric and categorical columns) and the text. Each channel is standardised by the images that
the head is fitted to. Then a part's channels are multiplied so that the expected square of the
part is its weight's share, and within the part each column counts like the others, however many
channels it has. (Within the image it is as in `models.fusion`.) On all of it stands one softmax
layer, whose loss is convex.

**Parts may be missing**, and the head has to answer then, too. So each image is fitted several
times: with all its parts, and with each other choice of some of them, which share a given weight.
A part that is withheld is what Transform makes of a missing one, zeros; an image that is withheld
is the mean radiograph. Nothing is drawn, so two fits are the same (modality dropout by
expectation, and not by chance).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import keras
import numpy as np

from models import convex
from models.convex import History, Softmax
from models.head_rows import Span, Taps, rows_of
from models.heads import CLASS_LAYER, build_head
from models.hyperparameters import HeadParams
from models.joint_params import JointParams
from models.training_data import Moments, TapData, moments_of
from schema.table import NUMERIC, TEXT, TableColumn

IMAGE_PART: Final = "image"
TABLE_PART: Final = "table"
TEXT_PART: Final = "text"
PARTS: Final = (IMAGE_PART, TABLE_PART, TEXT_PART)
# A channel that varies less than this in the fitted rows is a constant.
_CONSTANT: Final = 1e-10


@dataclass(frozen=True)
class Parts:
    """The parts of a head, and the taps of each.

    Attributes:
        taps: part -> its taps, in the order of PARTS; no part is empty.
        weights: part -> what it counts for.
        within: tap of the image -> the deviation that its channels have within the part
            (`FusedNetwork.scales`).
    """

    taps: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, float]
    within: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        columns: Sequence[TableColumn],
        params: JointParams,
        image: Mapping[str, float] | None = None,
    ) -> Parts:
        """Sort taps by their part.

        Args:
            columns: of the table.
            params: what a part counts for.
            image: taps of the image, with the deviation of each; None where there is none.
        """
        sorted_taps = {
            IMAGE_PART: tuple(image or ()),
            TABLE_PART: tuple(c.transformed for c in columns if c.kind != TEXT),
            TEXT_PART: tuple(c.transformed for c in columns if c.kind == TEXT),
        }
        weights = {
            IMAGE_PART: 1.0,
            TABLE_PART: params.table_weight,
            TEXT_PART: params.text_weight,
        }
        taps = {part: names for part, names in sorted_taps.items() if names}
        return cls(taps, {part: weights[part] for part in taps}, dict(image or {}))

    @property
    def order(self) -> tuple[str, ...]:
        """All taps, part by part."""
        return tuple(itertools.chain.from_iterable(self.taps.values()))

    def scales(self, moments: Moments) -> dict[str, float]:
        """Return the deviation that each tap's standardised channels get.

        Args:
            moments: of the rows that the head is fitted to; a column's channels that are the
                same in all of them don't count.
        """
        whole = sum(self.weights.values())
        scales = {}
        for part, names in self.taps.items():
            share = self.weights[part] / whole
            for name in names:
                if part == IMAGE_PART:
                    scales[name] = float(share**0.5 * self.within[name])
                else:
                    varying = max(1, int((moments[name][1] > _CONSTANT).sum()))
                    scales[name] = float((share / (len(names) * varying)) ** 0.5)
        return scales

    def patterns(self, withheld: float) -> list[tuple[frozenset[str], float]]:
        """List which parts rows show, and how much such rows count.

        Args:
            withheld: see `JointParams`.

        Returns:
            All parts first; then each other choice of one or more.
        """
        names = tuple(self.taps)
        some = [
            frozenset(chosen)
            for count in range(len(names) - 1, 0, -1)
            for chosen in itertools.combinations(names, count)
        ]
        if not some or not withheld:
            return [(frozenset(names), 1.0)]
        return [(frozenset(names), 1.0 - withheld)] + [
            (chosen, withheld / len(some)) for chosen in some
        ]


def without(taps: Taps, parts: Sequence[TableColumn] | Sequence[str]) -> dict[str, np.ndarray]:
    """Withhold columns: what Transform makes of a missing one, zeros, is in their places.

    Args:
        taps: {tap: float32 [rows, channels]}.
        parts: columns, or their taps' names.
    """
    gone = {each.transformed if isinstance(each, TableColumn) else each for each in parts}
    return {
        name: np.zeros_like(values) if name in gone else values for name, values in taps.items()
    }


def fit_head(
    parts: Parts, taps: TapData, n_classes: int, *, l2: float, withheld: float, iterations: int
) -> tuple[keras.Model, History]:
    """Fit a head on some parts.

    Args:
        parts: which; further taps are passed over.
        taps: training rows, an image each with all that there is of it, and validation rows.
        n_classes: number of classes.
        l2: lambda of the penalty.
        withheld: see `JointParams`; of no account for a single part.
        iterations: at most.

    Returns:
        The head, as those of `models.heads`, and its history (see `models.convex.fit`).

    Raises:
        FloatingPointError: a feature is no number.
    """
    chosen = taps.select(parts.order)
    moments = moments_of(chosen.training[0])
    head = build_head(
        HeadParams(l2=l2), chosen.channels(), n_classes, moments, 0, parts.scales(moments)
    )
    problem, beside, span, width = _problem(head, parts, chosen, l2, withheld)
    channels = problem.channels
    start = np.zeros((channels + 1, n_classes))
    found, history = convex.minimise(problem, beside, start, l2, iterations)
    kernel, bias = found[:-1], found[-1]
    if span is not None:
        dimensions = channels - width
        kernel = np.concatenate([span.from_coordinates(kernel[:dimensions]), kernel[dimensions:]])
    head.get_layer(CLASS_LAYER).set_weights([kernel, bias])
    return head, history


def _problem(
    head: keras.Model, parts: Parts, taps: TapData, l2: float, withheld: float
) -> tuple[Softmax, Softmax, Span | None, int]:
    """Put the rows together, repeated by pattern.

    Returns:
        The loss of the training rows; that of the validation rows; the span of the image's
        channels, where there are more of them than rows; how many channels stand behind them.
    """
    read = keras.Model(head.input, head.get_layer(CLASS_LAYER).input)
    training, validation = (
        rows_of(read, of, split).astype(np.float64)
        for of, split in ((taps.training[0], "training"), (taps.validation[0], "validation"))
    )
    ends = np.cumsum([sum(taps.channels()[t] for t in names) for names in parts.taps.values()])
    places = dict(zip(parts.taps, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))
    # A missing part as the head reads it. The image's mean is 0 there.
    empty = {name: np.zeros_like(v[:1]) for name, v in taps.training[0].items()}
    gone = rows_of(read, empty, "missing").astype(np.float64)[0]
    if IMAGE_PART in places:
        gone[places[IMAGE_PART]] = 0.0
    span, width = None, training.shape[1]
    if IMAGE_PART in places and len(training) < len(places[IMAGE_PART]):
        image = places[IMAGE_PART]
        width -= len(image)
        span = Span(training[:, image])
        own = span.own_coordinates()
        training = np.concatenate([own, training[:, len(image) :]], axis=1)
        unseen = span.coordinates(validation[:, image])
        validation = np.concatenate([unseen, validation[:, len(image) :]], axis=1)
        gone = np.concatenate([np.zeros(own.shape[1]), gone[len(image) :]])
        shift = len(image) - own.shape[1]
        places = {
            part: np.arange(own.shape[1]) if part == IMAGE_PART else place - shift
            for part, place in places.items()
        }
    rows, weights = [], []
    patterns = parts.patterns(withheld)
    for shown, weight in patterns:
        some = training.copy()
        for part in set(places) - shown:
            some[:, places[part]] = gone[places[part]]
        rows.append(some)
        weights.append(np.full(len(some), weight))
    labels = np.tile(taps.training[1], len(patterns))
    problem = Softmax(np.concatenate(rows), labels, l2, np.concatenate(weights))
    return problem, Softmax(validation, taps.validation[1], l2), span, width


def contributions(
    head: keras.Model, taps: Mapping[str, np.ndarray], chosen: np.ndarray
) -> dict[str, np.ndarray]:
    """Say what each tap added to the log-odds of a class against the others.

    The log-odds S of a class (`models.explanation.class_score`) are linear in what the head
    reads, so they fall into a part for each tap and the rest, that of the mean of the training
    rows. No tap's part depends on another's.

    Args:
        head: with one softmax layer, standing on standardised taps; not calibrated.
        taps: {tap: float32 [rows, channels]}.
        chosen: class of each row, int [rows].

    Returns:
        Tap -> nats, float64 [rows]; and "" -> S of the mean row. Their sum is S.
    """
    kernel, bias = head.get_layer(CLASS_LAYER).get_weights()
    read = keras.Model(head.input, head.get_layer(CLASS_LAYER).input)
    rows = read({name: taps[name] for name in head.input}, training=False).numpy()
    n_classes = kernel.shape[1]
    one_hot = np.eye(n_classes)[chosen]
    # log p(class) less the mean of the other classes' log p: of logits, the same.
    against = (n_classes * one_hot - 1) / (n_classes - 1)
    found: dict[str, np.ndarray] = {}
    place = 0
    for name in head.input:
        width = taps[name].shape[-1]
        part = rows[:, place : place + width].astype(np.float64) @ kernel[place : place + width]
        found[name] = (part * against).sum(axis=1)
        place += width
    found[""] = against @ bias
    return found


def coefficients(
    head: keras.Model, columns: Sequence[TableColumn], temperature: float, n_classes: int
) -> list[dict[str, Any]]:
    """Say what a column's number adds to the log-odds of each class against the others.

    Args:
        head: of `fit_head`.
        columns: those that it reads. Those of text have a hash for a number, which nobody can name;
            they are left out.
        temperature: of its answers.
        n_classes: of it.

    Returns:
        For each number that Transform makes: `column`; `number`, in words; and
        `log_odds`, nats, a class each: of a deviation more, or of there being one.
    """
    widths = {name: tensor.shape[-1] for name, tensor in head.input.items()}
    found = []
    for column in columns:
        if column.kind == TEXT:
            continue
        for place, number in enumerate(_numbers_of(column)):
            rows = {name: np.zeros((2, width), np.float32) for name, width in widths.items()}
            rows[column.transformed][1, place] = 1.0
            added = []
            for label in range(n_classes):
                shares = contributions(head, rows, np.full(2, label))[column.transformed]
                added.append(float((shares[1] - shares[0]) / temperature))
            found.append({"column": column.name, "number": number, "log_odds": added})
    return found


def _numbers_of(column: TableColumn) -> list[str]:
    """Name each number that Transform makes of a column (`models.table_transform`)."""
    if column.kind == NUMERIC:
        names = ["one standard deviation more"]
    else:
        ranks = [f"its value no. {rank}, by frequency" for rank in range(1, column.values + 1)]
        names = [*ranks, "any other value"]
    return [*names, *(["there is a value"] if column.presence else [])]


def recipe_of(parts: Parts, params: JointParams, l2: float, iterations: int) -> dict[str, Any]:
    """Return how a head on these parts is fitted, in what JSON can hold."""
    return {
        "head": {
            "kind": "joint",
            "l2": l2,
            "parts": {part: list(names) for part, names in parts.taps.items()},
            "weights": dict(parts.weights),
            "withheld": params.withheld if len(parts.taps) > 1 else 0.0,
        },
        "epochs": iterations,
    }
