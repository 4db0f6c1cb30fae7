"""Writes the test split's records again, with answers in place of pixels."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.examples import read_examples
from components.saved_models import given_model
from schema import contract, inputs

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
    """Return the input key of one backbone's features."""
    return f"{_FEATURES}{backbone}"


class Executor(base_executor.BaseExecutor):
    """Asks the part of the model that lies behind the features."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write one record an image: its features but the pixels, and the answers.

        `contract.ANSWER` is the model's; `contract.BASELINE_ANSWER` the baseline's, where
        there is one; `contract.SERVED_ANSWER` the SavedModel's own, in `sampled_images`
        records.

        Raises:
            ValueError: an image of the test split has no features.
        """
        from components.inferrer.input_gate import gate_figures
        from components.inferrer.parts import part_figures
        from models import evaluation_model
        from models.model_run import write_json

        model = artifact_utils.get_single_instance(input_dict[MODEL])
        features = {
            key.removeprefix(_FEATURES): [os.path.join(_test_split(artifacts), "*")]
            for key, artifacts in input_dict.items()
            if key.startswith(_FEATURES)
        }
        examples = _test_split(input_dict[EXAMPLES])
        heads = path_utils.eval_model_dir(model.uri)
        loaded = evaluation_model.LoadedHeads(heads)
        known = loaded.ask(features)
        found = {contract.ANSWER: {n: answer[contract.FLAT] for n, answer in known.items()}}
        baseline = given_model(input_dict.get(BASELINE))
        if baseline:
            found[contract.BASELINE_ANSWER] = _of_baseline(baseline, heads, features, examples)
        # The first by digest: the same in every run, and no class before another.
        wanted = set(sorted(found[contract.ANSWER])[: exec_properties["sampled_images"]])
        records, sample = _answered(examples, found, wanted)
        served = _of_saved_model(path_utils.serving_model_path(model.uri), sample.items())
        for digest, answer in served.items():
            example = tf.train.Example.FromString(records[digest])
            _add(example, contract.SERVED_ANSWER, answer)
            records[digest] = example.SerializeToString(deterministic=True)
        answers = artifact_utils.get_single_instance(output_dict[ANSWERS])
        answers.split_names = artifact_utils.encode_split_names([contract.SPLIT_TEST])
        _write(artifact_utils.get_split_uri([answers], contract.SPLIT_TEST), records)
        planted = {
            key.removeprefix(_FEATURES): os.path.join(
                artifact_utils.get_single_uri(artifacts), contract.PLANTED
            )
            for key, artifacts in input_dict.items()
            if key.startswith(_FEATURES)
        }
        figures = gate_figures(loaded, known, features, planted)
        if figures is not None:
            write_json(answers.uri, contract.INPUT_GATE_FILE, figures)
        shares = part_figures(heads, known, {d: _class_of(r) for d, r in records.items()})
        if shares is not None:
            write_json(answers.uri, contract.PARTS_FILE, shares)


def _of_baseline(
    baseline: types.Artifact,
    heads: str,
    features: Mapping[str, Sequence[str]],
    examples: str,
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
    logging.info("The baseline's SavedModel is asked: other features, or no heads of it.")
    images = ((_digest(each), each.SerializeToString()) for each in read_examples(examples))
    return _of_saved_model(path_utils.serving_model_path(baseline.uri), images)


def _of_saved_model(directory: str, images: Iterable[tuple[str, bytes]]) -> dict[str, np.ndarray]:
    """Ask the SavedModel about images, each a digest and a serialized tf.Example."""
    import numpy as np

    from models.served_signature import served_signature

    found: dict[str, np.ndarray] = {}
    remaining = iter(images)
    with served_signature(directory, contract.SIGNATURE_EXAMPLES) as ask:
        while batch := dict(islice(remaining, _BATCH)):
            # Of NumPy's own type for bytes, they'd lose zeros at their ends.
            answers = ask({contract.INPUT_EXAMPLES: np.array([*batch.values()], object)})
            found.update(zip(batch, answers[contract.OUTPUT_PROBABILITIES], strict=True))
    return found


def _answered(
    examples: str, found: Mapping[str, Mapping[str, np.ndarray]], wanted: Collection[str]
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Put the answers in place of the pixels.

    Returns:
        Digest -> serialized record, a tenth of an object's memory; and of the wanted images
        the records as they were.
    """
    records, whole = {}, {}
    for example in read_examples(examples):
        digest = _digest(example)
        if digest not in found[contract.ANSWER]:
            raise ValueError(f"the image {digest} of the test split has no features")
        if digest in wanted:
            whole[digest] = example.SerializeToString()
        del example.features.feature[inputs.for_backbones().raw.name]
        for name, by_image in found.items():
            _add(example, name, by_image[digest])
        records[digest] = example.SerializeToString(deterministic=True)
    return records, whole


def _class_of(record: bytes) -> tuple[int, str]:
    features = tf.train.Example.FromString(record).features.feature
    name = features[contract.LABEL_TEXT].bytes_list.value[0].decode()
    return features[contract.LABEL].int64_list.value[0], name


def _add(example: tf.train.Example, name: str, answer: np.ndarray) -> None:
    example.features.feature[name].float_list.value.extend(answer)


def _write(folder: str, records: Mapping[str, bytes]) -> None:
    tf.io.gfile.makedirs(folder)
    path = os.path.join(folder, "answers-00000-of-00001.gz")
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions("GZIP", compression_level=1)) as writer:
        for digest in sorted(records):
            writer.write(records[digest])


def _test_split(examples: list[types.Artifact]) -> str:
    return str(artifact_utils.get_split_uri(examples, contract.SPLIT_TEST))


def _digest(example: tf.train.Example) -> str:
    return str(example.features.feature[contract.SHA256].bytes_list.value[0].decode("ascii"))
