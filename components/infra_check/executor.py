"""Picks images, has the model served, writes the verdict."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.examples import read_examples
from components.serving_precision.beside import put_precision_beside
from components.serving_precision.note import PRECISION
from models.table_values import missing_value, read_columns
from schema import contract, inputs
from schema.inputs import Input

MODEL: Final = "model"
RUN: Final = "model_run"
EXAMPLES: Final = "examples"
BLESSING: Final = "blessing"
FILES: Final = "precision_files"
REPORT_FILE: Final = "infra_check.json"
# What TFX's InfraValidator calls them.
_BLESSED: Final = "INFRA_BLESSED"
_NOT_BLESSED: Final = "INFRA_NOT_BLESSED"
_BLESSED_PROPERTY: Final = "blessed"


class Executor(base_executor.BaseExecutor):
    """Blesses what can be served and answers as it should."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Serve the model for a moment."""
        from components.infra_check.requests_sent import check_served_well
        from models.predictions import read_predictions

        predictions = read_predictions(artifact_utils.get_single_uri(input_dict[RUN]))
        noted = dict(
            zip(predictions.sha256, predictions.of_finished_model[contract.FLAT], strict=True)
        )
        source = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[MODEL]))
        with tempfile.TemporaryDirectory() as folder:
            # A copy: the server is told a number, and the artifact's folder has none.
            version = Path(folder) / "models" / "1"
            io_utils.copy_dir(source, str(version))
            put_precision_beside(input_dict.get(FILES), None, str(version))
            samples = choose_samples(
                artifact_utils.get_single_instance(input_dict[EXAMPLES]),
                noted,
                exec_properties["images"],
                inputs.of_columns(read_columns(version)),
            )
            findings = check_served_well(version, samples)
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])
        blessed = not findings.failures
        for failure in findings.failures:
            logging.error("%s", failure)
        io_utils.write_string_file(
            os.path.join(blessing.uri, REPORT_FILE),
            json.dumps(dataclasses.asdict(findings), indent=1),
        )
        name = _BLESSED if blessed else _NOT_BLESSED
        io_utils.write_string_file(os.path.join(blessing.uri, name), "")
        blessing.set_int_custom_property(_BLESSED_PROPERTY, int(blessed))
        if blessed and findings.precision:
            blessing.set_string_custom_property(PRECISION, findings.precision)


def choose_samples(
    examples: types.Artifact,
    noted: Mapping[str, np.ndarray],
    per_class: int,
    columns: Sequence[Input] = (),
) -> list[Any]:
    """Choose the first images of each class, of the test split and of those that were noted.

    Args:
        examples: with both splits; their order is the same in every run.
        noted: SHA-256 -> Trainer's probabilities, of the validation split.
        per_class: images of a class, of either split.
        columns: of the table, that the model takes.
    """
    from components.infra_check.requests_sent import Sample

    samples: list[Sample] = []
    for split in (contract.SPLIT_TEST, contract.SPLIT_EVAL):
        taken: dict[int, int] = {}
        for label, sha256, given in _read(examples, split, columns):
            of_class = taken.get(label, 0)
            if of_class < per_class and (split == contract.SPLIT_TEST or sha256 in noted):
                taken[label] = of_class + 1
                known = noted[sha256] if split == contract.SPLIT_EVAL else None
                samples.append(Sample(sha256, given, known))
    return samples


def _read(
    examples: types.Artifact, split: str, columns: Sequence[Input]
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    folder = artifact_utils.get_split_uri([examples], split)
    for example in read_examples(folder):
        features = example.features.feature
        yield (
            features[contract.LABEL].int64_list.value[0],
            features[contract.SHA256].bytes_list.value[0].decode(),
            {
                each.served: _value(each, features[each.raw.name])
                for each in (*inputs.INPUTS, *columns)
            },
        )


def _value(each: Input, feature: tf.train.Feature) -> Any:
    if each.column and feature.WhichOneof("kind") is None:
        return missing_value(each.column)
    return getattr(feature, feature.WhichOneof("kind")).value[0]
