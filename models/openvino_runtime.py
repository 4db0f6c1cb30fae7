"""OpenVINO itself: how it is imported, and what this CPU multiplies. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import functools
import logging
import platform
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from common.compat import let_openvino_convert

if TYPE_CHECKING:
    from types import ModuleType

CPUINFO: Final = Path("/proc/cpuinfo")
# Instructions that multiply bf16 numbers, in the kernel's spelling.
_BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
_AMD: Final = "AuthenticAMD"
# And those that multiply int8 numbers into int32 sums. Without them OpenVINO's int8 saturates at
# 16 bits, and is slow.
_INT8_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
# Prefixes of those that matrix kernels are chosen by, on x86 and on ARM.
_WIDE: Final = ("amx", "asimd", "avx", "bf16", "f16c", "fma", "i8mm", "sme", "sve")
_CONVERTING: Final = threading.Lock()


def import_openvino() -> ModuleType:
    """Import OpenVINO; every import of this project goes through here.

    Unless told otherwise, its package `openvino_telemetry` reports each import and
    conversion to the maker and leaves files in the home folder. Where that package can't be
    imported, OpenVINO takes a stand-in of its own that does nothing.

    Raises:
        ImportError: it isn't installed, or can't be loaded here.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


@functools.cache
def import_nncf() -> ModuleType:
    """Import NNCF, which quantises OpenVINO's models; nothing is reported with it, either.

    Raises:
        ImportError: it isn't installed, or can't be loaded here.
    """
    # First: NNCF looks for `openvino_telemetry`, too, when it is imported.
    import_openvino()
    import nncf
    from nncf.common.logging.track_progress import track

    # Else it tells of each of its steps, and draws progress bars, which it has no setting for.
    nncf.set_log_level(logging.ERROR)
    track.__init__ = functools.partialmethod(track.__init__, disable=True)
    return nncf


def convert(network: Any) -> Any:
    """Make an `openvino.Model` of a traced TensorFlow function.

    Args:
        network: a `tf.types.experimental.ConcreteFunction`.

    Raises:
        Exception: OpenVINO can't take it, and has no class of its own for that.
    """
    openvino = import_openvino()
    let_openvino_convert()
    with _root_logger_kept(), _variables_found_at_once():
        return openvino.convert_model(network)


def convert_graph(graph: Any) -> Any:
    """Make an `openvino.Model` of a graph without variables, which OpenVINO reads by itself.

    Args:
        graph: `tf.compat.v1.GraphDef`.

    Raises:
        Exception: as `convert`.
    """
    openvino = import_openvino()
    let_openvino_convert()
    with tempfile.NamedTemporaryFile(suffix=".pb") as file:
        file.write(graph.SerializeToString())
        file.flush()
        with _root_logger_kept():
            model = openvino.convert_model(file.name)
        # Constants may still be mapped from the file, which goes.
        return model.clone()


@contextlib.contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Give back the root logger as it was; one thread at a time.

    OpenVINO (2026.4.1) sets its level to ERROR while it converts, puts back what it found, and not
    even that where a conversion fails. Two at once find each other's level.
    """
    with _CONVERTING:
        root = logging.getLogger()
        level, filters, handlers = root.level, list(root.filters), list(root.handlers)
        try:
            yield
        finally:
            root.setLevel(level)
            root.filters, root.handlers = filters, handlers


@contextlib.contextmanager
def _variables_found_at_once() -> Iterator[None]:
    """Let OpenVINO look up a graph's variables, and not search them; one thread at a time.

    Its frontend (2026.4.1) goes through all captured tensors and all variables for each of several
    questions about each of them: with the 836 of three networks, 20 of 23 s. The answers are the
    same (tests/models/test_openvino_runtime.py).
    """
    from openvino.frontend.tensorflow.node_decoder import TFGraphNodeDecoder

    search = TFGraphNodeDecoder.get_variable
    # Graph -> name of what it captured -> tensor or variable; None for neither, as a table.
    known: dict[Any, dict[str, Any]] = {}

    def get_variable(operation: Any) -> Any:
        graph = operation.graph
        if not hasattr(graph, "captures"):
            return search(operation)
        if graph not in known:
            known[graph] = _captured(graph)
        return known[graph].get(operation.outputs[0].name)

    TFGraphNodeDecoder.get_variable = staticmethod(get_variable)
    try:
        yield
    finally:
        TFGraphNodeDecoder.get_variable = staticmethod(search)


def _captured(graph: Any) -> dict[str, Any]:
    variables = {id(variable.handle): variable for variable in graph.variables}
    found = {}
    for outside, inside in graph.captures:
        if outside.dtype.name != "resource":
            found[inside.name] = outside
        elif id(outside) in variables:
            found[inside.name] = variables[id(outside)].read_value_no_copy()
    return found


def has_bf16(cpuinfo: Path = CPUINFO) -> bool:
    """Return whether this CPU multiplies bf16 numbers.

    OpenVINO's own list of capabilities has BF16 wherever AVX-512 is, emulated if need be.

    Args:
        cpuinfo: the kernel's description of the CPUs; where it can't be read, the answer
            is no.
    """
    return not _BF16_FLAGS.isdisjoint(_flags(cpuinfo))


def gains_by_bf16(cpuinfo: Path = CPUINFO) -> bool:
    """Return whether networks are faster in bf16 on this CPU, by what was measured.

    With AMX they are (4 to 6 times), and with `avx512_bf16` on AMD (2.2 to 2.6 times). On Intel
    `avx512_bf16` alone, as a virtual machine may show it without AMX, takes 1.3 to 1.9 times as
    long as float32 (docs/benchmarks.md, "Featurizer").

    Args:
        cpuinfo: as in `has_bf16`.
    """
    flags = _flags(cpuinfo)
    return "amx_bf16" in flags or ("avx512_bf16" in flags and _field(cpuinfo, "vendor_id") == _AMD)


def has_int8(cpuinfo: Path = CPUINFO) -> bool:
    """Return whether this CPU multiplies int8 numbers: VNNI or AMX.

    Args:
        cpuinfo: as in `has_bf16`.
    """
    return not _INT8_FLAGS.isdisjoint(_flags(cpuinfo))


def low_precision(cpuinfo: Path = CPUINFO) -> list[str]:
    """List this CPU's instructions for bf16 and int8, in the kernel's spelling.

    Args:
        cpuinfo: as in `has_bf16`; where it can't be read, there are none.
    """
    return sorted((_BF16_FLAGS | _INT8_FLAGS).intersection(_flags(cpuinfo)))


def cpu_name(cpuinfo: Path = CPUINFO) -> str:
    """Return the name that the kernel has for this CPU; empty where it has none.

    Args:
        cpuinfo: as in `has_bf16`.
    """
    return _field(cpuinfo, "model name")


def instruction_sets(cpuinfo: Path = CPUINFO) -> list[str]:
    """List what a CPU's kernels are chosen by: its family, and its wide instructions.

    Args:
        cpuinfo: as in `has_bf16`; where it can't be read, the family alone.
    """
    wide = (flag for flag in _flags(cpuinfo) if flag.startswith(_WIDE))
    return [platform.machine(), *sorted(set(wide))]


def _flags(cpuinfo: Path) -> list[str]:
    return (_field(cpuinfo, "flags") or _field(cpuinfo, "Features")).split()


def _field(cpuinfo: Path, name: str) -> str:
    """Read a field of the first CPU; empty where it has none."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for field, _, value in fields if field.strip() == name), "")
