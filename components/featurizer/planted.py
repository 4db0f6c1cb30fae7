"""Images that are no radiographs, as Transform would have handed them on."""

from __future__ import annotations

import os
from collections.abc import Sequence

import tensorflow as tf

from models.planted import digest_of, planted
from schema import contract, inputs
from schema.inputs import Tensor


def write_planted(folder: str, straight: Sequence[Tensor]) -> None:
    """Write `models.planted.planted`, the kind as the class's name.

    Args:
        folder: to make.
        straight: what goes straight to a head; zeros, as where a column has no value.
    """
    tf.io.gfile.makedirs(folder)
    with tf.io.TFRecordWriter(os.path.join(folder, "planted-00000-of-00001")) as writer:
        for kind, images in planted().items():
            for image in images:
                digest = digest_of(image).encode()
                example = tf.train.Example()
                fields = example.features.feature
                png = tf.io.encode_png(image, compression=0).numpy()
                fields[inputs.for_backbones().transformed.name].bytes_list.value.append(png)
                for name, text in (
                    (contract.SHA256, digest),
                    (contract.GROUP, digest),
                    (contract.LABEL_TEXT, kind.encode()),
                ):
                    fields[name].bytes_list.value.append(text)
                fields[contract.LABEL].int64_list.value.append(0)
                for one in straight:
                    size = tf.TensorShape(one.shape).num_elements()
                    fields[one.name].float_list.value.extend([0.0] * size)
                writer.write(example.SerializeToString(deterministic=True))
