"""Functions of a SavedModel as parts of another one, without importing their graphs.

TensorFlow makes Python objects of each node of a SavedModel that it loads, and reads them all
again when it saves them. For the networks of a combination that is nearly all of the work, and
nothing comes of it: what is saved is what was loaded. So a function that is borrowed comes with
its signature, its variables and no body:

    load:    inputs -> placeholders of the outputs' types and shapes, and a note of whose body it is
    trace:   calls it like any other function
    save:    writes it as it is
    return:  `give_bodies` puts the original bodies into the file that was written

A body is a message in `saved_model.pb` (FunctionDef), and refers to nothing but its arguments
and other functions, which come with it under names of their own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import tensorflow as tf
from tensorflow.core.framework import function_pb2, node_def_pb2, types_pb2
from tensorflow.core.protobuf import saved_model_pb2, saved_object_graph_pb2

from schema import contract

# Where a SavedModel's variables lie, and what only holds for the file that TensorFlow wrote.
_VARIABLES: Final = "variables/variables"
_FINGERPRINT: Final = "fingerprint.pb"
# The node that says whose body is missing; its value is `lender` and function, joined by this.
_NOTE: Final = "borrowed_from"
_JOINT: Final = "\n"
_SHAPES: Final = "_output_shapes"


class Borrowed:
    """Some functions of a SavedModel, with their variables.

    They can be traced and saved, and not called before `give_bodies` and loading what it wrote.

    Attributes:
        root: what `tf.saved_model.load` would return, with nothing but what was asked for.
    """

    def __init__(self, directory: str, children: Iterable[str], lender: str) -> None:
        """Read them.

        Args:
            directory: of the SavedModel, local or remote; it is not needed any more afterwards.
            children: attributes of the saved object: functions, and what holds variables.
            lender: a name that no other SavedModel has of those that are put together.

        Raises:
            ValueError: the saved object lacks a child.
        """
        self.lender = lender
        path = os.path.join(directory, contract.SAVED_MODEL_FILE)
        model = _read(path)
        (graph,) = model.meta_graphs
        self.operations = list(graph.meta_info_def.stripped_op_list.op)
        self._library = {f.signature.name: f for f in _taken(graph.graph_def.library.function)}
        kept = _only(graph.object_graph_def, children, path)
        graph.object_graph_def.CopyFrom(kept)
        del graph.graph_def.library.registered_gradients[:]
        for name in kept.concrete_functions:
            graph.graph_def.library.function.append(self._without_body(name))
        options = tf.saved_model.LoadOptions(experimental_skip_checkpoint=True)
        with tempfile.TemporaryDirectory() as folder:
            _write(model, os.path.join(folder, contract.SAVED_MODEL_FILE))
            self.root: Any = tf.saved_model.load(folder, options=options)
        checkpoint = tf.train.Checkpoint(root=self.root)
        status = checkpoint.read(os.path.join(directory, _VARIABLES))
        status.assert_existing_objects_matched().expect_partial()

    def _without_body(self, name: str) -> function_pb2.FunctionDef:
        whole = self._library[name]
        hollow = function_pb2.FunctionDef()
        hollow.CopyFrom(whole)
        for field in ("node_def", "ret", "control_ret"):
            hollow.ClearField(field)
        del hollow.signature.control_output[:]
        note = hollow.node_def.add(name=_NOTE, op="Const")
        note.attr["dtype"].type = types_pb2.DT_STRING
        value = tf.make_tensor_proto(f"{self.lender}{_JOINT}{name}")
        note.attr["value"].tensor.CopyFrom(value)
        if whole.signature.is_stateful:
            # Whether a call is an operation with effects, TensorFlow reads off the body.
            hollow.node_def.add(name="stateful", op="Timestamp")
        nodes = {node.name: node for node in whole.node_def}
        for number, output in enumerate(whole.signature.output_arg):
            node = hollow.node_def.add(name=f"output_{number}", op="Placeholder")
            node.attr["dtype"].type = output.type
            shape = _shape(nodes, whole.ret[output.name])
            if shape is not None:
                node.attr["shape"].shape.CopyFrom(shape)
            hollow.ret[output.name] = f"{node.name}:output:0"
        return hollow

    def body(self, name: str, named: str) -> list[function_pb2.FunctionDef]:
        """Return a function and all that it calls.

        Args:
            name: in the SavedModel that it was borrowed from.
            named: its name from now on. The others' end in the lender's name.
        """
        names, waiting = {name: named}, [name]
        found = []
        while waiting:
            function = function_pb2.FunctionDef()
            function.CopyFrom(self._library[waiting.pop()])
            function.signature.name = names[function.signature.name]
            for reference in _references(function):
                if reference.name not in names:
                    names[reference.name] = f"{reference.name}_{self.lender}"
                    waiting.append(reference.name)
                reference.name = names[reference.name]
            found.append(function)
        return found


def give_bodies(directory: str, lenders: Sequence[Borrowed]) -> None:
    """Put bodies into the SavedModel in which functions were borrowed.

    Args:
        directory: that `tf.saved_model.save` wrote; nothing of the lenders is needed to load it
            afterwards.
        lenders: all from whom functions are in it.

    Raises:
        ValueError: a function of the SavedModel isn't the one that was lent.
    """
    path = os.path.join(directory, contract.SAVED_MODEL_FILE)
    model = _read(path)
    (graph,) = model.meta_graphs
    by_name = {each.lender: each for each in lenders}
    operations = {op.name: op for op in graph.meta_info_def.stripped_op_list.op}
    whole: dict[str, function_pb2.FunctionDef] = {}
    for function in _taken(graph.graph_def.library.function):
        note = _note(function)
        if note is None:
            parts = [function]
        else:
            lender, name = note
            parts = by_name[lender].body(name, function.signature.name)
            _check_same(function, parts[0], path)
            operations |= {op.name: op for op in by_name[lender].operations}
        whole |= {part.signature.name: part for part in parts}
    graph.graph_def.library.function.extend(whole.values())
    del graph.meta_info_def.stripped_op_list.op[:]
    graph.meta_info_def.stripped_op_list.op.extend(operations[name] for name in sorted(operations))
    _write(model, path)
    # It is of the file as TensorFlow wrote it; servers go without where there is none.
    fingerprint = os.path.join(directory, _FINGERPRINT)
    if tf.io.gfile.exists(fingerprint):
        tf.io.gfile.remove(fingerprint)


def _read(path: str) -> saved_model_pb2.SavedModel:
    with tf.io.gfile.GFile(path, "rb") as file:
        return saved_model_pb2.SavedModel.FromString(file.read())


def _write(model: saved_model_pb2.SavedModel, path: str) -> None:
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))


def _taken(functions: Any) -> list[function_pb2.FunctionDef]:
    """Empty a message's list of functions, and return what was in it."""
    taken = list(functions)
    del functions[:]
    return taken


