"""The heat maps of answers: each network is loaded once, for all models that stand on it.

An ensemble's map is the mean of its members' evidence, and a cascade's that of the members that it
asked, just as in their own SavedModels (`models.combination.explain_tensors`). So theirs needn't be
loaded, and an image passes a network once, whoever asks, and of whatever class; but once more where
a cascade's first member has to say whether it is sure.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from typing import Any, Final, TypeVar

import numpy as np
import tensorflow as tf
from tfx.utils import path_utils

from common.progress import Progress
from components.report.sources import ModelSources
from models.combination import stepwise
from models.explanation import MAP_SHAPE, heat_map
from models.frozen_function import SavedFile
from models.saved_functions import load_functions
from schema import contract

# Images through a network at once: it holds the feature maps of all taps in float32.
_BATCH: Final = 8
_T = TypeVar("_T")


@dataclass(frozen=True)
class Answer:
    """A model's answer that is explained.

    Attributes:
        sha256: of the image.
        label: index of the class that the model took it for.
    """

    sha256: str
    label: int


@dataclass(frozen=True)
class _Share:
    """A network's part in the map of one answer.

    Attributes:
        model: whose answer it is.
        stepwise: whether the network's hierarchical head is asked, where it has one.
        weight: of the network's evidence in the map.
    """

    model: str
    stepwise: bool
    weight: float


# Network -> answer that it is asked about -> the maps that this is for.
_Asked = dict[str, dict[Answer, list[_Share]]]


class _Pixels:
    """The images as the networks take them: one graph of Transform's is before all of a run."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._preprocess: Any = None
        self._made: dict[str, np.ndarray] = {}

    def of(self, digests: Sequence[str], folder: str) -> np.ndarray:
        """Make those that aren't there yet, by the SavedModel of whichever network asks first."""
        if self._preprocess is None:
            self._preprocess = load_functions(folder, ("preprocess",)).preprocess
        missing = list(dict.fromkeys(each for each in digests if each not in self._made))
        if missing:
            made = self._preprocess(tf.constant([self._files[digest] for digest in missing]))
            self._made.update(zip(missing, made.numpy(), strict=True))
        return np.stack([self._made[digest] for digest in digests])


class _Network:
    """A SavedModel that says what speaks for any class: all but the combinations'."""

    def __init__(self, model_uri: str, pixels: _Pixels) -> None:
        self._folder = path_utils.serving_model_path(model_uri)
        self._saved = SavedFile(self._folder)
        self._pixels = pixels
        self._opened = contextlib.ExitStack()

    @cached_property
    def _evidence(self) -> Callable[..., dict[str, np.ndarray]]:
        return self._opened.enter_context(self._saved.freeze("evidence").opened())

    def evidence(self, answers: Sequence[Answer]) -> dict[str, np.ndarray]:
        """Say what speaks for the answers: head -> float32 [answers, 256, 256]."""
        images, rows = np.unique([answer.sha256 for answer in answers], return_inverse=True)
        labels = np.array([answer.label for answer in answers])
        return self._evidence(self._pixels.of(images.tolist(), self._folder), rows, labels)

    def close(self) -> None:
        """Let go of what `evidence` opened."""
        self._opened.close()

    def unsure(self, answers: Sequence[Answer], threshold: float) -> set[Answer]:
        """Return those about whose images a cascade that begins here asks the others, too."""
        found = set()
        with self._saved.freeze("network").opened() as network:
            for batch in _batches(answers):
                pixels = self._pixels.of([answer.sha256 for answer in batch], self._folder)
                sure = stepwise(network(pixels)).max(-1)
                found |= {answer for answer, s in zip(batch, sure, strict=True) if s < threshold}
        return found


@dataclass(frozen=True)
class _Cascade:
    """The cascade, which asks all members where the first is unsure.

    Attributes:
        first: the member that is asked first.
        threshold: of its highest probability, below which it is unsure.
        members: all of them.
        answers: of the cascade, to be explained.
    """

    first: str
    threshold: float
    members: Sequence[str]
    answers: Sequence[Answer]


