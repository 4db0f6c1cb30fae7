"""TensorFlow Serving's calls, whatever carries them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from serving.core.batching import Batcher
from serving.core.limits import check_rows, checked
from serving.core.manager import Lent, Manager
from serving.protocol.status import invalid
from serving.protocol.tensors import STRING, Tensors, strings
from serving.servables.servable import (
    CLASSIFY,
    DEFAULT_SIGNATURE,
    PREDICT,
    REGRESS,
    Signature,
)
from serving.settings import Limits

_EXAMPLES_INPUT = "inputs"
_CLASSES = "classes"
_SCORES = "scores"
_OUTPUTS = "outputs"


@dataclass(frozen=True)
class Classes:
    """The answer to classify: a label, empty where the model has none, and a score each.

    Attributes:
        labels: string [examples, classes]; None where the model puts out scores alone.
        scores: float32 [examples, classes]; None where it puts out labels alone.
    """

    labels: np.ndarray | None
    scores: np.ndarray | None

    def rows(self) -> list[list[tuple[str, np.floating]]]:
        """Return classes and scores example by example."""
        known = self.labels if self.labels is not None else self.scores
        assert known is not None
        labels = np.full(known.shape, b"", np.object_) if self.labels is None else self.labels
        scores = np.zeros(known.shape, np.float32) if self.scores is None else self.scores
        return [
            [(_text(label), score) for label, score in zip(*row, strict=True)]
            for row in zip(labels, scores, strict=True)
        ]


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="surrogateescape")


class Service:
    """Predict, classify, regress; the calls come back as futures.

    Attributes:
        manager: of the models.
        batcher: of the requests.
        limits: of a request.
    """

    def __init__(self, manager: Manager, batcher: Batcher, limits: Limits) -> None:
        """Keep models and limits."""
        self.manager = manager
        self.batcher = batcher
        self.limits = limits

    def predict(
        self, lent: Lent, signature_name: str, inputs: Tensors, outputs: Sequence[str] = ()
    ) -> Future[Tensors]:
        """Answer by any signature.

        Args:
            lent: until the answer is there.
            signature_name: empty for the default.
            inputs: name -> value.
            outputs: wanted; all where empty.

        Raises:
            ServingError: the request doesn't fit, or too many wait.
        """
        signature = lent.servable.signature(signature_name)
        if signature.method not in (PREDICT, CLASSIFY, REGRESS):
            raise invalid(
                f"Expected prediction signature method_name to be one of {{{PREDICT}, {CLASSIFY}, "
                f"{REGRESS}}}. Was: {signature.method}"
            )
        # What may be left out is of a table: no image, whatever its letters look like.
        images = {n: value for n, value in inputs.items() if not signature.is_optional(n)}
        inputs = signature.filled(inputs | checked(images, self.limits))
        check_rows(inputs, self.limits)
        return self.batcher.submit(
            lent.servable,
            signature.name,
            inputs,
            outputs,
            seconds=self.limits.request_seconds,
        )

    def on_examples(
        self, lent: Lent, signature_name: str, method: str, examples: Sequence[bytes]
    ) -> Future[Tensors]:
        """Answer by a signature that classifies or regresses examples.

        Args:
            lent: until the answer is there.
            signature_name: empty for the default.
            method: CLASSIFY or REGRESS.
            examples: serialized tf.Examples.

        Raises:
            ServingError: the signature isn't one of that method.
        """
        signature = _signature_of(lent, signature_name, method)
        return self.predict(lent, signature.name, {_EXAMPLES_INPUT: strings(examples)})


def _signature_of(lent: Lent, name: str, method: str) -> Signature:
    what = "classification" if method == CLASSIFY else "regression"
    key = name or DEFAULT_SIGNATURE
    if key not in lent.servable.signatures:
        raise invalid(f"No signature was found with the name: {key}")
    signature = lent.servable.signatures[key]
    if signature.method != method:
        raise invalid(
            f"Expected {what} signature method_name to be {method}. Was: {signature.method}"
        )
    if set(signature.inputs) != {_EXAMPLES_INPUT}:
        raise invalid(f"No {what} inputs found in SignatureDef: {sorted(signature.inputs)}")
    if signature.inputs[_EXAMPLES_INPUT].type_name != STRING:
        raise invalid(f"The {what} signature {key} takes no tf.Examples")
    wanted = {_CLASSES, _SCORES} if method == CLASSIFY else {_OUTPUTS}
    if not wanted & set(signature.outputs):
        raise invalid(
            f"Expected {what} signature outputs to contain at least one of {sorted(wanted)}. "
            f"Signature was: {sorted(signature.outputs)}"
        )
    return signature


def classes_of(outputs: Tensors, examples: int) -> Classes:
    """Return the answer to a classification.

    Raises:
        ServingError: it isn't a row of classes an example.
    """
    for name in (_CLASSES, _SCORES):
        value = outputs.get(name)
        if value is not None and (value.ndim != 2 or len(value) != examples):
            raise invalid(
                f"Expected Tensor shape: [batch_size num_classes] but got {list(value.shape)}"
            )
    return Classes(outputs.get(_CLASSES), outputs.get(_SCORES))


def regressions_of(outputs: Tensors, examples: int) -> np.ndarray:
    """Return the answer to a regression, float32 [examples].

    Raises:
        ServingError: it isn't a number an example.
    """
    value = outputs[_OUTPUTS]
    flat = value.ndim == 1 or (value.ndim == 2 and value.shape[1] == 1)
    if not flat or len(value) != examples or value.dtype != np.float32:
        raise invalid(
            f"Expected Tensor shape: [batch_size] or [batch_size, 1] of floats, but got "
            f"{list(value.shape)} of {value.dtype}"
        )
    return value.reshape(-1)
