"""Lenders' functions and variables, put into a SavedModel that calls stand-ins for them.

A lender's stand-in (`models.lending`) reads one variable. Wherever the SavedModel hands that
variable on, all that the lender's functions read is handed on behind it: in calls, in loops and
branches, in the signatures' graph, and in the list of objects. Then a stand-in's body is replaced
by the function whose place it takes. What comes of it is what TensorFlow would have saved of a
model with the network inside, but for the stand-in's variable, which is left there, empty.

A SavedModel is read in two ways. `tf.saved_model.load` takes functions and variables from the list
of objects, and their values from the checkpoint by that list's names. Servers run the graph:
an operation that restores, and the signatures. Both find all here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import function_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, trackable_object_graph_pb2

from models.function_arguments import INPUT_SHAPES, Given, Inserter, references
from models.lending import (
    JOINT,
    NOTE,
    OBJECT_GRAPH,
    VARIABLES,
    Lender,
    Lent,
    child,
    read_saved_model,
)
from schema import contract

# What only holds for the file as TensorFlow wrote it; servers go without.
_FINGERPRINT: Final = "fingerprint.pb"
_VALUE: Final = "VARIABLE_VALUE"


def link(directory: str, lenders: Mapping[str, Lender]) -> None:
    """Put them into a SavedModel.

    Args:
        directory: that `tf.saved_model.save` wrote of an object that holds the lenders' stand-ins;
            nothing of the lenders is needed to load it afterwards.
        lenders: where the object has the list that gets a lender's variables, in front of what
            is in it (attributes, joined by slashes) -> lender.

    Raises:
        ValueError: there is no such list, or a function that stands in for none.
    """
    model = read_saved_model(directory)
    (meta,) = model.meta_graphs
    checkpoint = _Checkpoint(os.path.join(directory, VARIABLES))
    saver = (meta.saver_def.save_tensor_name.partition(":")[0], meta.saver_def.restore_op_name)
    for place, lender in lenders.items():
        given = given_by(lender)
        handle = lender.stand_in.name.partition(":")[0]
        seeds = _bind(meta.object_graph_def, place, handle, given)
        meta.graph_def.node.extend(each.node() for each in given)
        Inserter(meta.graph_def, lender.name, given).insert(handle, seeds, passed_over=saver)
        keys = checkpoint.insert(place, lender, given)
        _restore_too(meta, lender.name, given, keys)
    _give_bodies(meta, {lender.name: lender for lender in lenders.values()})
    checkpoint.write()
    path = os.path.join(directory, contract.SAVED_MODEL_FILE)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))
    fingerprint = os.path.join(directory, _FINGERPRINT)
    if tf.io.gfile.exists(fingerprint):
        tf.io.gfile.remove(fingerprint)


def given_by(lender: Lender) -> list[Given]:
    """Make what a lender's functions get: its variables, then its constants."""
    found = [
        Given(f"{lender.name}_{number}", weight.dtype, tf.TensorShape(weight.shape).as_proto())
        for number, weight in enumerate(lender.weights)
    ]
    for constant in lender.constants:
        name = f"{lender.name}_{len(found)}"
        found.append(Given(name, constant.dtype, constant.tensor_shape, constant))
    return found


def _bind(objects: Any, place: str, handle: str, given: Sequence[Given]) -> dict[str, int]:
    """Add to the saved objects what is given, and bind it to functions behind the stand-in.

    Returns:
        Function -> which of its arguments behind those of a call is the stand-in, from the end.
    """
    nodes = objects.nodes
    (stand_in,) = (
        number
        for number, node in enumerate(nodes)
        if node.WhichOneof("kind") == "variable" and node.variable.name == handle
    )
    first = len(nodes)
    _insert_children(nodes, place, first, sum(each.constant is None for each in given))
    for each in given:
        node = nodes.add()
        if each.constant is not None:
            node.constant.operation = each.name
            continue
        node.variable.dtype = each.dtype
        node.variable.shape.CopyFrom(each.shape)
        node.variable.name = each.name
    seeds = {}
    for name, function in objects.concrete_functions.items():
        bound = list(function.bound_inputs)
        if stand_in in bound:
            index = bound.index(stand_in)
            seeds[name] = index - len(bound)
            bound[index + 1 : index + 1] = range(first, first + len(given))
            function.bound_inputs[:] = bound
    return seeds


