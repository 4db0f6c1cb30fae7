"""The differences between the two generations of TFX: only this module knows them.

A generation is TFX 1.16 on Python 3.10 or TFX 1.21 on Python 3.11 to 3.13. Everything else in
this project is written so that it means the same in both. Each entry says what it bridges, and
when it can go. Nothing heavy is imported until an entry is used.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import inspect
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from common.stderr import stderr_to

if TYPE_CHECKING:
    from google.protobuf.message import Message


# Of the C++ logger that TensorFlow 2.21 brings: what has no more to say than information.
_INFORMATION: Final = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\) |I\d{4} \d\d:\d\d:\d\d"
)
_LEGACY_KERAS: Final = "TF_USE_LEGACY_KERAS is set to"


def whole_message(message: Message) -> dict[str, Any]:
    """Return a message as JSON has it: its fields' own names, and defaults, too.

    protobuf 6 (TFX 1.21) calls the option by another name than protobuf 3.20 (TFX 1.16). Goes
    with TFX 1.16.
    """
    from google.protobuf import json_format

    known = inspect.signature(json_format.MessageToDict).parameters
    new, old = "always_print_fields_with_no_presence", "including_default_value_fields"
    options: dict[str, Any] = {new if new in known else old: True}
    found: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, **options
    )
    return found


def message_class(descriptor: Any) -> Any:
    """Return the class of a message that is described at run time.

    protobuf 6 (TFX 1.21) has a function for it, and protobuf 3.20 (TFX 1.16) a method. Goes with
    TFX 1.16.

    Args:
        descriptor: of the message, out of a pool.
    """
    from google.protobuf import message_factory

    make = getattr(message_factory, "GetMessageClass", None)
    return make(descriptor) if make else message_factory.MessageFactory().GetPrototype(descriptor)


def ask_kfp_health(api: Any) -> Any:
    """Ask a KFP API server for its health, once.

    kfp-server-api 2.17 (TFX 1.21) gave its methods longer names than 2.0 (TFX 1.16) has. Goes
    with TFX 1.16.

    Args:
        api: a `kfp_server_api.HealthzServiceApi`.

    Raises:
        kfp_server_api.ApiException: the server answers with an error.
    """
    ask = getattr(api, "healthz_service_get_healthz", None) or api.get_healthz
    return ask()


def let_openvino_convert() -> None:
    """Make OpenVINO's TensorFlow frontend work on Python 3.13.

    Before each conversion it makes a variable in one `exec` and deletes it in a second, to learn
    TensorFlow's version. Since Python 3.13 (PEP 667) the second no longer sees it, and NameError
    ends the conversion. So the question is answered here. Goes when OpenVINO (2026.4 still does
    it) converts on 3.13 by itself: tests/models/test_engines.py runs without it then.
    """
    from openvino.frontend.tensorflow import utils

    ask_for_all_but_tensorflow = utils.get_environment_setup
    if ask_for_all_but_tensorflow.__module__ == __name__:
        return

    def get_environment_setup(framework: str) -> dict[str, str]:
        import tensorflow as tf

        found: dict[str, str] = ask_for_all_but_tensorflow("")
        return {**found, "tensorflow": tf.__version__} if framework == "tf" else found

    utils.get_environment_setup = get_environment_setup


def keep_start_quiet() -> None:
    """Leave out what TensorFlow and Transform write about themselves when they are imported.

    TensorFlow 2.21's library writes that it finds no GPU while it is loaded, before it looks at
    TF_CPP_MIN_LOG_LEVEL; and Transform 1.21 warns that Keras is not Keras 2, which is on purpose.
    Neither says anything that `cxr doctor` or the run doesn't. All else gets through. Goes when
    TensorFlow heeds the variable while it is loaded, and Transform knows Keras 3.
    """
    absl = logging.getLogger("absl")
    if _no_legacy_keras not in absl.filters:
        absl.addFilter(_no_legacy_keras)
    if "tensorflow" not in sys.modules and not any(
        isinstance(finder, _QuietTensorFlow) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _QuietTensorFlow())


def _no_legacy_keras(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_LEGACY_KERAS)


class _QuietTensorFlow:
    """A finder that imports TensorFlow as Python would, but without its information."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def quietly(module: ModuleType) -> None:
                with _without_information():
                    execute(module)

            # Of this loader alone.
            spec.loader.exec_module = quietly  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def _without_information() -> Iterator[None]:
    """Hold back standard error, the file descriptor, and then hand on all but information."""
    try:
        os.fstat(2)
    except OSError:  # There is none.
        yield
        return
    with tempfile.TemporaryFile() as held:
        try:
            with stderr_to(held):
                yield
        finally:
            held.seek(0)
            for line in held:
                if not _INFORMATION.match(line):
                    os.write(2, line)
