"""A network, taken apart: trunks, which other models may have, too, and a head of its own.

A trunk is a backbone: its convolutions, and all before and behind them up to the pooled vectors.
Behind those stands the head. Parts are known by what they compute: a value's digest is made of its
operation, its attributes, its constants, and its inputs' digests. So the same backbone is found in
any model that has it, with other heads, other names, or beside other backbones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.openvino_runtime import import_openvino

_CONVOLUTIONS: Final = frozenset({"Convolution", "GroupConvolution"})
# They hold graphs of their own, which their attributes don't tell.
_WITH_BODIES: Final = frozenset({"If", "Loop", "TensorIterator"})
# A pooled vector is [1, channels].
_VECTOR_RANK: Final = 2


@dataclass(frozen=True)
class Part:
    """A network, or what was cut from one.

    Attributes:
        key: hex digest of what it computes.
        outputs: their names.
        model: `openvino.Model`.
    """

    key: str
    outputs: tuple[str, ...]
    model: Any


@dataclass(frozen=True)
class Parted:
    """A network in parts.

    Attributes:
        trunks: pixels float32 [1, 256, 256, 1] -> vectors, each named by its digest.
        head: the vectors -> the network's outputs; None where the one trunk is all of it.
    """

    trunks: tuple[Part, ...]
    head: Part | None


class _OpaqueError(Exception):
    """A value whose digest can't be told."""


def take_apart(model: Any, fallback_key: str) -> Parted:
    """Cut a network behind its pooled vectors.

    Args:
        model: `openvino.Model` of static shapes with one input, its outputs named; it is used up.
        fallback_key: the key of a network of which nothing can be told; of no other one.

    Returns:
        Its parts; one, where it isn't built as said above.
    """
    outputs = tuple(port.get_any_name() for port in model.outputs)
    _write_out_shapes(model)
    try:
        digests = _digests(model)
    except _OpaqueError:
        return Parted((Part(fallback_key, outputs, model),), None)
    ends = [digests[_name(result)] for result in model.results]
    key = _key([*outputs, *ends])
    cuts = _cuts(model)
    if not cuts:
        return Parted((Part(key, outputs, model),), None)
    trunks = tuple(_trunk(model, nodes, digests) for nodes in cuts)
    vectors = [node for nodes in cuts for node in nodes]
    return Parted(trunks, Part(key, outputs, _head(model, vectors, digests)))


def _write_out_shapes(model: Any) -> None:
    """Put a constant in the place of each question for a map's shape, which is static.

    A head that fills in zeros for an image (`models.table_signature.nothing`) asks so. Its answer
    is made of the map, and of rank 1; but it is no pooled vector.
    """
    openvino = import_openvino()
    for node in model.get_ordered_ops():
        if node.get_type_name() != "ShapeOf" or _rank(_sources(node)[0]) <= _VECTOR_RANK:
            continue
        shape = list(node.input(0).get_shape())
        constant = openvino.opset13.constant(shape, node.get_output_element_type(0))
        for reader in node.output(0).get_target_inputs():
            reader.replace_source_output(constant.output(0))


def _name(node: Any) -> str:
    # OpenVINO's own, which no two nodes of a process share; the friendly name is the model's.
    return str(node.get_name())


