"""TensorFlow Serving's calls, whatever carries them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np

from serving.core.batching import Batcher
from serving.core.limits import check_rows, checked
from serving.core.manager import Lent, Manager
from serving.core.observing import Asked, Observer
from serving.core.shadows import Shadows
from serving.protocol.status import invalid
from serving.protocol.tensors import STRING, Tensors, strings
from serving.servables.servable import (
    CLASSIFY,
    DEFAULT_SIGNATURE,
    PREDICT,
    REGRESS,
    Servable,
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
        observers: told of each answer.
        shadows: asks a version that is tried, where a rollout says so.
    """

    def __init__(self, manager: Manager, batcher: Batcher, limits: Limits) -> None:
        """Keep models and limits."""
        self.manager = manager
        self.batcher = batcher
        self.limits = limits
        self.observers: list[Observer] = []
        self.shadows = Shadows(manager, batcher, limits, self._tell_all)

    def predict(
        self,
        lent: Lent,
        signature_name: str,
        inputs: Tensors,
        outputs: Sequence[str] = (),
        *,
        method: str = PREDICT,
    ) -> Future[Tensors]:
        """Answer by any signature.

        Args:
            lent: until the answer is there.
            signature_name: empty for the default.
            inputs: name -> value.
            outputs: wanted; all where empty.
            method: of the API by which it is asked: PREDICT, CLASSIFY or REGRESS.

        Raises:
            ServingError: the request doesn't fit, or too many wait.
        """
        signature = lent.servable.signature(signature_name)
        # What may be left out is of a table: no image, whatever its letters look like.
        images = {n: value for n, value in inputs.items() if not signature.is_optional(n)}
        ready = inputs | checked(images, self.limits, lent.servable.rendering)
        ready = signature.filled(ready)
        check_rows(ready, self.limits)
        answer = self.batcher.submit(
            lent.servable,
            signature.name,
            ready,
            outputs,
            seconds=self.limits.request_seconds,
        )
        if self.observers:
            asked = Asked(lent, signature, method, inputs, ready, outputs)
            answer.add_done_callback(partial(self._tell, asked))
        return answer

    def _tell(self, asked: Asked, answer: Future[Tensors]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        self._tell_all(asked, answer.result())
        if asked.lent.shadow is not None:
            self.shadows.ask(asked)

    def _tell_all(self, asked: Asked, outputs: Tensors) -> None:
        for observe in self.observers:
            observe(asked, outputs)

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
        signature = examples_signature(lent.servable, signature_name, method)
        inputs = {_EXAMPLES_INPUT: strings(examples)}
        return self.predict(lent, signature.name, inputs, method=method)


def examples_signature(servable: Servable, name: str, method: str) -> Signature:
    """Find a signature that classifies or regresses examples.

    Args:
        servable: that has it.
        name: of it; empty for the default.
        method: CLASSIFY or REGRESS.

    Raises:
        ServingError: there is none, or it isn't one of that method.
    """
    what = "classification" if method == CLASSIFY else "regression"
    key = name or DEFAULT_SIGNATURE
    if key not in servable.signatures:
        raise invalid(f"No signature was found with the name: {key}")
    signature = servable.signatures[key]
    # TensorFlow Serving looks at the method's name no more, but at inputs and outputs.
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    outputs = set(signature.outputs)
    if method == CLASSIFY and len(outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(outputs)}")
    if method == REGRESS and len(outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if set(signature.inputs) != {_EXAMPLES_INPUT}:
        raise invalid(f"No {what} inputs found in SignatureDef: {sorted(signature.inputs)}")
    if signature.inputs[_EXAMPLES_INPUT].type_name != STRING:
        raise invalid(f"The {what} signature {key} takes no tf.Examples")
    if method == CLASSIFY and not outputs & {_CLASSES, _SCORES}:
        raise invalid(
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature was: {sorted(outputs)}'
        )
    if method == REGRESS and _OUTPUTS not in outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {sorted(outputs)}")
    return signature


def classes_of(outputs: Tensors, examples: int) -> Classes:
    """Return the answer to a classification.

    Raises:
        ServingError: it isn't a row of classes an example.
    """
    for name, dtype, shown in ((_CLASSES, np.object_, "STRING"), (_SCORES, np.float32, "FLOAT")):
        value = outputs.get(name)
        if value is None:
            continue
        if value.ndim != 2:
            raise invalid(
                f"Expected Tensor shape: [batch_size num_classes] but got {_shape(value)}"
            )
        if value.dtype != dtype:
            raise invalid(f"Expected {name} Tensor of DT_{shown}. Got: {value.dtype}")
        if len(value) != examples:
            raise invalid(f"Expected {name} output batch size of {examples}. Got: {len(value)}")
    classes, scores = outputs.get(_CLASSES), outputs.get(_SCORES)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{classes.shape[1]} vs. {scores.shape[1]}"
        )
    return Classes(outputs.get(_CLASSES), outputs.get(_SCORES))


def regressions_of(outputs: Tensors, examples: int) -> np.ndarray:
    """Return the answer to a regression, float32 [examples].

    Raises:
        ServingError: it isn't a number an example.
    """
    value = outputs[_OUTPUTS]
    if not (value.ndim == 1 or (value.ndim == 2 and value.shape[1] == 1)):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(value)}"
        )
    if len(value) != examples:
        raise invalid(
            f"Input batch size did not match output batch size: {examples} vs. {len(value)}"
        )
    if value.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {value.dtype}")
    return value.reshape(-1)


def _shape(value: np.ndarray) -> str:
    return f"[{','.join(map(str, value.shape))}]"
