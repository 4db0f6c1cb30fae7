"""Writes the test split's records again, with answers in place of pixels."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.saved_models import has_saved_model
from schema import contract

if TYPE_CHECKING:
    import numpy as np

MODEL: Final = "model"
BASELINE: Final = "baseline_model"
EXAMPLES: Final = "examples"
ANSWERS: Final = "answers"
_FEATURES: Final = "features_"
# Images at once, where a SavedModel is asked; it bounds its activations itself.
_BATCH: Final = 64


def features_key(backbone: str) -> str:
    """The input key of one backbone's features."""
    return f"{_FEATURES}{backbone}"


class Executor(base_executor.BaseExecutor):
    """Asks the part of the model that lies behind the features."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes one record an image: its features but the pixels, and the answers.

        `contract.ANSWER` is the model's; `contract.BASELINE_ANSWER` the baseline's, where
        there is one; `contract.SERVED_ANSWER` the SavedModel's own, in `sampled_images`
        records.

        Raises:
            ValueError: an image of the test split has no features.
        """
        from models import evaluation_model

        model = artifact_utils.get_single_instance(input_dict[MODEL])
        features = {
            key.removeprefix(_FEATURES): _patterns(artifacts)
            for key, artifacts in input_dict.items()
            if key.startswith(_FEATURES)
        }
        records = _Records(input_dict[EXAMPLES])
        heads = path_utils.eval_model_dir(model.uri)
        found = {contract.ANSWER: evaluation_model.answer(heads, features)}
        baseline = _present(input_dict.get(BASELINE))
        if baseline:
            found[contract.BASELINE_ANSWER] = _of_baseline(baseline, heads, features, records)
        # The first by digest: the same in every run, and no class before another.
        sample = sorted(found[contract.ANSWER])[: exec_properties["sampled_images"]]
        served = path_utils.serving_model_path(model.uri)
        found[contract.SERVED_ANSWER] = _of_saved_model(served, records, sample)
        answers = artifact_utils.get_single_instance(output_dict[ANSWERS])
        answers.split_names = artifact_utils.encode_split_names([contract.SPLIT_TEST])
        _write(answers, records, found)


class _Records:
    """The test split's records, as ExampleGen wrote them."""

    def __init__(self, examples: list[types.Artifact]) -> None:
        self._files = sorted(tf.io.gfile.glob(_pattern(examples)))

    def __iter__(self) -> Iterator[tuple[str, tf.train.Example]]:
        """Each with its digest; one at a time is in memory."""
        for record in tf.data.TFRecordDataset(self._files, "GZIP").as_numpy_iterator():
            example = tf.train.Example.FromString(record)
            yield _digest(example), example


def _of_baseline(
    baseline: types.Artifact,
    heads: str,
    features: Mapping[str, Sequence[str]],
    records: _Records,
) -> dict[str, np.ndarray]:
    """By the baseline's own heads where these features mean to it what its own did."""
    from models import evaluation_model

    earlier = path_utils.eval_model_dir(baseline.uri)
    if evaluation_model.is_there(earlier):
        wanted, there = evaluation_model.read_members(earlier), evaluation_model.read_members(heads)
        if all(
            name in there
            and member.digest == there[name].digest
            and evaluation_model.holds(features[name], member.features)
            for name, member in wanted.items()
        ):
            return evaluation_model.answer(earlier, features)
    logging.info("The baseline's SavedModel is asked: it stands on other features than these.")
    return _of_saved_model(path_utils.serving_model_path(baseline.uri), records)


def _of_saved_model(
    directory: str, records: _Records, wanted: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Say what the SavedModel answers about some images, or all."""
    loaded = tf.saved_model.load(directory)
    signature = loaded.signatures[contract.SIGNATURE_EXAMPLES]
    found: dict[str, np.ndarray] = {}
    waiting: dict[str, bytes] = {}

    def ask() -> None:
        answer = signature(tf.constant(list(waiting.values())))[contract.OUTPUT_PROBABILITIES]
        found.update(zip(waiting, answer.numpy(), strict=True))
        waiting.clear()

    for digest, example in records:
        if wanted is None or digest in wanted:
            waiting[digest] = example.SerializeToString()
            if len(waiting) == _BATCH:
                ask()
    if waiting:
        ask()
    return found


def _write(
    answers: types.Artifact, records: _Records, found: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    folder = artifact_utils.get_split_uri([answers], contract.SPLIT_TEST)
    tf.io.gfile.makedirs(folder)
    written = {}
    for digest, example in records:
        if digest not in found[contract.ANSWER]:
            raise ValueError(f"the image {digest} of the test split has no features")
        del example.features.feature[contract.IMAGE]
        for name, by_image in found.items():
            if digest in by_image:
                example.features.feature[name].float_list.value.extend(by_image[digest])
        written[digest] = example.SerializeToString(deterministic=True)
    path = os.path.join(folder, "answers-00000-of-00001.gz")
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions("GZIP", compression_level=1)) as writer:
        for digest in sorted(written):
            writer.write(written[digest])


def _present(models: list[types.Artifact] | None) -> types.Artifact | None:
    """Say what was found, and has a model in it."""
    found = artifact_utils.get_single_instance(models) if models else None
    return found if found and has_saved_model(found) else None


def _patterns(features: list[types.Artifact]) -> list[str]:
    return [_pattern(features)]


def _pattern(examples: list[types.Artifact]) -> str:
    return os.path.join(artifact_utils.get_split_uri(examples, contract.SPLIT_TEST), "*")


def _digest(example: tf.train.Example) -> str:
    return str(example.features.feature[contract.SHA256].bytes_list.value[0].decode("ascii"))
