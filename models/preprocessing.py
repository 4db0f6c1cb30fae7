"""The one preprocessing graph: of the image PNG bytes -> 256x256 grey.

Transform runs `preprocessing_fn` over the training data and stores the graph; the
served model loads that same graph. Nothing else in this project decodes an image for
a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import tensorflow as tf

from schema import contract, inputs
from schema.table import TABLE_PROPERTY, from_json

# What a network sees: grey levels.
PIXELS: Final = tf.TensorSpec([None, contract.IMAGE_SIZE, contract.IMAGE_SIZE, 1], tf.float32)


def decode_and_resize(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decode one image as grey and resize it.

    Args:
        image_bytes: scalar string, a PNG (any bit depth, palette or alpha) or JPEG.
            TensorFlow keeps the high byte of 16-bit samples, drops alpha, and turns
            colour into grey.

    Returns:
        uint8 [256, 256, 1]. Bilinear with an anti-aliasing kernel, so that a 1024-pixel
        radiograph isn't sampled at every fourth pixel; rounded, not truncated.
    """
    grey = tf.io.decode_png(image_bytes, channels=1, dtype=tf.uint8)
    size = (contract.IMAGE_SIZE, contract.IMAGE_SIZE)
    resized = tf.image.resize(grey, size, method="bilinear", antialias=True)
    return tf.saturate_cast(tf.round(resized), tf.uint8)


def grey_png(images: tf.Tensor) -> tf.Tensor:
    """Decode and resize images.

    Args:
        images: string [batch], files as `decode_and_resize` takes them; they may differ in size.

    Returns:
        Each as a lossless PNG (tf.Example has no uint8; stored without compression, since
        Transform's writer compresses anyway), string [batch].
    """

    def one(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.io.encode_png(decode_and_resize(image_bytes), compression=0)

    # One image at a time: sizes differ, and memory stays that of one decoded image.
    return tf.map_fn(one, images, fn_output_signature=tf.string, parallel_iterations=1)


# Name -> raw values [batch] -> what Transform hands on [batch, ...]; `schema.inputs` names them.
MAKERS: Final[dict[str, Callable[[tf.Tensor], tf.Tensor]]] = {"grey_png": grey_png}


def preprocessing_fn(
    features: dict[str, tf.Tensor], custom_config: Mapping[str, Any] | None = None
) -> dict[str, tf.Tensor]:
    """Make the models' inputs, as tf.Transform's preprocessing function.

    Args:
        features: those of `schema.contract`, each [batch] or [batch, 1]; columns of the table are
            sparse.
        custom_config: of the node; its `schema.table.TABLE_PROPERTY` names the table's columns.

    Returns:
        All inputs as `schema.inputs` says; and label, class name, sha256 and group, handed on
        for what reads the features.
    """
    outputs = {
        each.transformed.name: MAKERS[each.made_by](tf.reshape(features[each.raw.name], [-1]))
        for each in inputs.INPUTS
    }
    for name in contract.TRANSFORM_HANDS_ON:
        outputs[name] = tf.reshape(features[name], [-1])
    if columns := from_json((custom_config or {}).get(TABLE_PROPERTY)):
        # Needs tf.Transform, which nothing else here does.
        from models.table_transform import COLUMN_MAKERS

        for column, each in zip(columns, inputs.of_columns(columns), strict=True):
            outputs[each.transformed.name] = COLUMN_MAKERS[each.made_by](
                column, features[each.raw.name]
            )
    return outputs


def decode_transformed(images: tf.Tensor | Sequence[bytes]) -> tf.Tensor:
    """Decode what `preprocessing_fn` stored.

    Args:
        images: string [batch].

    Returns:
        uint8 [batch, 256, 256, 1].
    """
    shape = (contract.IMAGE_SIZE, contract.IMAGE_SIZE, 1)

    def one(png: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.io.decode_png(png, channels=1), shape)

    # Outside a graph, map_fn's loop costs more than decoding.
    if tf.executing_eagerly() and len(images):
        return tf.stack([one(png) for png in images])
    return tf.map_fn(one, images, fn_output_signature=tf.TensorSpec(shape, tf.uint8))
