"""More arguments for the functions of a graph that hand one certain argument on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tensorflow.core.framework import (
    function_pb2,
    graph_pb2,
    node_def_pb2,
    op_def_pb2,
    tensor_pb2,
    tensor_shape_pb2,
    types_pb2,
)

_LOOP_BODY: Final = "body"
_SHAPES: Final = "_output_shapes"
# Which inputs of a call are variables that it only reads.
_READ_ONLY: Final = "_read_only_resource_inputs"
INPUT_SHAPES: Final = "_input_shapes"
# Types of what a call or a loop hands on.
_TYPES: Final = ("Tin", "T")
# Operations whose first input is not handed on: it decides which function is called.
_BRANCHES: Final = ("If", "StatelessIf", "Case", "StatelessCase")


@dataclass(frozen=True)
class Given:
    """A variable or a constant that functions get.

    Attributes:
        name: of its node.
        dtype: of the values, a TensorFlow enum.
        shape: of the value.
        constant: None for a variable.
    """

    name: str
    dtype: int
    shape: tensor_shape_pb2.TensorShapeProto
    constant: tensor_pb2.TensorProto | None = None

    @property
    def handed_on(self) -> tuple[int, tensor_shape_pb2.TensorShapeProto]:
        """Type and shape of the argument: of a variable, its handle's."""
        if self.constant is None:
            return types_pb2.DT_RESOURCE, tensor_shape_pb2.TensorShapeProto()
        return self.dtype, self.shape

    def node(self) -> node_def_pb2.NodeDef:
        """Make the node by which a graph has it."""
        node = node_def_pb2.NodeDef(name=self.name, op="Const" if self.constant else "VarHandleOp")
        node.attr["dtype"].type = self.dtype
        if self.constant:
            node.attr["value"].tensor.CopyFrom(self.constant)
        else:
            node.attr["shape"].shape.CopyFrom(self.shape)
            node.attr["shared_name"].s = self.name.encode()
        node.attr[_SHAPES].list.shape.append(self.handed_on[1])
        return node

    def argument(self, name: str) -> op_def_pb2.OpDef.ArgDef:
        """Make the argument by which a function has it."""
        found = op_def_pb2.OpDef.ArgDef(name=name, type=self.handed_on[0])
        if self.constant is None:
            found.handle_data.add(dtype=self.dtype, shape=self.shape)
        return found


def insert(values: MutableSequence[Any], index: int, new: Iterable[Any]) -> None:
    """Insert into a message's list."""
    behind = list(values[index:])
    del values[index:]
    values.extend(new)
    values.extend(behind)


def references(nodes: Iterable[node_def_pb2.NodeDef]) -> list[Any]:
    """Find all places in a body that name a function."""
    return [reference for node in nodes for _, reference in _called(node)]


def _called(node: node_def_pb2.NodeDef) -> list[tuple[str, Any]]:
    found = []
    for name, value in node.attr.items():
        if value.HasField("func") and value.func.name:
            found.append((name, value.func))
        found += [(name, reference) for reference in value.list.func if reference.name]
    return found


