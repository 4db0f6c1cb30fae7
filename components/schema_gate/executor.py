"""Reads the anomalies of every split and says each in one sentence."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from common.errors import InputError

_ANOMALIES_FILE = "SchemaDiff.pb"


class Executor(base_executor.BaseExecutor):
    """The executor: it raises on a run that isn't clean, and writes "clean" otherwise."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Check every split.

        Raises:
            InputError: lists the anomalies, a sentence each.
        """
        artifact = artifact_utils.get_single_instance(input_dict["anomalies"])
        splits = artifact_utils.decode_split_names(artifact.split_names)
        sentences = [s for split in splits for s in describe(_load(artifact, split), split)]
        if sentences:
            raise InputError(
                "the data break the schema:\n  "
                + "\n  ".join(sentences)
                + "\nMend the data or metadata.csv; or, if the data are right, the schema "
                "(schema/schema.pbtxt, or the one in schema_dir)."
            )
        artifact_utils.get_single_instance(
            output_dict["verdict"]
        ).value = f"no anomaly in {', '.join(splits)}"


def _load(artifact: types.Artifact, split: str) -> anomalies_pb2.Anomalies:
    path = os.path.join(artifact_utils.get_split_uri([artifact], split), _ANOMALIES_FILE)
    with tf.io.gfile.GFile(path, "rb") as file:
        return anomalies_pb2.Anomalies.FromString(file.read())


def describe(anomalies: anomalies_pb2.Anomalies, split: str) -> list[str]:
    """Write one sentence for each anomaly.

    Args:
        anomalies: of one split.
        split: its name.

    Returns:
        Sentences in the order of the features' names.
    """
    sentences = [
        f"Split {split}, feature {name}: {_sentence(info)}"
        for name, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        sentences.append(f"Split {split}: {_sentence(anomalies.dataset_anomaly_info)}")
    if anomalies.data_missing:
        sentences.append(f"Split {split}: there are no examples.")
    return sentences


def _sentence(info: anomalies_pb2.AnomalyInfo) -> str:
    text = " ".join(info.description.split()) or info.short_description
    return text if text.endswith(".") else f"{text}."
