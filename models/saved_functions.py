"""Some functions of a SavedModel, loaded without the others.

TensorFlow rebuilds every function that a SavedModel holds, in Python, node by node. One of this
project's has some that answer, some that explain, and what writes and reads its checkpoint: most of
loading it is for nothing where one function is called.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import saved_object_graph_pb2

from models.function_arguments import references
from models.lending import read_saved_model
from schema import contract

_FUNCTIONS: Final = ("function", "bare_concrete_function")
# The root's attribute that has them.
_SIGNATURES: Final = "signatures"


def load_functions(
    directory: str, names: Collection[str] = (), *, signatures: Collection[str] = ()
) -> Any:
    """Load some functions of a SavedModel, with the variables that they read.

    Args:
        directory: of the SavedModel. One that is not on this machine is loaded whole, and so is
            one of TensorFlow 1, which has signatures alone.
        names: attributes of the saved module that are functions; `members/*/network` is one of each
            object in a list. What isn't there is no function of the module that is returned.
        signatures: of `signatures`, by name.

    Returns:
        The module; nothing else of it can be called. Variables that are its own attributes, as
        `class_names`, are there, too; of others only those that the functions read.
    """
    if "://" in directory:
        return tf.saved_model.load(directory)
    saved = read_saved_model(directory)
    (graph,) = saved.meta_graphs
    if not graph.object_graph_def.nodes:
        return tf.saved_model.load(directory)
    called = _keep_objects(graph.object_graph_def, names, signatures)
    keep_functions(graph.graph_def, called)
    # Constants that functions captured are looked up among the graph's own nodes.
    keep_nodes(graph.graph_def, (each for each in graph.graph_def.node if each.op == "Const"))
    graph.signature_def.clear()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / contract.SAVED_MODEL_FILE).write_bytes(saved.SerializeToString())
        for beside in (tf.saved_model.VARIABLES_DIRECTORY, tf.saved_model.ASSETS_DIRECTORY):
            (folder / beside).symlink_to(Path(directory).resolve() / beside)
        # Variables and tables are filled here, so the folder isn't needed any more.
        return tf.saved_model.load(name)


def _keep_objects(
    objects: saved_object_graph_pb2.SavedObjectGraph,
    names: Collection[str],
    signatures: Collection[str],
) -> set[str]:
    """Empty function objects but those of these names, and unread variables; name what is called.

    Tables keep theirs, which make and fill them.
    """
    paths = [*(name.split("/") for name in names), *([_SIGNATURES, each] for each in signatures)]
    kept = {number for path in paths for number in _found(objects, path)}
    tables = (node for node in objects.nodes if node.WhichOneof("kind") == "resource")
    kept |= {child.node_id for table in tables for child in table.children}
    called: set[str] = set()
    for index, node in enumerate(objects.nodes):
        kind = node.WhichOneof("kind")
        if kind not in _FUNCTIONS:
            continue
        if index in kept:
            called.update(_concrete(node))
            continue
        _empty(node)
    for name in set(objects.concrete_functions) - called:
        del objects.concrete_functions[name]
    read = {n for each in objects.concrete_functions.values() for n in each.bound_inputs}
    read |= {child.node_id for child in objects.nodes[0].children}
    for index, node in enumerate(objects.nodes):
        if node.WhichOneof("kind") == "variable" and index not in read:
            _empty(node)
    return called


def _empty(node: saved_object_graph_pb2.SavedObject) -> None:
    """Leave an object without anything: others point at objects by their place, so it stays."""
    node.Clear()
    node.user_object.identifier = "_generic_user_object"
    node.user_object.version.producer = node.user_object.version.min_consumer = 1


def _concrete(node: saved_object_graph_pb2.SavedObject) -> Sequence[str]:
    """Name what a function object calls; a signature calls one."""
    if node.WhichOneof("kind") == "function":
        return node.function.concrete_functions
    return [node.bare_concrete_function.concrete_function_name]


def _found(objects: saved_object_graph_pb2.SavedObjectGraph, path: Sequence[str]) -> set[int]:
    """Go from the root along names; `*` is any."""
    places = {0}
    for part in path:
        places = {
            child.node_id
            for place in places
            for child in objects.nodes[place].children
            if part in ("*", child.local_name)
        }
    return places


def keep_functions(graph: graph_pb2.GraphDef, called: Iterable[str]) -> None:
    """Drop what no function of these names leads to.

    Args:
        graph: that is changed.
        called: names; what the graph has no function of counts for nothing.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    found, ahead = set(), list(called)
    while ahead:
        name = ahead.pop()
        if name in functions and name not in found:
            found.add(name)
            ahead += [each.name for each in references(functions[name].node_def)]
    for name in set(functions) - found:
        graph.library.function.remove(functions[name])
    gradients = [each for each in graph.library.gradient if each.function_name in found]
    del graph.library.gradient[:]
    graph.library.gradient.extend(gradients)


def keep_nodes(graph: graph_pb2.GraphDef, kept: Iterable[node_def_pb2.NodeDef]) -> None:
    """Drop all nodes else.

    Args:
        graph: that is changed.
        kept: of its own.
    """
    nodes = list(kept)
    del graph.node[:]
    graph.node.extend(nodes)