def _only(
    graph: saved_object_graph_pb2.SavedObjectGraph, children: Iterable[str], path: str
) -> saved_object_graph_pb2.SavedObjectGraph:
    """Keep of the saved objects the root, these children of it, and what they stand on."""
    there = {child.local_name: child.node_id for child in graph.nodes[0].children}
    wanted = list(children)
    missing = sorted(set(wanted) - set(there))
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}")
    functions: dict[str, None] = {}
    order = {0: 0}
    waiting = [there[name] for name in wanted]
    while waiting:
        number = waiting.pop()
        if number in order:
            continue
        order[number] = len(order)
        node = graph.nodes[number]
        names = _functions_of(node)
        functions |= dict.fromkeys(names)
        waiting += [child.node_id for child in (*node.children, *node.dependencies)]
        for name in names:
            waiting += graph.concrete_functions[name].bound_inputs
    kept = saved_object_graph_pb2.SavedObjectGraph()
    for number in order:
        node = kept.nodes.add()
        node.CopyFrom(graph.nodes[number])
        if number == 0:
            for field in (node.children, node.dependencies):
                mine = [child for child in field if child.local_name in wanted]
                del field[:]
                field.extend(mine)
        for child in (*node.children, *node.dependencies):
            child.node_id = order[child.node_id]
    for name in functions:
        kept.concrete_functions[name].CopyFrom(graph.concrete_functions[name])
        inputs = kept.concrete_functions[name].bound_inputs
        inputs[:] = [order[number] for number in inputs]
    return kept


def _functions_of(node: saved_object_graph_pb2.SavedObject) -> list[str]:
    if node.WhichOneof("kind") == "function":
        return list(node.function.concrete_functions)
    if node.WhichOneof("kind") == "bare_concrete_function":
        return [node.bare_concrete_function.concrete_function_name]
    return []


def _shape(nodes: Mapping[str, node_def_pb2.NodeDef], returned: str) -> Any:
    """Return the shape of what a function returns, as TensorFlow notes it; None where it doesn't."""
    name, *_ = returned.split(":")
    node = nodes.get(name)
    if node is None or node.op != "Identity" or _SHAPES not in node.attr:
        return None
    return node.attr[_SHAPES].list.shape[0]


def _references(function: function_pb2.FunctionDef) -> list[Any]:
    """Find all places in a body that name another function."""
    found = []
    for node in function.node_def:
        for value in node.attr.values():
            if value.HasField("func") and value.func.name:
                found.append(value.func)
            found += [reference for reference in value.list.func if reference.name]
    return found


def _note(function: function_pb2.FunctionDef) -> tuple[str, str] | None:
    """Read whose body is missing; None where it is there."""
    for node in function.node_def:
        if node.name == _NOTE and node.op == "Const":
            (value,) = node.attr["value"].tensor.string_val
            lender, _, name = value.decode().partition(_JOINT)
            return lender, name
    return None


def _check_same(
    saved: function_pb2.FunctionDef, lent: function_pb2.FunctionDef, path: str
) -> None:
    """Compare types of arguments: calls pass them by position."""
    one, other = (
        [[arg.type for arg in args] for args in (f.signature.input_arg, f.signature.output_arg)]
        for f in (saved, lent)
    )
    if one != other:
        raise ValueError(f"{path}: {saved.signature.name} takes or returns other than was lent")
