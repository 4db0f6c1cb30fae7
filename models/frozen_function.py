"""A function of a SavedModel's module, as a graph with its weights; the file alone is read.

TensorFlow rebuilds a SavedModel in Python, node by node, and OpenVINO asks Python about each node
of what comes of that. A graph both read in C++, in a fraction of the time.

A function has variables as arguments, and reads them inside. Here it gets their values instead, and
its arguments, and the functions that it calls, get names that say nothing of the SavedModel they
come from. So a network has the same digest alone and as a member of a combination
(`models.linking`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import function_pb2, graph_pb2, types_pb2
from tensorflow.core.protobuf import trackable_object_graph_pb2

from models.cpu_session import cpu_session
from models.input_gate import PixelGate, pixel_gate_from_json
from models.lending import OBJECT_GRAPH, VARIABLES, child, read_saved_model
from models.rule import Rule, parse_rule

PIXELS: Final = "pixels"
_CALLS: Final = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_CALL: Final = "call"


@dataclass(frozen=True)
class FrozenFunction:
    """A function of pixels, and perhaps of more.

    Attributes:
        library: it, by the name `f0`, and what it calls.
        weights: its arguments behind those that it is called with.
        outputs: name -> its number among the results.
        arguments: the TensorSpecProto of each that it is called with; first the pixels'.
        versions: of the graph, as TensorFlow writes them.
    """

    library: Sequence[function_pb2.FunctionDef]
    weights: Sequence[np.ndarray]
    outputs: Mapping[str, int]
    arguments: Sequence[Any]
    versions: Any

    def graph(self, *, with_weights: bool) -> graph_pb2.GraphDef:
        """Make the graph: `pixels`, and `given1` and so on -> each output, by name.

        Args:
            with_weights: as constants; else they are placeholders, `w0`, `w1` and so on.
        """
        graph = graph_pb2.GraphDef(versions=self.versions)
        graph.library.function.extend(self.library)
        for name, spec in self._given():
            given = graph.node.add(name=name, op="Placeholder")
            given.attr["dtype"].type = spec.dtype
            given.attr["shape"].shape.CopyFrom(spec.shape)
        call = graph.node.add(name=_CALL, op="PartitionedCall")
        call.attr["f"].func.name = "f0"
        for name, spec in self._given():
            call.input.append(name)
            call.attr["Tin"].list.type.append(spec.dtype)
        for number, weight in enumerate(self.weights):
            node = graph.node.add(name=f"w{number}", op="Const" if with_weights else "Placeholder")
            node.attr["dtype"].type = tf.as_dtype(weight.dtype).as_datatype_enum
            if with_weights:
                node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weight))
            else:
                node.attr["shape"].shape.CopyFrom(tf.TensorShape(weight.shape).as_proto())
            call.input.append(node.name)
            call.attr["Tin"].list.type.append(node.attr["dtype"].type)
        for argument in self.library[-1].signature.output_arg:
            call.attr["Tout"].list.type.append(argument.type)
        for name, number in self.outputs.items():
            output = graph.node.add(name=name, op="Identity", input=[f"{_CALL}:{number}"])
            output.attr["T"].type = call.attr["Tout"].list.type[number]
        return graph

    def _given(self) -> Iterator[tuple[str, Any]]:
        for number, spec in enumerate(self.arguments):
            yield f"given{number}" if number else PIXELS, spec

    def digest(self) -> str:
        """Compute a digest of what it is; of another SavedModel's equal function, the same."""
        graph = self.graph(with_weights=False)
        # Where it was written with, which says nothing of what it does.
        graph.ClearField("versions")
        hasher = hashlib.sha256(graph.SerializeToString(deterministic=True))
        for weight in self.weights:
            hasher.update(f"\n{weight.dtype} {weight.shape}\n".encode())
            hasher.update(np.ascontiguousarray(weight).tobytes())
        return hasher.hexdigest()

    @contextlib.contextmanager
    def opened(self) -> Iterator[Callable[..., dict[str, np.ndarray]]]:
        """Have TensorFlow read it once, to be called several times as `__call__` is."""
        # As arguments, TensorFlow doesn't copy the weights while it simplifies the graph. In a
        # session, since eager functions' names are the whole process's.
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(self.graph(with_weights=False), name="")
        weights = {f"w{number}:0": weight for number, weight in enumerate(self.weights)}
        outputs = {name: f"{name}:0" for name in self.outputs}
        with contextlib.closing(cpu_session(graph)) as session:

            def call(*given: np.ndarray) -> dict[str, np.ndarray]:
                values = {
                    f"{name}:0": np.asarray(value, tf.as_dtype(spec.dtype).as_numpy_dtype)
                    for (name, spec), value in zip(self._given(), given, strict=True)
                }
                found: dict[str, np.ndarray] = session.run(outputs, weights | values)
                return found

            yield call

    def __call__(self, *given: np.ndarray) -> dict[str, np.ndarray]:
        """Run it in TensorFlow, on the CPU.

        Args:
            given: the pixels, and what else `arguments` has.
        """
        with self.opened() as call:
            return call(*given)


