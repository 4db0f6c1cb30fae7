"""The places of a radiograph that speak for a class: class activation maps over the taps.

A head stands on pooled taps t_k, and tap k is pooled from a feature map A_k [height, width,
channels] somewhere in the network. What is explained is the class's score

    S = log p(class) - mean over the other classes of log p(other),

its log-odds against the others. A softmax's own logit means nothing by itself, since adding the
same to all of them changes no answer; and the gradient of log p(class) fades where p is near 1.

Each tap's part of S is told apart by channel and place, as far as S is linear in the taps:

    evidence_k(place) = sum over channels of dS/dA_k(place) (A_k(place) - m_k),

where m_k is the mean of the tap in training, from which the head measures (0 where it doesn't
standardise), and dS/dA_k is the gradient on the way through that tap's own pooling:

* a mean over n places hands on dS/dt_k / n to each of them. This is Grad-CAM (Selvaraju et al.
  2017), whose weights are the gradient's mean over the places, here the same everywhere; and for
  a linear layer behind the mean it is the class activation map of Zhou et al. 2016.
  A grid's cells are means over the places of each.
* a maximum hands on dS/dt_k to the place where it was found, shared where several are equal.
  Grad-CAM's mean of that gradient would spread over the whole image what one place did: so it is
  taken place by place, as in HiResCAM (Draelos and Carin 2020, arXiv:2011.08891), which for a
  mean is the same as Grad-CAM.

No gradient goes through the network, only through the head: a tap in the middle speaks for
itself, and what later layers make of its map is in the later taps. So for a head of one linear
layer the evidence, summed over taps and places, is S less the S of an average radiograph (and
the regularised flat head is one); for the others it is the first-order part.

Maps differ in size. Each is resized, bilinearly, as a density per pixel, so that a tap counts
for what it contributes however coarse its map is; then they are added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import tensorflow as tf

from models.backbones import GRID, Pool
from models.calibration import TINY
from schema import contract

# Of one image's evidence.
MAP_SHAPE: Final = (contract.IMAGE_SIZE, contract.IMAGE_SIZE)
Taps = Mapping[str, tf.Tensor]


def class_score(probabilities: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Compute the log-odds of one class against the geometric mean of the others.

    Args:
        probabilities: float32 [batch, n], n at least 2.
        classes: int [batch], which class of each row.

    Returns:
        S, float32 [batch], in nats.
    """
    n = probabilities.shape[-1]
    weights = (n * tf.one_hot(classes, n) - 1) / (n - 1)
    return tf.reduce_sum(weights * tf.math.log(tf.maximum(probabilities, TINY)), axis=-1)


def evidence(
    head: Callable[[Taps], tf.Tensor],
    maps: Taps,
    taps: Taps,
    pools: Mapping[str, Pool],
    means: Mapping[str, tf.Tensor | float],
    classes: tf.Tensor,
) -> tf.Tensor:
    """Compute what speaks for (above 0) and against (below 0) a class, and where.

    Args:
        head: pooled taps -> probabilities float32 [batch, n]; rows don't depend on each other.
        maps: tap name -> feature map, float32 [batch, height, width, channels].
        taps: the same pooled, float32 [batch, channels], of a grid [batch, cells * channels].
        pools: tap name -> how it was pooled.
        means: tap -> what it is compared with, [1, channels] or 0; taps that the head uses, and
            that have a map.
        classes: int [batch], the class of each image that is explained.

    Returns:
        Nats per pixel, float32 [batch, 256, 256] (see above).
    """
    used = {name: taps[name] for name in means}
    with tf.GradientTape() as tape:
        tape.watch(used)
        score = class_score(head({**taps, **used}), classes)
    gradients = tape.gradient(score, used, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.add_n(
        [
            _resized(_shared_out(maps[name], taps[name], pools[name], gradients[name], mean))
            for name, mean in means.items()
        ]
    )


def _shared_out(
    feature_map: tf.Tensor,
    tap: tf.Tensor,
    pool: Pool,
    gradient: tf.Tensor,
    mean: tf.Tensor | float,
) -> tf.Tensor:
    """Compute one tap's part of S by place, float32 [batch, height, width]; its sum is the part."""
    if pool != "max":
        height, width, channels = feature_map.shape[1:]
        # The mean over the whole map is that over a grid of one cell.
        grid = GRID if pool == "grid" else 1
        down, across = height // grid, width // grid
        cells = tf.reshape(feature_map, [-1, grid, down, grid, across, channels])
        by_cell = [-1, grid, grid, channels]
        slopes = tf.reshape(gradient, by_cell)
        averages = tf.reduce_sum(tf.reshape(gradient * mean, by_cell), axis=-1)
        whole = tf.einsum("biyjxc,bijc->biyjx", cells, slopes)
        parts = (whole - averages[:, :, tf.newaxis, :, tf.newaxis]) / (down * across)
        return tf.reshape(parts, [-1, height, width])
    found = tf.cast(feature_map == tap[:, tf.newaxis, tf.newaxis, :], tf.float32)
    part = gradient * (tap - mean) / tf.reduce_sum(found, axis=[1, 2])
    return tf.einsum("bhwc,bc->bhw", found, part)


def _resized(parts: tf.Tensor) -> tf.Tensor:
    """Resize parts by cell [batch, height, width] to pixels [batch, 256, 256], of equal sum."""
    resized = tf.image.resize(parts[..., tf.newaxis], MAP_SHAPE, method="bilinear")
    return tf.squeeze(resized, axis=-1) * (math.prod(parts.shape[1:]) / math.prod(MAP_SHAPE))


def heat_map(parts: tf.Tensor) -> tf.Tensor:
    """Compute what speaks for the class, relative to where most does.

    Args:
        parts: what `evidence` returned, or a mean of such.

    Returns:
        float32 of the same shape, 0..1: ReLU(parts), each image by its own largest value; 0
        everywhere where nothing speaks for the class.
    """
    positive = tf.nn.relu(parts)
    return tf.math.divide_no_nan(positive, tf.reduce_max(positive, axis=[1, 2], keepdims=True))