def heat_maps(
    models: Sequence[ModelSources],
    wanted: Mapping[str, Sequence[Answer]],
    files: Mapping[str, bytes],
) -> dict[str, dict[str, np.ndarray]]:
    """Compute the heat maps of the models' answers.

    Args:
        models: of the report.
        wanted: name of a model -> which of its answers are explained.
        files: digest -> image file.

    Returns:
        Name of a model -> digest -> float32 [256, 256], 0..1.
    """
    sources = {model.name: model for model in models}
    found: dict[str, dict[str, np.ndarray]] = {}
    asked: _Asked = defaultdict(lambda: defaultdict(list))
    cascade: _Cascade | None = None
    for name, answers in wanted.items():
        members = _members(sources, name)
        found[name] = {answer.sha256: np.zeros(MAP_SHAPE, np.float32) for answer in answers}
        if not answers:
            continue
        if not members:
            found[name] = _by_itself(sources[name].model, answers, files)
        elif name == contract.CASCADE:
            rule = _validation(sources[name])["cascade"]
            cascade = _Cascade(rule["first"], rule["threshold"], members, answers)
        else:
            _ask(asked, members, answers, name, stepwise=False)
    networks: dict[str, _Network] = {}
    pixels = _Pixels(files)
    if cascade:
        # Whom it asks is known once its first member has answered.
        networks[cascade.first] = _Network(sources[cascade.first].model, pixels)
        _ask_step_by_step(asked, cascade, networks[cascade.first])
    progress = Progress("heat maps", sum(map(len, asked.values())))
    for name in sorted(asked, key=lambda name: name not in networks):
        network = networks.pop(name, None) or _Network(sources[name].model, pixels)
        _add_evidence(found, asked[name], network, progress)
    return {name: _relative(maps) for name, maps in found.items()}


def _members(sources: Mapping[str, ModelSources], name: str) -> tuple[str, ...]:
    """Name the networks that a model's evidence comes from; none where they aren't there."""
    if name not in (contract.ENSEMBLE, contract.CASCADE):
        return (name,)
    members = tuple(_validation(sources[name])["members"])
    return members if set(members) <= set(sources) else ()


def _validation(sources: ModelSources) -> dict[str, Any]:
    with tf.io.gfile.GFile(os.path.join(sources.run, contract.VALIDATION_FILE)) as file:
        content: dict[str, Any] = json.load(file)
    return content


def _ask(
    asked: _Asked,
    members: Sequence[str],
    answers: Iterable[Answer],
    model: str,
    *,
    stepwise: bool,
) -> None:
    share = _Share(model, stepwise, 1 / len(members))
    for member in members:
        for answer in answers:
            asked[member][answer].append(share)


def _ask_step_by_step(asked: _Asked, cascade: _Cascade, first: _Network) -> None:
    unsure = first.unsure(cascade.answers, cascade.threshold)
    sure = [answer for answer in cascade.answers if answer not in unsure]
    _ask(asked, [cascade.first], sure, contract.CASCADE, stepwise=True)
    passed_on = [answer for answer in cascade.answers if answer in unsure]
    _ask(asked, cascade.members, passed_on, contract.CASCADE, stepwise=True)


def _add_evidence(
    found: Mapping[str, Mapping[str, np.ndarray]],
    asked: Mapping[Answer, Sequence[_Share]],
    network: _Network,
    progress: Progress,
) -> None:
    """Add a network's part to all maps that it has one in."""
    with contextlib.closing(network):
        for batch in _of_whole_images(asked):
            evidence = network.evidence(batch)
            progress.advance(len(batch))
            for row, answer in enumerate(batch):
                for share in asked[answer]:
                    part = stepwise(evidence) if share.stepwise else evidence[contract.FLAT]
                    found[share.model][answer.sha256][...] += share.weight * part[row]


def _relative(evidence: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not evidence:
        return {}
    return dict(zip(evidence, heat_map(np.stack(list(evidence.values()))).numpy(), strict=True))


def _by_itself(
    model_uri: str, answers: Sequence[Answer], files: Mapping[str, bytes]
) -> dict[str, np.ndarray]:
    """Ask a combination's own SavedModel, which explains the class that it finds itself."""
    folder = path_utils.serving_model_path(model_uri)
    loaded = load_functions(folder, signatures=(contract.SIGNATURE_EXPLAIN,))
    explain = loaded.signatures[contract.SIGNATURE_EXPLAIN]
    found: dict[str, np.ndarray] = {}
    for batch in _batches(answers):
        content = tf.constant([files[answer.sha256] for answer in batch])
        maps = explain(**{contract.INPUT_IMAGES: content})[contract.OUTPUT_HEAT_MAP].numpy()
        found.update(zip([answer.sha256 for answer in batch], maps, strict=True))
    return found


def _of_whole_images(answers: Iterable[Answer]) -> Iterator[list[Answer]]:
    """Divide answers into batches, so that an image passes a network once for all of its own."""
    batch: list[Answer] = []
    ordered = sorted(answers, key=lambda answer: answer.sha256)
    for _, same in groupby(ordered, key=lambda answer: answer.sha256):
        of_image = list(same)
        if batch and len(batch) + len(of_image) > _BATCH:
            yield batch
            batch = []
        batch += of_image
    if batch:
        yield batch


def _batches(values: Iterable[_T]) -> Iterator[list[_T]]:
    remaining = iter(values)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