def _insert_children(nodes: Any, place: str, first: int, count: int) -> None:
    """Insert variables into a list of an object graph, in front of what is in it."""
    found: int | None = 0
    for name in place.split("/"):
        found = None if found is None else child(nodes, found, name)
    if found is None:
        raise ValueError(f"the saved object has no list {place}")
    members = nodes[found].children
    for member in members:
        member.local_name = str(int(member.local_name) + count)
    for number in range(count):
        members.add(node_id=first + number, local_name=str(number))


class _Checkpoint:
    """The variables of a SavedModel, to be written again with more of them."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        reader = tf.train.load_checkpoint(prefix)
        names = reader.get_variable_to_shape_map()
        self._tensors = {name: reader.get_tensor(name) for name in names}
        self._graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
            self._tensors[OBJECT_GRAPH]
        )

    def insert(self, place: str, lender: Lender, given: Sequence[Given]) -> list[str]:
        """Add a lender's variables to a list; return the keys by which they are kept."""
        nodes = self._graph.nodes
        _insert_children(nodes, place, len(nodes), len(lender.weights))
        keys = []
        for weight, each in zip(lender.weights, given, strict=False):
            keys.append(f"{each.name}/.ATTRIBUTES/{_VALUE}")
            nodes.add().attributes.add(name=_VALUE, full_name=each.name, checkpoint_key=keys[-1])
            self._tensors[keys[-1]] = weight.read()
        return keys

    def write(self) -> None:
        """Write them, in place of those that were there."""
        self._tensors[OBJECT_GRAPH] = np.array(self._graph.SerializeToString(), np.object_)
        names = sorted(self._tensors)
        tensors = [tf.convert_to_tensor(self._tensors[name]) for name in names]
        slices = [""] * len(names)
        tf.raw_ops.SaveV2(
            prefix=self._prefix, tensor_names=names, shape_and_slices=slices, tensors=tensors
        )


def _restore_too(
    meta: meta_graph_pb2.MetaGraphDef, lender: str, given: Sequence[Given], keys: Sequence[str]
) -> None:
    """Have the operation that restores variables restore a lender's, for loaders by graph."""
    if not keys:
        return
    variables = given[: len(keys)]
    name = f"restore_{lender}"
    file = meta.saver_def.filename_tensor_name.partition(":")[0]
    meta.graph_def.library.function.append(_restoring(name, variables, keys))
    call = meta.graph_def.node.add(name=name, op="StatefulPartitionedCall")
    call.input.extend([file, *(each.name for each in variables)])
    call.attr["f"].func.name = name
    call.attr["Tin"].list.type.append(types_pb2.DT_STRING)
    call.attr["Tin"].list.type.extend([types_pb2.DT_RESOURCE] * len(keys))
    call.attr["Tout"].list.SetInParent()
    both = meta.graph_def.node.add(name=f"with_{name}", op="NoOp")
    both.input.extend([f"^{meta.saver_def.restore_op_name}", f"^{name}"])
    meta.saver_def.restore_op_name = both.name


