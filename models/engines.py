"""Engines that run a frozen network's forward pass: OpenVINO's CPU plugin, or TensorFlow.

The served model stays TensorFlow's. Features computed by OpenVINO are close to its own, not
equal: tests bound the difference.

An image goes through OpenVINO alone, several images in flight: larger batches are no
faster there, and so an image's features can't depend on its neighbours, nor on the number
of threads, of streams or of images in flight.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from absl import logging

from models.openvino_runtime import convert, gains_by_bf16, has_bf16, import_openvino
from schema import contract

if TYPE_CHECKING:
    import keras

EngineName = Literal["openvino-int8", "openvino-bf16", "openvino-f32", "tensorflow"]
# What OpenVINO is asked for: as many images as possible, or one as soon as possible.
Hint = Literal["THROUGHPUT", "LATENCY"]
# For networks that were quantised (`serving.networks.quantisation`), and for serving alone.
OPENVINO_INT8: Final[EngineName] = "openvino-int8"
OPENVINO_BF16: Final[EngineName] = "openvino-bf16"
OPENVINO_F32: Final[EngineName] = "openvino-f32"
TENSORFLOW: Final[EngineName] = "tensorflow"

# How far a probability may be from the exported SavedModel's where the network ran on an engine:
# what `cxr serve` allows its own engines on its probes, as a probability.
PROBABILITY_TOLERANCE: Final[Mapping[EngineName, float]] = {
    OPENVINO_BF16: 0.12,
    OPENVINO_F32: 0.02,
    TENSORFLOW: 0.02,
}
# What OpenVINO calls the two precisions.
PRECISIONS: Final = {OPENVINO_BF16: "bf16", OPENVINO_F32: "f32"}
_INPUT: Final = "image"
# Images in flight beyond those that run: the streams' work while the next batch is decoded.
_WAITING: Final = 8

Features = dict[str, np.ndarray]


class Engine(ABC):
    """A way to run a network: images -> named tensors.

    Attributes:
        name: what runs it, for the lineage.
    """

    name: EngineName

    @abstractmethod
    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[Features]:
        """Run many batches; take the next ones while earlier ones are computed.

        Args:
            batches: grey levels 0..255, uint8 or float [n, 256, 256, 1]; n may
                vary, and is at least 1.

        Yields:
            For each batch, in order: output name -> float32 [n, ...].
        """

    def __call__(self, images: np.ndarray) -> Features:
        """Run one batch (see `stream`)."""
        (features,) = self.stream([images])
        return features


class TensorFlowEngine(Engine):
    """TensorFlow, on whatever device it takes."""

    name = TENSORFLOW

    def __init__(self, network: keras.Model) -> None:
        """Keep the network.

        Args:
            network: image [batch, 256, 256, 1] -> {name: tensor}.
        """
        import tensorflow as tf

        self._forward = tf.function(
            lambda images: network(images, training=False), reduce_retracing=True, autograph=False
        )

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[Features]:
        """Run batch after batch."""
        import tensorflow as tf

        for images in batches:
            outputs = self._forward(tf.cast(images, tf.float32))
            yield {name: tensor.numpy() for name, tensor in outputs.items()}


class OpenVinoEngine(Engine):
    """OpenVINO's CPU plugin. Several threads may call `stream` at the same time.

    Attributes:
        parallel: images that are computed at once.
    """

    def __init__(
        self, model: Any, names: Iterable[str], engine: EngineName, hint: Hint = "THROUGHPUT"
    ) -> None:
        """Compile the model, in memory.

        Args:
            model: `openvino.Model`, image [1, 256, 256, 1] -> named tensors.
            names: of the outputs.
            engine: one of OpenVINO's; says the precision.
            hint: what it is for. An image's features are the same with either.

        Raises:
            Exception: OpenVINO isn't there, can't compile the model, or lost the name of an
                output. It has no class of its own for all of them.
        """
        openvino = import_openvino()
        self.name = engine
        self._compiled = openvino.Core().compile_model(
            model,
            "CPU",
            {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": _precision_of(engine)},
        )
        # Asked for by name, since OpenVINO orders outputs its own way; fails where it has none.
        self._outputs = {name: self._compiled.output(name) for name in names}
        self.parallel: int = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._in_flight = self.parallel + _WAITING
        # Shared by the threads; a request in it belongs to none of them.
        self._idle: deque[Any] = deque()

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[Features]:
        """Run the images of all batches one by one, several in flight."""
        running: deque[Any] = deque()
        done: list[Features] = []
        sizes: deque[int] = deque()
        for images in batches:
            sizes.append(len(images))
            for image in np.asarray(images):
                if len(running) == self._in_flight:
                    done.append(self._result(running.popleft()))
                request = self._take_request()
                request.start_async({0: np.asarray(image[np.newaxis], np.float32)})
                running.append(request)
            while sizes and len(done) >= sizes[0]:
                yield _stacked(self._outputs, done, sizes.popleft())
        while running:
            done.append(self._result(running.popleft()))
        while sizes:
            yield _stacked(self._outputs, done, sizes.popleft())

    def _take_request(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self._compiled.create_infer_request()

    def _result(self, request: Any) -> Features:
        """Wait for a request and return its result. One that failed isn't used again."""
        request.wait()
        # Copied: the request's own memory is overwritten by its next image.
        features = {
            name: request.get_tensor(port).data[0].copy() for name, port in self._outputs.items()
        }
        self._idle.append(request)
        return features


