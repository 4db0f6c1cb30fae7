"""Batches of any size through a network that takes few images at once, inside the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import tensorflow as tf

# Images through the network at once; more gains nothing on a CPU.
_CHUNK: Final = 16


def in_chunks(
    compute: Callable[[slice], Sequence[tf.Tensor]],
    count: tf.Tensor,
    shapes: Sequence[tuple[int, ...]],
) -> list[tf.Tensor]:
    """Put a batch together from chunks of 16.

    Activations take up to 34 MB an image (VGG16): chunks bound them.

    Args:
        compute: rows of the batch -> tensors float32 [rows, ...], one for each shape; traced
            once, and never run for an empty batch.
        count: int32, size of the batch; 0 is fine.
        shapes: of one row, for each tensor.

    Returns:
        The tensors, float32 [count, ...].
    """
    chunks = (count + _CHUNK - 1) // _CHUNK

    def step(index: tf.Tensor, *done: tf.TensorArray) -> tuple[Any, ...]:
        start = index * _CHUNK
        parts = compute(slice(start, start + _CHUNK))
        return index + 1, *(d.write(index, part) for d, part in zip(done, parts, strict=True))

    arrays = [
        tf.TensorArray(tf.float32, size=chunks, infer_shape=False, element_shape=[None, *shape])
        for shape in shapes
    ]
    _, *collected = tf.while_loop(
        lambda index, *_: index < chunks, step, (tf.constant(0), *arrays), parallel_iterations=1
    )
    return [
        tf.ensure_shape(array.concat(), [None, *shape])
        for array, shape in zip(collected, shapes, strict=True)
    ]
