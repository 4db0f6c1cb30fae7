"""Transform's module file in the stock pipeline; on its own, as TFX's examples have it."""

from __future__ import annotations

import tensorflow as tf

_IMAGE = "image/encoded"
_LABEL = "image/class/label"
_SIDE = 256


def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Decode and resize.

    Args:
        inputs: `image/encoded`, string [batch, 1], PNG files; `image/class/label`, int64
            [batch, 1].

    Returns:
        `image_xf`, float32 [batch, 256, 256, 3], 0..255; `label_xf`, int64 [batch].
    """

    def decode(png: tf.Tensor) -> tf.Tensor:
        image = tf.cast(tf.io.decode_png(png, channels=3), tf.float32)
        return tf.ensure_shape(tf.image.resize(image, (_SIDE, _SIDE)), (_SIDE, _SIDE, 3))

    images = tf.map_fn(decode, tf.reshape(inputs[_IMAGE], [-1]), fn_output_signature=tf.float32)
    return {"image_xf": images, "label_xf": tf.reshape(inputs[_LABEL], [-1])}
