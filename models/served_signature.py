"""A signature of a SavedModel, asked in a session, as TF Serving asks it.

`tf.saved_model.load` rebuilds every function of a SavedModel in Python, node by node: of a model of
three networks that takes longer than a few images do. A session reads them in C++.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from models.cpu_session import cpu_session


@contextlib.contextmanager
def served_signature(
    directory: str, name: str
) -> Iterator[Callable[[Mapping[str, Any]], dict[str, np.ndarray]]]:
    """Load a SavedModel to ask one of its signatures, on the CPU.

    Args:
        directory: of the SavedModel, local or remote.
        name: of the signature.

    Yields:
        A function: input -> value, to output -> array.

    Raises:
        KeyError: it has no such signature.
    """
    graph = tf.Graph()
    with contextlib.closing(cpu_session(graph)) as session:
        # For this alone: who asks may be eager in between.
        with graph.as_default():
            loaded = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], directory)
        signature = loaded.signature_def[name]
        outputs = {key: output.name for key, output in signature.outputs.items()}

        def ask(given: Mapping[str, Any]) -> dict[str, np.ndarray]:
            values = {signature.inputs[key].name: value for key, value in given.items()}
            found: dict[str, np.ndarray] = session.run(outputs, values)
            return found

        yield ask
