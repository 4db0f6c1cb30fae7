"""Classifies image files with a pushed SavedModel, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.runtime import prepare_environment
from models.deep_images import prepared
from schema import contract
from serving.prediction import Failure, Prediction, Result, not_explained, read_file


def latest_version(model_dir: Path, model: str) -> Path:
    """Find the folder of a model's highest version, as TensorFlow Serving would choose.

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


def predict_files(
    files: Sequence[Path],
    model_dir: Path,
    model: str,
    *,
    explain: bool = False,
    bits_stored: int = 0,
) -> Iterator[Result]:
    """Classify the files one by one.

    Args:
        files: to read.
        model_dir: holds the models.
        model: its name.
        explain: whether answers come with heat maps.
        bits_stored: as `models.deep_images.scaled` takes it.

    Raises:
        InputError: there is no such model, it is damaged, or it knows no heat maps.
    """
    version = latest_version(model_dir, model)
    prepare_environment()
    name = contract.SIGNATURE_EXPLAIN if explain else contract.SIGNATURE_DEFAULT
    signature = _load_signature(version, name)
    for file in files:
        content = read_file(file)
        if isinstance(content, Failure):
            yield content
        else:
            yield _predict(signature, file, content, bits_stored)


def _predict(signature: Any, file: Path, content: bytes, bits_stored: int) -> Result:
    import tensorflow as tf

    try:
        content = prepared(content, bits_stored)
    except ValueError as error:
        return Failure(file, str(error))
    try:
        outputs = signature(**{contract.INPUT_IMAGES: tf.constant([content])})
    except tf.errors.InvalidArgumentError:
        return Failure(file, "is no image that the model can decode")
    explained = contract.OUTPUT_HEAT_MAP in outputs
    names = [name.decode() for name in outputs[contract.OUTPUT_CLASSES][0].numpy()]
    values = outputs[contract.OUTPUT_PROBABILITIES][0].numpy().tolist()
    return Prediction(
        file,
        outputs[contract.OUTPUT_PREDICTED][0].numpy().decode(),
        dict(zip(names, values, strict=True)),
        bool(outputs[contract.OUTPUT_ABSTAIN][0].numpy()),
        outputs[contract.OUTPUT_HEAT_MAP][0].numpy() if explained else None,
    )


def _load_signature(version: Path, name: str) -> Any:
    import tensorflow as tf

    try:
        signatures = tf.saved_model.load(str(version)).signatures
        if name == contract.SIGNATURE_EXPLAIN and name not in signatures:
            raise not_explained(str(version))
        return signatures[name]
    except InputError:
        raise
    # TensorFlow says a damaged SavedModel in many ways.
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise InputError(
            f"{version} is no model that can be served ({error}); push it again."
        ) from error
