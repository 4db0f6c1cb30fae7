"""Functions of a network, to be called by a SavedModel in whose making the network takes no part.

A function that TensorFlow traces names each variable that it reads, and so does each function that
calls it, and each loop around a call. DenseNet121 has 606 of them, and an export has a dozen
functions: naming them is most of its work, and nothing comes of it. So a model borrows its
network's functions:

    lend:    a stand-in takes a function's place: the same arguments, placeholders for what it
             returns, and one variable in place of all
    save:    the model around the stand-in, as any other
    link:    `models.linking` puts functions and variables into what was saved

A lender is a network in memory or a SavedModel, of which only the file is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import function_pb2, tensor_pb2
from tensorflow.core.protobuf import saved_model_pb2, trackable_object_graph_pb2

from schema import contract

# Where a SavedModel has its variables, and how a checkpoint calls its list of objects.
VARIABLES: Final = "variables/variables"
OBJECT_GRAPH: Final = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Attributes of an object that has been linked: the variable in place of all, and all of them.
STAND_IN: Final = "stand_in"
WEIGHTS: Final = "weights"
# The node of a stand-in that says whose place it takes: lender and function, joined by this.
NOTE: Final = "stands_in_for"
JOINT: Final = "\n"


@dataclass(frozen=True)
class Weight:
    """A variable of a lender.

    Attributes:
        dtype: a TensorFlow enum.
        shape: fully known.
        read: returns its value.
    """

    dtype: int
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Lent:
    """A function that a model may call.

    Attributes:
        name: in `Lender.library`.
        captures: for each argument behind those of a call, the number of a weight or a constant,
            in the order of `Lender.given`; None for a stand-in of the lender's own lenders.
        arguments: of a call.
        results: what it returns, by name.
    """

    name: str
    captures: Sequence[int | None]
    arguments: Sequence[tf.TensorSpec]
    results: Mapping[str, tf.TensorSpec]


class Lender:
    """A network whose functions are called by another model.

    Attributes:
        name: that no other lender of the same model has; lower case letters and digits.
        weights: all variables that the functions read.
        constants: further tensors that they read.
        functions: that may be called, by name.
        library: these and all that they call.
        operations: what TensorFlow notes of the operations in them.
        stand_in: the variable in place of all; the model that borrows has to hold it.
    """

    def __init__(
        self,
        name: str,
        weights: Sequence[Weight],
        constants: Sequence[tensor_pb2.TensorProto],
        functions: Mapping[str, Lent],
        library: Mapping[str, function_pb2.FunctionDef],
        operations: Sequence[Any] = (),
    ) -> None:
        """Keep what is lent; `of_network` and `of_saved_model` find it."""
        self.name = name
        self.weights = weights
        self.constants = constants
        self.functions = functions
        self.library = library
        self.operations = operations
        self.stand_in = tf.Variable(tf.zeros([0]), trainable=False, name=f"{STAND_IN}_{name}")

    @classmethod
    def of_network(
        cls, name: str, functions: Mapping[str, Any], variables: Sequence[tf.Variable]
    ) -> Lender:
        """Lend functions of a network in memory.

        Args:
            name: of the lender.
            functions: name -> tf.function with an input signature, of positional arguments,
                that returns a dictionary.
            variables: all that they read, in the order in which they are to be kept.

        Raises:
            ValueError: a function reads another variable.
        """
        graph = tf.Graph()
        numbers = {id(variable.handle): number for number, variable in enumerate(variables)}
        constants: list[tensor_pb2.TensorProto] = []
        lent: dict[str, Lent] = {}
        operations: dict[str, Any] = {}
        for key, function in functions.items():
            concrete = function.get_concrete_function()
            concrete.add_to_graph(graph)
            for tensor in concrete.captured_inputs:
                if id(tensor) not in numbers:
                    if tensor.dtype == tf.resource:
                        raise ValueError(f"{key} reads a variable that isn't given: {tensor}")
                    numbers[id(tensor)] = len(variables) + len(constants)
                    constants.append(tf.make_tensor_proto(tensor.numpy()))
            arguments, _ = concrete.structured_input_signature
            outputs = concrete.structured_outputs
            lent[key] = Lent(
                tf.compat.as_str(concrete.name),
                [numbers[id(tensor)] for tensor in concrete.captured_inputs],
                arguments,
                {name: tf.TensorSpec.from_tensor(value) for name, value in outputs.items()},
            )
            operations |= {op.type: op for op in concrete.graph.get_operations()}
        definition = graph.as_graph_def(add_shapes=True)
        library = {f.signature.name: f for f in definition.library.function}
        weights = [Weight(v.dtype.as_datatype_enum, tuple(v.shape), v.numpy) for v in variables]
        known = [operation.op_def for operation in operations.values()]
        return cls(name, weights, constants, lent, library, known)

    @classmethod
    def of_saved_model(cls, name: str, directory: str, functions: Sequence[str]) -> Lender:
        """Lend functions of a saved object that has its variables in a list, `weights`.

        Args:
            name: of the lender.
            directory: of the SavedModel, local or remote; it is read once more when the
                borrower is linked.
            functions: attributes of the object.

        Raises:
            ValueError: it has no such function, or one that stands on more than `weights`.
        """
        return _SavedObject(directory).lender(name, functions)

    def reading(self, weights: Sequence[int]) -> Lender:
        """Lend the same functions, with the variables that they read, and no others.

        Args:
            weights: numbers of the variables, in the order in which they are to be kept.

        Raises:
            ValueError: a function reads another variable.
        """
        known = len(self.weights)
        places: dict[int | None, int | None] = {
            number: place for place, number in enumerate(weights)
        }
        for number in range(len(self.constants)):
            places[known + number] = len(weights) + number
        places[None] = None
        for name, lent in self.functions.items():
            if unknown := sorted({n for n in lent.captures if n is not None and n not in places}):
                raise ValueError(f"{name} reads variables that aren't given: {unknown}")
        return Lender(
            self.name,
            [self.weights[number] for number in weights],
            self.constants,
            {
                name: replace(lent, captures=[places[number] for number in lent.captures])
                for name, lent in self.functions.items()
            },
            self.library,
            self.operations,
        )

    def borrow(self, function: str) -> Any:
        """Return a stand-in: a tf.function that can be traced and saved, and not called.

        Args:
            function: its name.
        """
        lent = self.functions[function]

        def stand_in(*_: tf.Tensor) -> dict[str, tf.Tensor]:
            # What reads a variable is called as something that may have effects.
            self.stand_in.read_value()
            tf.constant(f"{self.name}{JOINT}{function}", name=NOTE)
            return {
                name: tf.raw_ops.Placeholder(dtype=spec.dtype, shape=spec.shape)
                for name, spec in lent.results.items()
            }

        return tf.function(stand_in, input_signature=lent.arguments, autograph=False)


def read_saved_model(directory: str) -> saved_model_pb2.SavedModel:
    """Read a SavedModel's graph, without its variables.

    Args:
        directory: local or remote.
    """
    with tf.io.gfile.GFile(os.path.join(directory, contract.SAVED_MODEL_FILE), "rb") as file:
        return saved_model_pb2.SavedModel.FromString(file.read())


def child(nodes: Sequence[Any], parent: int, name: str) -> int | None:
    """Find an object's attribute in an object graph: its number, or None."""
    for reference in nodes[parent].children:
        if reference.local_name == name:
            return int(reference.node_id)
    return None


