"""The kinds of executors that may run in any process: TFX's class and operator of each."""

from __future__ import annotations

from typing import Any, Final

from tfx.orchestration.portable.beam_executor_operator import BeamExecutorOperator
from tfx.orchestration.portable.python_executor_operator import PythonExecutorOperator
from tfx.proto.orchestration import executable_spec_pb2

# Name of a specification's class -> the class, and what calls such an executor.
OPERATORS: Final[dict[str, tuple[Any, Any]]] = {
    spec.__name__: (spec, operator)
    for spec, operator in (
        (executable_spec_pb2.PythonClassExecutableSpec, PythonExecutorOperator),
        (executable_spec_pb2.BeamExecutableSpec, BeamExecutorOperator),
    )
}