def _stacked(names: Iterable[str], done: list[Features], count: int) -> Features:
    """Take the first results from the list and make them one batch."""
    taken = done[:count]
    del done[:count]
    return {name: np.stack([features[name] for features in taken]) for name in names}


def _precision_of(engine: EngineName) -> str:
    """Return what OpenVINO is told; of a quantised network it is for what was left as it was."""
    if engine == OPENVINO_INT8:
        return PRECISIONS[OPENVINO_BF16 if gains_by_bf16() else OPENVINO_F32]
    return PRECISIONS[engine]


def precision_here(wanted: EngineName) -> EngineName:
    """Return the engine asked for, or f32 where this machine lacks the bf16 that was."""
    return OPENVINO_F32 if wanted == OPENVINO_BF16 and not has_bf16() else wanted


def load_engine(wanted: EngineName, network: keras.Model, names: Sequence[str]) -> Engine:
    """Load the engine asked for, or the next best that takes the network; log which one.

    Args:
        wanted: what to use.
        network: image [batch, 256, 256, 1] -> {name: tensor}.
        names: of the outputs.

    Returns:
        An engine whose `name` says what runs: f32 where this machine lacks bf16, TensorFlow
        where OpenVINO is missing or can't take the network, or where there is nothing to
        compute since the network only hands the image on.
    """
    if wanted == TENSORFLOW or not network.weights:
        return TensorFlowEngine(network)
    if precision_here(wanted) != wanted:
        logging.warning("%s: this CPU has no bf16; going on with f32.", network.name)
        wanted = OPENVINO_F32
    try:
        return OpenVinoEngine(converted(network), names, wanted)
    except Exception as error:
        logging.warning("%s: OpenVINO can't run it, TensorFlow does: %s", network.name, error)
        return TensorFlowEngine(network)


def converted(network: keras.Model) -> Any:
    """Convert the network to an `openvino.Model` for one image at a time, its outputs named.

    Args:
        network: image [batch, 256, 256, 1] -> {name: tensor}.
    """
    import tensorflow as tf

    shape = (1, contract.IMAGE_SIZE, contract.IMAGE_SIZE, 1)
    forward = tf.function(
        lambda image: network(image, training=False),
        input_signature=[tf.TensorSpec(shape, tf.float32, name=_INPUT)],
        autograph=False,
    )
    # Straight from the traced function: through a SavedModel takes longer, and a disk.
    traced = forward.get_concrete_function()
    model = convert(traced)
    # An image that is only handed on keeps the input's name alone; TensorFlow's name of the
    # tensor then still says which output it is.
    tensors = {tensor.name: name for name, tensor in traced.structured_outputs.items()}
    for output in model.outputs:
        if output.node.friendly_name in tensors:
            output.tensor.add_names({tensors[output.node.friendly_name]})
    return model
