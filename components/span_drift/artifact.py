"""The artifact type of the drift between spans, and its file."""

from __future__ import annotations

import json
from typing import Any, Final

import tensorflow as tf
from tfx.types.artifact import Artifact

DRIFT_FILE: Final = "drift.json"


class SpanDriftReport(Artifact):
    """The distance of the last span from the one before.

    The folder holds `drift.json`: `span` and `previous` (their numbers; `previous` is null
    where there is nothing to compare with), `images` (of either, in this order), `limit`
    (`data.max_drift`, or null) and `features` (rows of `components.report.drift.distances`).
    """

    # As `components` has it: TFX finds the class by this name in a step on Kubeflow.
    TYPE_NAME = "components.SpanDriftReport"


def write_drift(uri: str, content: dict[str, Any]) -> None:
    """Write `drift.json` into the folder `uri`, local or remote."""
    tf.io.gfile.makedirs(uri)
    with tf.io.gfile.GFile(f"{uri}/{DRIFT_FILE}", "w") as file:
        file.write(json.dumps(content, indent=1) + "\n")


def read_drift(uri: str) -> dict[str, Any]:
    """Read `drift.json` from the folder `uri`.

    Raises:
        tf.errors.NotFoundError: there is none.
    """
    with tf.io.gfile.GFile(f"{uri}/{DRIFT_FILE}") as file:
        content: dict[str, Any] = json.load(file)
    return content