def _key(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _sources(node: Any) -> list[Any]:
    return [value.get_node() for value in node.input_values()]


def _digests(model: Any) -> dict[str, str]:
    """Node -> hex digest of what it computes.

    Raises:
        _OpaqueError: a node holds what can't be read.
    """
    found: dict[str, str] = {}
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        hasher = hashlib.sha256(f"{node.get_type_info()}\n".encode())
        if kind == "Constant":
            hasher.update(_constant(node))
        elif kind == "Parameter":
            hasher.update(f"{node.get_element_type()} {node.get_output_partial_shape(0)}".encode())
        else:
            hasher.update(_attributes(node).encode())
        for value in node.input_values():
            hasher.update(f"\n{found[_name(value.get_node())]} {value.get_index()}".encode())
        found[_name(node)] = hasher.hexdigest()
    return found


def _constant(node: Any) -> bytes:
    try:
        data = np.ascontiguousarray(node.data)
    # OpenVINO has types of numbers that NumPy hasn't.
    except Exception as error:
        raise _OpaqueError(str(error)) from error
    described = f"{node.get_element_type()} {data.dtype} {data.shape}\n"
    return described.encode() + data.tobytes()


def _attributes(node: Any) -> str:
    if node.get_type_name() in _WITH_BODIES:
        raise _OpaqueError(node.get_type_name())
    try:
        return json.dumps(node.get_attributes(), sort_keys=True)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _OpaqueError(str(error)) from error


def _cuts(model: Any) -> list[list[Any]]:
    """Find the nodes that make the pooled vectors, by the trunk that they belong to.

    Returns:
        None where there is more to the network than trunks and a head.
    """
    trunks = _trunks_of(model)
    vectors: dict[int, list[Any]] = {}
    cut: set[str] = set()
    for node in model.get_ordered_ops():
        (trunk, *others) = sorted(trunks[_name(node)]) or [-1]
        fed = [source for source in _sources(node) if trunks[_name(source)]]
        pools = all(_rank(source) > _VECTOR_RANK for source in fed)
        if trunk >= 0 and not others and pools and 0 < _rank(node) <= _VECTOR_RANK:
            vectors.setdefault(trunk, []).append(node)
            cut.add(_name(node))
    if not vectors or any(node.get_output_size() != 1 for ns in vectors.values() for node in ns):
        return []
    for node in _behind(model, cut):
        if node.get_type_name() == "Parameter" or node.get_type_name() in _CONVOLUTIONS:
            return []
    return list(vectors.values())


def _rank(node: Any) -> int:
    """Dimensions of a node's first output; of a result, which is no value, 0."""
    if node.get_type_name() == "Result":
        return 0
    return int(node.get_output_partial_shape(0).rank.get_length())


def _trunks_of(model: Any) -> dict[str, set[int]]:
    """Node -> the trunks that its value comes from.

    Convolutions belong together where one comes from another.
    """
    joined: list[int] = []

    def root(trunk: int) -> int:
        while joined[trunk] != trunk:
            trunk = joined[trunk]
        return trunk

    found: dict[str, set[int]] = {}
    for node in model.get_ordered_ops():
        trunks = {root(t) for source in _sources(node) for t in found[_name(source)]}
        if node.get_type_name() in _CONVOLUTIONS:
            first = min(trunks, default=len(joined))
            if not trunks:
                joined.append(first)
            for trunk in trunks:
                joined[trunk] = first
            trunks = {first}
        found[_name(node)] = trunks
    return {name: {root(trunk) for trunk in trunks} for name, trunks in found.items()}


def _behind(model: Any, cut: set[str]) -> list[Any]:
    """List the nodes between the outputs and the cut."""
    seen: set[str] = set()
    found, waiting = [], list(model.results)
    while waiting:
        node = waiting.pop()
        if _name(node) not in seen and _name(node) not in cut:
            seen.add(_name(node))
            found.append(node)
            waiting += _sources(node)
    return found


def _trunk(model: Any, vectors: Sequence[Any], digests: dict[str, str]) -> Part:
    openvino = import_openvino()
    # By digest: the order in which a graph is gone through is OpenVINO's own.
    by_digest = {digests[_name(node)]: node for node in vectors}
    names = tuple(sorted(by_digest))
    results = []
    for name in names:
        port = by_digest[name].output(0)
        port.get_tensor().set_names({name})
        results.append(openvino.opset13.result(port))
    trunk = openvino.Model(results, model.get_parameters(), "trunk")
    return Part(_key(names), names, trunk.clone())


def _head(model: Any, vectors: Sequence[Any], digests: dict[str, str]) -> Any:
    openvino = import_openvino()
    parameters = {}
    for node in vectors:
        name, port = digests[_name(node)], node.output(0)
        if name not in parameters:
            parameter = openvino.opset13.parameter(port.get_shape(), port.get_element_type())
            parameter.output(0).get_tensor().set_names({name})
            parameters[name] = parameter
        for reader in port.get_target_inputs():
            reader.replace_source_output(parameters[name].output(0))
    return openvino.Model(model.get_results(), list(parameters.values()), "head").clone()