def _restoring(
    name: str, variables: Sequence[Given], keys: Sequence[str]
) -> function_pb2.FunctionDef:
    """Make a function that reads a checkpoint into variables."""
    function = function_pb2.FunctionDef()
    function.signature.name = name
    function.signature.is_stateful = True
    function.signature.input_arg.add(name="file", type=types_pb2.DT_STRING)
    for part, values in (("names", list(keys)), ("slices", [""] * len(keys))):
        node = function.node_def.add(name=part, op="Const")
        node.attr["dtype"].type = types_pb2.DT_STRING
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
    restore = function.node_def.add(name="restore", op="RestoreV2")
    restore.input.extend(["file", "names:output:0", "slices:output:0"])
    restore.attr["dtypes"].list.type.extend(each.dtype for each in variables)
    for number, each in enumerate(variables):
        function.signature.input_arg.append(each.argument(f"variable_{number}"))
        node = function.node_def.add(name=f"assign_{number}", op="AssignVariableOp")
        node.input.extend([f"variable_{number}", f"restore:tensors:{number}"])
        node.attr["dtype"].type = each.dtype
        function.signature.control_output.append(node.name)
        function.control_ret[node.name] = node.name
    return function


def _give_bodies(meta: meta_graph_pb2.MetaGraphDef, lenders: Mapping[str, Lender]) -> None:
    """Replace stand-ins by the functions for which they stand."""
    known = meta.meta_info_def.stripped_op_list.op
    operations = {operation.name: operation for operation in known}
    whole: dict[str, function_pb2.FunctionDef] = {}
    for function in meta.graph_def.library.function:
        note = _note(function)
        parts = [function] if note is None else _body(lenders[note[0]], note[1], function)
        whole |= {part.signature.name: part for part in parts}
    for lender in lenders.values():
        operations |= {operation.name: operation for operation in lender.operations}
    functions = list(whole.values())
    del meta.graph_def.library.function[:]
    meta.graph_def.library.function.extend(functions)
    wanted = [operations[name] for name in sorted(operations)]
    del known[:]
    known.extend(wanted)


def _note(function: function_pb2.FunctionDef) -> tuple[str, str] | None:
    """Read whose place a function takes: lender and function; None where it is itself."""
    for node in function.node_def:
        if node.name == NOTE and node.op == "Const":
            (value,) = node.attr["value"].tensor.string_val
            lender, _, name = value.decode().partition(JOINT)
            return lender, name
    return None


def _body(
    lender: Lender, function: str, stand_in: function_pb2.FunctionDef
) -> list[function_pb2.FunctionDef]:
    """Return a lender's function in the form of its stand-in, and all that it calls."""
    lent = lender.functions[function]
    names, waiting = {lent.name: stand_in.signature.name}, [lent.name]
    found = []
    while waiting:
        part = function_pb2.FunctionDef()
        part.CopyFrom(lender.library[waiting.pop()])
        part.signature.name = names[part.signature.name]
        for reference in references(part.node_def):
            if reference.name not in names:
                names[reference.name] = f"{reference.name}_{lender.name}"
                waiting.append(reference.name)
            reference.name = names[reference.name]
        found.append(part)
    _order_arguments(found[0], lent, stand_in)
    return found


def _order_arguments(
    function: function_pb2.FunctionDef, lent: Lent, stand_in: function_pb2.FunctionDef
) -> None:
    """Have a function take what its stand-in takes, under the names that its body knows."""
    count = len(lent.arguments)
    wanted = {count + 1 + number: count + place for place, number in _used(lent.captures)}
    own = [place for place, number in enumerate(lent.captures) if number is None]
    if own:
        wanted[count] = count + own[0]
    wanted |= {index: index for index in range(count)}
    before = function_pb2.FunctionDef()
    before.CopyFrom(function)
    del function.signature.input_arg[:]
    function.arg_attr.clear()
    for index, argument in enumerate(stand_in.signature.input_arg):
        taken = function.signature.input_arg.add()
        taken.CopyFrom(argument)
        taken.name = f"unused_{index}"
        if index in wanted:
            place = wanted[index]
            taken.name = before.signature.input_arg[place].name
            if place in before.arg_attr:
                function.arg_attr[index].CopyFrom(before.arg_attr[place])
    function.attr[INPUT_SHAPES].CopyFrom(stand_in.attr[INPUT_SHAPES])


def _used(captures: Sequence[int | None]) -> list[tuple[int, int]]:
    return [(place, number) for place, number in enumerate(captures) if number is not None]
