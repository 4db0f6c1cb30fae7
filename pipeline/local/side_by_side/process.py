"""A process that executes nodes for a run, one after the other, until the run ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Literal

from common.errors import InputError
from common.own_files import let_go
from common.progress import PROGRESS
from common.runtime import prepare_environment, quick_tfx_import
from pipeline.local.progress import log_at_info
from pipeline.local.side_by_side.cores import shared_cores

# What a process is sent: the name of a class of `executable_spec_pb2`, the bytes of such an
# executor's specification, and those of an ExecutionInvocation.
Call = tuple[str, bytes, bytes]
# What is sent back of a node: how far it is, and then one of the others.
Said = (
    tuple[Literal["progress"], tuple[Any, ...]]
    | tuple[Literal["done"], bytes]
    | tuple[Literal["input error", "error"], str]
)
# The process has nothing to lose but the node under way, which a next run executes anew.
_ABANDONED: Final = 1


# Sent to a process that was forked: it does what hangs where a fork has lost TensorFlow's threads.
TRIAL: Final[Call] = ("trial", b"", b"")
_TRIED: Final = 1 << 20


class NodeError(RuntimeError):
    """A node failed in another process, whose log has the traceback."""


def reason_of(error: BaseException) -> Exception:
    """Find what an error comes from: the user's own mistake, or else the first that says something.

    Args:
        error: as it came out of an executor or of TFX's launcher.

    Returns:
        The InputError beneath it, where there is one, else a NodeError.
    """
    seen: BaseException | None = error
    said = ""
    while seen is not None:
        if isinstance(seen, InputError):
            return seen
        # TFX's own errors may say nothing: what led to them does.
        said = said or str(seen).strip()
        seen = seen.__cause__ or seen.__context__
    return NodeError(said or type(error).__name__)


def serve(channel: Connection, processes: int) -> None:
    """Execute what comes through the channel, and answer, until it is closed.

    Standard error is the run's, so that the run's log has what this process logs.

    Args:
        channel: brings `Call`, takes `Said`.
        processes: that share the cores.
    """
    let_go()
    # Ctrl-C reaches all processes of a terminal; the run decides what it means here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    prepare_environment()
    with quick_tfx_import():
        import tfx.v1  # noqa: F401
    log_at_info()
    sending = threading.Lock()

    def say(said: Said) -> None:
        with sending:
            channel.send(said)

    def pass_on(record: logging.LogRecord) -> bool:
        if record.msg == PROGRESS and isinstance(record.args, tuple):
            say(("progress", record.args))
            # The run logs it.
            return False
        return True

    logging.getLogger("absl").addFilter(pass_on)
    with shared_cores(processes):
        while True:
            try:
                call: Call = channel.recv()
            except EOFError:
                return
            say(_answer(call))


def _answer(call: Call) -> Said:
    try:
        return "done", _execute(*call)
    except Exception as error:
        logging.getLogger("absl").exception("A node failed in a process of its own.")
        reason = reason_of(error)
        return ("input error" if isinstance(reason, InputError) else "error"), str(reason)


def _execute(kind: str, spec: bytes, invocation: bytes) -> bytes:
    """Call the executor as TFX's launcher would; return the bytes of an ExecutorOutput."""
    if kind == TRIAL[0]:
        import tensorflow as tf

        # So many that they are shared out among threads.
        tf.random.stateless_uniform([_TRIED], seed=(0, 0)).numpy()
        return b""
    from tfx.orchestration.portable import data_types
    from tfx.proto.orchestration import execution_invocation_pb2

    from pipeline.local.side_by_side.operators import OPERATORS

    spec_class, operator = OPERATORS[kind]
    info = data_types.ExecutionInfo.from_proto(
        execution_invocation_pb2.ExecutionInvocation.FromString(invocation)
    )
    output: bytes = operator(spec_class.FromString(spec)).run_executor(info).SerializeToString()
    return output


def _end_with_the_run() -> None:
    """End at once when the run's process does, were it by SIGKILL."""
    parent = parent_process()
    if parent is not None:
        with contextlib.suppress(OSError):
            wait([parent.sentinel])
        os._exit(_ABANDONED)