class Inserter:
    """Hands something on wherever a graph hands on one variable, in the places behind it."""

    def __init__(self, graph: graph_pb2.GraphDef, suffix: str, given: Sequence[Given]) -> None:
        """Take the graph; `insert` changes it.

        Args:
            graph: with the nodes of what is given.
            suffix: of the new arguments' names.
            given: what is handed on.
        """
        self._graph = graph
        self._functions = {f.signature.name: f for f in graph.library.function}
        self._suffix = suffix
        self._given = given

    def insert(self, handle: str, seeds: Mapping[str, int], passed_over: Iterable[str]) -> None:
        """Change the graph.

        Args:
            handle: the variable's node.
            seeds: function -> which of its arguments is the variable, counted from the end, -1
                the last; further functions are found.
            passed_over: nodes that keep their inputs.

        Raises:
            ValueError: a function has the variable as two of its arguments.
        """
        skipped = set(passed_over)
        calls = [n for n in self._graph.node if handle in n.input and n.name not in skipped]
        calls = [node for node in calls if _called(node)]
        places, bodies = self._places(seeds, [(node, handle) for node in calls])
        for node in calls:
            self._hand_on(node, handle, [each.name for each in self._given])
        for name, place in places.items():
            self._take(self._functions[name], place, returned=name in bodies)

    def _places(
        self, seeds: Mapping[str, int], calls: Sequence[tuple[node_def_pb2.NodeDef, str]]
    ) -> tuple[dict[str, int], set[str]]:
        """Say which argument of which function the variable is, and which are bodies of loops."""
        places: dict[str, int] = {}
        bodies: set[str] = set()
        waiting = [
            (name, len(self._functions[name].signature.input_arg) + place)
            for name, place in seeds.items()
        ]
        for node, handle in calls:
            waiting += self._handed(node, handle, bodies)
        while waiting:
            name, place = waiting.pop()
            if places.setdefault(name, place) != place:
                raise ValueError(f"{name} has one variable as two arguments")
            function = self._functions[name]
            argument = function.signature.input_arg[place].name
            for node in function.node_def:
                if argument in node.input:
                    found = self._handed(node, argument, bodies)
                    waiting += [each for each in found if each[0] not in places]
        return places, bodies

    @staticmethod
    def _handed(
        node: node_def_pb2.NodeDef, argument: str, bodies: set[str]
    ) -> list[tuple[str, int]]:
        place = list(node.input).index(argument) - (node.op in _BRANCHES)
        called = _called(node)
        bodies |= {function.name for attribute, function in called if attribute == _LOOP_BODY}
        return [(function.name, place) for _, function in called]

    def _hand_on(self, node: node_def_pb2.NodeDef, argument: str, names: Sequence[str]) -> None:
        """Hand what is given to what a node calls."""
        place = list(node.input).index(argument)
        insert(node.input, place + 1, names)
        types, shapes = zip(*(each.handed_on for each in self._given), strict=True)
        behind = place + 1 - (node.op in _BRANCHES)
        for name in _TYPES:
            if name in node.attr:
                insert(node.attr[name].list.type, behind, types)
        if _is_loop(node):
            for name in ("output_shapes", _SHAPES):
                insert(node.attr[name].list.shape, behind, shapes)
        if _READ_ONLY in node.attr:
            read = node.attr[_READ_ONLY].list.i
            count = len(self._given)
            inputs = [index + count * (index > place) for index in read]
            if place in inputs:
                variables = [n for n, each in enumerate(self._given) if each.constant is None]
                inputs += [place + 1 + number for number in variables]
            read[:] = sorted(inputs)

    def _take(self, function: function_pb2.FunctionDef, place: int, *, returned: bool) -> None:
        """Have a function take what is given and hand it on."""
        argument = function.signature.input_arg[place].name
        count = len(self._given)
        names = [f"{argument}_{self._suffix}_{number}" for number in range(count)]
        new = [each.argument(name) for each, name in zip(self._given, names, strict=True)]
        for node in function.node_def:
            if argument in node.input and _called(node):
                if _is_loop(node):
                    _shift_outputs(function, node.name, list(node.input).index(argument), count)
                self._hand_on(node, argument, names)
        insert(function.signature.input_arg, place + 1, new)
        kept = dict(function.arg_attr.items())
        copies = {
            index: type(value).FromString(value.SerializeToString())
            for index, value in kept.items()
        }
        function.arg_attr.clear()
        for index, value in copies.items():
            function.arg_attr[index + count * (index > place)].CopyFrom(value)
        if INPUT_SHAPES in function.attr:
            shapes = [each.handed_on[1] for each in self._given]
            insert(function.attr[INPUT_SHAPES].list.shape, place + 1, shapes)
        if returned:
            # A loop's body returns what it was given.
            results = [
                each.argument(f"{name}_out") for each, name in zip(self._given, names, strict=True)
            ]
            insert(function.signature.output_arg, place + 1, results)
            for name in names:
                function.ret[f"{name}_out"] = name


def _is_loop(node: node_def_pb2.NodeDef) -> bool:
    return _LOOP_BODY in node.attr


def _shift_outputs(function: function_pb2.FunctionDef, name: str, place: int, count: int) -> None:
    """Renumber the outputs of a loop behind one of them."""
    prefix = f"{name}:output:"

    def shifted(reference: str) -> str:
        if not reference.startswith(prefix):
            return reference
        number = int(reference.removeprefix(prefix))
        return f"{prefix}{number + count * (number > place)}"

    for node in function.node_def:
        node.input[:] = [shifted(reference) for reference in node.input]
    for result, reference in list(function.ret.items()):
        function.ret[result] = shifted(reference)
