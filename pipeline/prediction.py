"""Classifies image files with a pushed SavedModel, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.runtime import prepare_environment
from schema import contract
from schema.errors import InputError


@dataclass(frozen=True)
class Prediction:
    """The answer for one file.

    Attributes:
        file: that was classified.
        predicted_class: its name.
        probabilities: class name -> probability.
    """

    file: Path
    predicted_class: str
    probabilities: Mapping[str, float]


def latest_version(model_dir: Path, model: str) -> Path:
    """The folder of a model's highest version, as TensorFlow Serving would choose.

    Raises:
        InputError: nothing was pushed under that name.
    """
    folder = model_dir / model
    versions = [p for p in folder.glob("*") if p.name.isdigit() and p.is_dir()]
    if not versions:
        raise InputError(
            f"no pushed model in {folder}; run the pipeline first, or give --model-dir and --model."
        )
    return max(versions, key=lambda path: int(path.name))


def predict_files(files: Sequence[Path], model_dir: Path, model: str) -> list[Prediction]:
    """Classifies the files one by one.

    Raises:
        InputError: a file can't be read or is no image, or there is no such model, or it
            is damaged.
    """
    version = latest_version(model_dir, model)
    contents = [_read(file) for file in files]
    prepare_environment()
    import tensorflow as tf

    signature = _load_signature(version)
    predictions = []
    for file, content in zip(files, contents, strict=True):
        try:
            outputs = signature(**{contract.INPUT_IMAGES: tf.constant([content])})
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f"{file} is no image that the model can decode.") from error
        names = [name.decode() for name in outputs[contract.OUTPUT_CLASSES][0].numpy()]
        values = outputs[contract.OUTPUT_PROBABILITIES][0].numpy().tolist()
        predictions.append(
            Prediction(
                file,
                outputs[contract.OUTPUT_PREDICTED][0].numpy().decode(),
                dict(zip(names, values, strict=True)),
            )
        )
    return predictions


def _load_signature(version: Path) -> Any:
    import tensorflow as tf

    try:
        return tf.saved_model.load(str(version)).signatures[contract.SIGNATURE_DEFAULT]
    # TensorFlow says a damaged SavedModel in many ways.
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise InputError(
            f"{version} is no model that can be served ({error}); push it again."
        ) from error


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} can't be read: {error.strerror}.") from error


def print_predictions(predictions: Sequence[Prediction]) -> None:
    """Prints a table, a line a file."""
    from rich.table import Table

    from pipeline.console import open_console

    classes = list(predictions[0].probabilities)
    table = Table("file", "predicted class", *classes)
    for prediction in predictions:
        shares = [f"{prediction.probabilities[name]:.3f}" for name in classes]
        table.add_row(str(prediction.file), prediction.predicted_class, *shares)
    open_console().print(table)
