"""Reads a model's accuracy from the file that TFMA wrote, without importing TFMA.

TFMA's import takes five seconds and brings TensorFlow. What is needed is one message of its
metrics file: a TFRecord, and a Protocol Buffer that TFMA describes in a generated module.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf import wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from common.compat import message_class

_FILES: Final = "metrics*.tfrecord"
# A record: length (8 bytes), checksum of it (4), the data, checksum of them (4).
_LENGTH: Final = struct.Struct("<Q")
_HEADER, _FOOTER = 12, 4
# TFMA names the models only where there are two.
_CANDIDATE_NAMES: Final = ("", "candidate")
# As in `components.evaluator.eval_config` and `components.evaluator.metrics`, which import TFMA.
_ACCURACY: Final = "accuracy"
_COUNT: Final = "example_count"
_ONLY_CANDIDATE: Final = "mcnemar_only_candidate_right"
_ONLY_BASELINE: Final = "mcnemar_only_baseline_right"


class NoFiguresError(Exception):
    """Says why, as a clause."""


@dataclass(frozen=True)
class Figures:
    """What Evaluator counted on the whole test split.

    Attributes:
        correct: images that the model got right.
        total: images.
        only_candidate: that it alone got right, of it and its baseline; None without one.
        only_baseline: that its baseline alone got right; None without one.
    """

    correct: int
    total: int
    only_candidate: int | None = None
    only_baseline: int | None = None


def read_figures(evaluation_uri: str) -> Figures:
    """Say what Evaluator found out about a model.

    Args:
        evaluation_uri: of Evaluator's `evaluation`, on this machine.

    Raises:
        NoFiguresError: the files are gone, or damaged.
    """
    files = sorted(Path(evaluation_uri).glob(_FILES))
    if not files:
        raise NoFiguresError("is no longer on disk")
    try:
        metrics = next(filter(None, (_overall(record) for record in _records(files))), None)
        if metrics is None:
            raise NoFiguresError("doesn't hold the whole test split's metrics")
        return _figures(metrics)
    except (DecodeError, KeyError, OSError, ValueError, struct.error) as error:
        raise NoFiguresError("can't be read") from error


def _figures(metrics: dict[str, float]) -> Figures:
    accuracy, total = metrics[_ACCURACY], round(metrics[_COUNT])
    if not (math.isfinite(accuracy) and 0 <= accuracy <= 1):
        raise ValueError(accuracy)
    # TFMA's accuracy is a float32; rounding gives the count back up to millions of images.
    figures = Figures(round(accuracy * total), total)
    if _ONLY_BASELINE not in metrics:
        return figures
    return Figures(
        figures.correct, total, round(metrics[_ONLY_CANDIDATE]), round(metrics[_ONLY_BASELINE])
    )


def _overall(record: bytes) -> dict[str, float] | None:
    """The candidate's metrics by name, if the record is that of the whole test split."""
    message: Any = metrics_message().FromString(record)
    if message.slice_key.single_slice_keys:
        return None
    return {
        item.key.name: item.value.double_value.value
        for item in message.metric_keys_and_values
        if _of_the_candidate(item.key) and item.value.WhichOneof("type") == "double_value"
    }


def _of_the_candidate(key: Any) -> bool:
    return key.model_name in _CANDIDATE_NAMES and not key.is_diff and not key.HasField("sub_key")


def _records(files: list[Path]) -> Iterator[bytes]:
    for file in files:
        content = file.read_bytes()
        at = 0
        while at < len(content):
            (length,) = _LENGTH.unpack_from(content, at)
            start, at = at + _HEADER, at + _HEADER + length + _FOOTER
            if at > len(content):
                raise ValueError(f"{file} is cut short")
            yield content[start : start + length]


@functools.cache
def metrics_message() -> type[Message]:
    """TFMA's message MetricsForSlice, from a pool of protobuf's that nobody else uses.

    To execute TFMA's generated module under another name would be wrong: in protobuf's own pool
    the classes of the last execution take the place of those before, and where those are TFMA's
    in use, Beam can't pickle what it computes. So only the description in the module is taken.
    """
    package = importlib.util.find_spec("tensorflow_model_analysis")
    assert package is not None and package.submodule_search_locations
    generated = Path(package.submodule_search_locations[0], "proto", "metrics_for_slice_pb2.py")
    pool = DescriptorPool()
    # The one file that it imports.
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(_description(generated))
    described = pool.FindMessageTypeByName("tensorflow_model_analysis.MetricsForSlice")
    return message_class(described)


def _description(generated: Path) -> bytes:
    """The serialized FileDescriptorProto that protoc wrote into a module, as a literal."""
    for node in ast.walk(ast.parse(generated.read_bytes())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".AddSerializedFile"):
            description: bytes = ast.literal_eval(node.args[0])
            return description
    raise ImportError(f"{generated} holds no description of its messages", path=str(generated))
