"""Networks taken apart where their heads fill in what isn't there."""

from __future__ import annotations

import numpy as np

from models.openvino_runtime import import_openvino
from serving.networks.parts import take_apart


def test_a_head_that_asks_for_the_batchs_size_is_cut_at_the_pooled_vectors_alone() -> None:
    """As the joint model's, which fills in zeros for a table that isn't given."""
    openvino = import_openvino()
    ops = openvino.opset13
    pixels = ops.parameter([1, 3, 8, 8], np.float32)
    weights = ops.constant(np.ones((4, 3, 1, 1), np.float32))
    maps = ops.convolution(pixels, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    pooled = ops.reduce_mean(maps, ops.constant([2, 3]), False)
    size = ops.gather(ops.shape_of(maps), ops.constant([0]), ops.constant(0))
    shape = ops.concat([size, ops.constant([2])], 0)
    table = ops.broadcast(ops.constant(np.float32(0)), shape)
    both = ops.concat([pooled, table], 1)
    both.output(0).get_tensor().set_names({"flat"})
    parted = take_apart(openvino.Model([both], [pixels], "joint"), "key")
    (trunk,) = parted.trunks
    assert len(trunk.outputs) == 1
    assert parted.head is not None
    (vector,) = parted.head.model.inputs
    assert list(vector.get_shape()) == [1, 4]
    head = openvino.Core().compile_model(parted.head.model, "CPU")
    (answer,) = head([np.arange(4, dtype=np.float32)[np.newaxis]]).values()
    np.testing.assert_allclose(answer, [[0, 1, 2, 3, 0, 0]])
