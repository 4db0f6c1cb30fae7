"""A signature of a SavedModel, asked in a session, as TF Serving asks it.

`tf.saved_model.load` rebuilds every function of a SavedModel in Python, node by node: of a model of
three networks that takes longer than a few images do. A session reads them in C++, and here only
those that the signature leads to.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from models.cpu_session import cpu_session
from models.function_arguments import references
from models.lending import VARIABLES, read_saved_model
from models.saved_functions import keep_functions, keep_nodes

# Under it a SavedModel names, as if it were a signature, what fills its tables.
_INIT: Final = "__saved_model_init_op"


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
    (meta,) = read_saved_model(directory).meta_graphs
    if name not in meta.signature_def:
        raise KeyError(f"{directory} has no signature {name}")
    signature = meta.signature_def[name]
    inputs = {key: given.name for key, given in signature.inputs.items()}
    outputs = {key: output.name for key, output in signature.outputs.items()}
    restore = meta.saver_def.restore_op_name
    # Not all have tables.
    fills = [each.name for key, each in meta.signature_def[_INIT].outputs.items()]
    files = {
        each.tensor_info.name: os.path.join(
            directory, tf.saved_model.ASSETS_DIRECTORY, each.filename
        )
        for each in meta.asset_file_def
    }
    asked = [*inputs.values(), *outputs.values(), restore, *fills, *files]
    _keep_below(meta.graph_def, asked)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(meta.graph_def, name="")
    with contextlib.closing(cpu_session(graph)) as session:
        variables = os.path.join(directory, VARIABLES)
        session.run(restore, {meta.saver_def.filename_tensor_name: variables})
        session.run(fills, files)

        def ask(given: Mapping[str, Any]) -> dict[str, np.ndarray]:
            values = {inputs[key]: value for key, value in given.items()}
            found: dict[str, np.ndarray] = session.run(outputs, values)
            return found

        yield ask


def _keep_below(graph: graph_pb2.GraphDef, names: Iterable[str]) -> None:
    """Drop what no tensor or operation of these names needs."""
    nodes = {node.name: node for node in graph.node}
    found: set[str] = set()
    ahead = list(names)
    while ahead:
        # `^name` only has to come first, `name:1` is a second output.
        name = ahead.pop().removeprefix("^").partition(":")[0]
        if name not in found:
            found.add(name)
            ahead += nodes[name].input
    keep_nodes(graph, (node for node in graph.node if node.name in found))
    keep_functions(graph, [each.name for each in references(graph.node)])