def read_gate(directory: str) -> PixelGate | None:
    """Read a SavedModel's input gate, the half that sees pixels; None where there is none.

    Args:
        directory: of the SavedModel, local or remote.
    """
    return SavedFile(directory).gate()


class SavedFile:
    """A SavedModel, as its file describes it."""

    def __init__(self, directory: str) -> None:
        """Read it.

        Args:
            directory: of the SavedModel, local or remote.

        Raises:
            ValueError: it isn't one graph with its objects.
            tf.errors.OpError: a file is missing or damaged.
        """
        (self._meta,) = read_saved_model(directory).meta_graphs
        self._nodes = self._meta.object_graph_def.nodes
        self._library = {
            each.signature.name: each for each in self._meta.graph_def.library.function
        }
        self._checkpoint = tf.train.load_checkpoint(os.path.join(directory, VARIABLES))
        self._keys = self._checkpoint_keys()

    @property
    def signatures(self) -> set[str]:
        """The names of its signatures."""
        return set(self._meta.signature_def)

    def has(self, path: str) -> bool:
        """Return whether its module has an attribute; `members/0` is the first of a list."""
        return self._find(path) is not None

    def rule(self) -> Rule | None:
        """Read the rule of a combination; see `models.rule.rule_of`."""
        text = self._text("written_rule")
        return None if text is None else parse_rule(text)

    def gate(self) -> PixelGate | None:
        """Read the half of the input gate that sees pixels; None where there is no gate."""
        text = self._text("written_gate")
        return None if text is None else pixel_gate_from_json(text)

    def _text(self, name: str) -> str | None:
        place = self._find(name)
        if place is None:
            return None
        text: bytes = self._checkpoint.get_tensor(self._keys[place])
        return text.decode()

    def freeze(self, path: str) -> FrozenFunction:
        """Take a function of pixels, and perhaps of more, out of it.

        Args:
            path: of the function.

        Raises:
            ValueError: there is none, or it does with a variable what isn't known here.
        """
        place = self._find(path)
        if place is None or len(self._nodes[place].function.concrete_functions) != 1:
            raise ValueError(f"there is no function {path}")
        (name,) = self._nodes[place].function.concrete_functions
        described = self._meta.object_graph_def.concrete_functions[name]
        freezing = _Freezing(self._library)
        freezing.freeze(name)
        library = freezing.functions
        specs, _ = described.canonicalized_input_signature.tuple_value.values
        arguments = [each.tensor_spec_value for each in specs.tuple_value.values]
        own = list(library[-1].signature.input_arg)
        given, behind = own[: len(arguments)], own[len(arguments) :]
        bound = dict(zip((each.name for each in behind), described.bound_inputs, strict=True))
        used = _used(library[-1]) & set(bound)
        kept = sorted((each for each in behind if each.name in used), key=_name)
        library[-1].signature.ClearField("input_arg")
        library[-1].signature.input_arg.extend([*given, *kept])
        heads = sorted(described.output_signature.dict_value.fields)
        return FrozenFunction(
            library,
            [self._value(bound[each.name]) for each in kept],
            {head: number for number, head in enumerate(heads)},
            arguments,
            self._meta.graph_def.versions,
        )

    def _find(self, path: str) -> int | None:
        place: int | None = 0
        for name in path.split("/"):
            place = None if place is None else child(self._nodes, place, name)
        return place

    def _checkpoint_keys(self) -> dict[int, str]:
        """Object -> the key of its value in the checkpoint, whose objects are numbered anew."""
        saved = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
            self._checkpoint.get_tensor(OBJECT_GRAPH)
        ).nodes
        places, waiting = {0: 0}, [0]
        while waiting:
            number = waiting.pop()
            there = {each.local_name: each.node_id for each in saved[places[number]].children}
            for each in self._nodes[number].children:
                if each.local_name in there and each.node_id not in places:
                    places[each.node_id] = there[each.local_name]
                    waiting.append(each.node_id)
        return {
            number: saved[place].attributes[0].checkpoint_key
            for number, place in places.items()
            if saved[place].attributes
        }

    def _value(self, number: int) -> np.ndarray:
        node = self._nodes[number]
        if node.WhichOneof("kind") == "constant":
            named = (n for n in self._meta.graph_def.node if n.name == node.constant.operation)
            return np.asarray(tf.make_ndarray(next(named).attr["value"].tensor))
        if number not in self._keys:
            raise ValueError("a function reads what is no variable")
        return np.asarray(self._checkpoint.get_tensor(self._keys[number]))


