"""Multiply-adds, against TensorFlow's own profiler."""

from __future__ import annotations

from collections.abc import Callable

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2_as_graph,
)

from models.backbones import get_backbone
from models.boundary import CutNetwork, cut
from models.cost import multiply_adds

_MULTIPLIERS = {"Conv2D", "DepthwiseConv2dNative", "MatMul"}


def _profiled(network: keras.Model) -> float:
    """Half the floating-point operations that TensorFlow counts in convolutions."""
    forward = tf.function(lambda image: network(image, training=False))
    concrete = forward.get_concrete_function(tf.TensorSpec([1, 256, 256, 1]))
    _, graph_def = convert_variables_to_constants_v2_as_graph(concrete)
    profiler = tf.compat.v1.profiler
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(graph_def, name="")
        options = (
            profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
            .with_empty_output()
            .build()
        )
        counts = profiler.profile(graph, options=options)
    kinds = {operation.name: operation.type for operation in graph.get_operations()}
    flops = sum(n.total_float_ops for n in counts.children if kinds.get(n.name) in _MULTIPLIERS)
    return flops / 2


# As TensorFlow's profiler counts them, too.
KNOWN = {"vgg16": 20_044_578_816, "xception": 5_950_735_776, "densenet121": 3_700_424_704}


@pytest.mark.parametrize("name", KNOWN)
def test_the_cost_of_a_real_network_is_known(
    name: str, real_network: Callable[[str], keras.Model]
) -> None:
    assert multiply_adds(real_network(name)) == KNOWN[name]


@pytest.mark.long
@pytest.mark.parametrize("name", KNOWN)
def test_it_counts_what_tensorflow_counts(
    name: str, real_network: Callable[[str], keras.Model]
) -> None:
    assert pytest.approx(_profiled(real_network(name)), rel=1e-3) == KNOWN[name]


def test_it_counts_what_tensorflow_counts_in_every_kind_of_layer(
    mixed_network: keras.Model,
) -> None:
    counted = multiply_adds(mixed_network)
    assert counted == pytest.approx(_profiled(mixed_network), rel=1e-3)
    assert counted > 1e6


def test_both_parts_of_a_cut_together_cost_what_the_network_costs(
    real_network: Callable[[str], keras.Model],
) -> None:
    row, network = get_backbone("vgg16"), real_network("vgg16")
    for boundary in ("block4", "head"):
        parts: CutNetwork = cut(network, row, boundary)
        assert multiply_adds(parts.prefix, parts.suffix) == multiply_adds(network)


def test_a_dense_layer_costs_its_kernel() -> None:
    inputs = keras.Input((7,))
    assert multiply_adds(keras.Model(inputs, keras.layers.Dense(3)(inputs))) == 21