def weight_keys(checkpoint: Any) -> list[str]:
    """Say under which names a checkpoint has the variables of the list `weights`, in order.

    Args:
        checkpoint: what `tf.train.load_checkpoint` returned.
    """
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
        checkpoint.get_tensor(OBJECT_GRAPH)
    )
    place = child(graph.nodes, 0, WEIGHTS)
    if place is None:
        return []
    members = {int(each.local_name): each.node_id for each in graph.nodes[place].children}
    return [graph.nodes[members[number]].attributes[0].checkpoint_key for number in sorted(members)]


class _SavedObject:
    """A saved object, as its file describes it."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        (self._meta,) = read_saved_model(directory).meta_graphs
        self._nodes = self._meta.object_graph_def.nodes
        prefix = os.path.join(directory, VARIABLES)
        self._checkpoint = tf.train.load_checkpoint(prefix)

    def lender(self, name: str, functions: Sequence[str]) -> Lender:
        keys = weight_keys(self._checkpoint)
        numbers: list[int] = []
        place = child(self._nodes, 0, WEIGHTS)
        for number in range(len(keys)):
            found = None if place is None else child(self._nodes, place, str(number))
            if found is None:
                raise self._error(f"{WEIGHTS}/{number} is in its checkpoint alone")
            numbers.append(found)
        weights = [self._weight(n, key) for n, key in zip(numbers, keys, strict=True)]
        given = {number: index for index, number in enumerate(numbers)}
        constants: list[tensor_pb2.TensorProto] = []
        operations = {node.name: node for node in self._meta.graph_def.node}
        lent = {}
        for function in functions:
            concrete, described = self._function(function)
            captures: list[int | None] = []
            for number in described.bound_inputs:
                node = self._nodes[number]
                if number not in given and node.WhichOneof("kind") == "constant":
                    given[number] = len(given)
                    constants.append(operations[node.constant.operation].attr["value"].tensor)
                if number not in given and number != child(self._nodes, 0, STAND_IN):
                    raise self._error(f"{function} stands on more than {WEIGHTS} and constants")
                captures.append(given.get(number))
            lent[function] = Lent(concrete, captures, *_specs(described))
        library = {f.signature.name: f for f in self._meta.graph_def.library.function}
        known = self._meta.meta_info_def.stripped_op_list.op
        return Lender(name, weights, constants, lent, library, known)

    def _weight(self, number: int, key: str) -> Weight:
        variable = self._nodes[number].variable
        shape = tuple(dim.size for dim in variable.shape.dim)
        return Weight(variable.dtype, shape, lambda: self._checkpoint.get_tensor(key))

    def _function(self, name: str) -> tuple[str, Any]:
        number = child(self._nodes, 0, name)
        if number is None or not self._nodes[number].function.concrete_functions:
            raise self._error(f"it has no function {name}")
        (concrete,) = self._nodes[number].function.concrete_functions
        return concrete, self._meta.object_graph_def.concrete_functions[concrete]

    def _error(self, why: str) -> ValueError:
        return ValueError(f"{self._directory} can't lend: {why}")


def _specs(described: Any) -> tuple[list[tf.TensorSpec], dict[str, tf.TensorSpec]]:
    """Read arguments and results of a function, as a SavedModel describes it."""
    positional, _ = described.canonicalized_input_signature.tuple_value.values
    arguments = [_spec(value.tensor_spec_value) for value in positional.tuple_value.values]
    results = described.output_signature.dict_value.fields
    return arguments, {name: _spec(results[name].tensor_spec_value) for name in sorted(results)}


def _spec(value: Any) -> tf.TensorSpec:
    return tf.TensorSpec(tf.TensorShape(value.shape), tf.as_dtype(value.dtype), value.name or None)