class _Freezing:
    """Functions that take values where they took variables, and names that are anybody's."""

    def __init__(self, library: Mapping[str, function_pb2.FunctionDef]) -> None:
        self._library = library
        # The called before the callers.
        self.functions: list[function_pb2.FunctionDef] = []
        # Function -> its new name, and the types of its arguments.
        self._done: dict[str, tuple[str, list[int]]] = {}
        self._started = 0

    def freeze(self, name: str) -> tuple[str, list[int]]:
        if name in self._done:
            return self._done[name]
        new, self._started = f"f{self._started}", self._started + 1
        function = function_pb2.FunctionDef()
        function.CopyFrom(self._library[name])
        arguments = function.signature.input_arg
        variables = {each.name: 0 for each in arguments if each.type == types_pb2.DT_RESOURCE}
        # `read:value:0` -> the argument.
        values: dict[str, str] = {}
        for node in function.node_def:
            taken = [i for i, source in enumerate(node.input) if source in variables]
            if node.op == "ReadVariableOp" and taken:
                variables[node.input[0]] = node.attr["dtype"].type
                values[node.name] = node.input[0]
            elif node.op in _CALLS:
                called, types = self.freeze(node.attr["f"].func.name)
                node.attr["f"].func.name = called
                for index in taken:
                    variables[node.input[index]] = node.attr["Tin"].list.type[index] = types[index]
            elif taken or node.op in self._library or _calls_functions(node):
                raise ValueError(f"{node.name} is a {node.op}, of which nothing is known here")
        _replace(function, values)
        for argument in arguments:
            argument.ClearField("handle_data")
            if argument.name in variables:
                # What nobody reads may be of any type.
                argument.type = variables[argument.name] or types_pb2.DT_FLOAT
        function.signature.name = new
        function.signature.is_stateful = False
        function.signature.ClearField("control_output")
        for field in ("arg_attr", "resource_arg_unique_id", "control_ret", "attr"):
            function.ClearField(field)
        self.functions.append(function)
        self._done[name] = new, [argument.type for argument in arguments]
        return self._done[name]


def _calls_functions(node: Any) -> bool:
    kinds = {value.WhichOneof("value") for value in node.attr.values()}
    return "func" in kinds or any(value.list.func for value in node.attr.values())


def _replace(function: function_pb2.FunctionDef, values: Mapping[str, str]) -> None:
    """Hand an argument on where what was read of it was handed on."""
    kept = [node for node in function.node_def if node.name not in values]
    for node in kept:
        sources = [values.get(source.partition(":")[0], source) for source in node.input]
        del node.input[:]
        # Without variables there is no order to be kept.
        node.input.extend(source for source in sources if not source.startswith("^"))
        for private in [key for key in node.attr if key.startswith("_")]:
            del node.attr[private]
        node.ClearField("experimental_debug_info")
    copies = [type(node).FromString(node.SerializeToString()) for node in kept]
    del function.node_def[:]
    function.node_def.extend(copies)
    for name, source in function.ret.items():
        function.ret[name] = values.get(source.partition(":")[0], source)


def _used(function: function_pb2.FunctionDef) -> set[str]:
    return {source for node in function.node_def for source in node.input} | {
        *function.ret.values()
    }


def _name(argument: Any) -> str:
    return str(argument.name)
