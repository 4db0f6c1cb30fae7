"""SavedModels whose signatures are those of this project's models, and that do next to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from schema import contract

_STRINGS = tf.TensorSpec([None], tf.string)


class _TakerOfImages(tf.Module):
    """Answers how long each image is, and counts the images that it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = tf.Variable(0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, contract.INPUT_IMAGES)])
    def images(self, image_bytes: Any) -> Any:
        decoded = tf.map_fn(
            lambda one: tf.reduce_max(tf.io.decode_png(one, channels=1)),
            image_bytes,
            fn_output_signature=tf.uint8,
        )
        with tf.control_dependencies([self.asked.assign_add(tf.size(image_bytes))]):
            return {"brightest": tf.identity(decoded)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, contract.INPUT_EXAMPLES)])
    def examples(self, examples: Any) -> Any:
        features = {contract.IMAGE: tf.io.FixedLenFeature([], tf.string)}
        return self.images(tf.io.parse_example(examples, features)[contract.IMAGE])


class _TakerOfMore(tf.Module):
    """Takes an age beside the image."""

    @tf.function(input_signature=[_STRINGS, tf.TensorSpec([None], tf.float32)])
    def images(self, image_bytes: Any, age: Any) -> Any:
        return {"length": tf.strings.length(image_bytes), "age": age}


def write_taker_of_images(folder: Path) -> None:
    """Write one with `serving_default` and `serve_examples`."""
    module = _TakerOfImages()
    signatures = {
        contract.SIGNATURE_DEFAULT: module.images,
        contract.SIGNATURE_EXAMPLES: module.examples,
    }
    tf.saved_model.save(module, str(folder), signatures)


def write_taker_of_more(folder: Path) -> None:
    """Write one whose `serving_default` has an input that isn't an image."""
    module = _TakerOfMore()
    tf.saved_model.save(module, str(folder), {contract.SIGNATURE_DEFAULT: module.images})
