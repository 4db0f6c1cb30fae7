"""Classifies image files with a pushed SavedModel, in this process, as `cxr serve` would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import InputError
from common.runtime import prepare_environment
from models.conversion import prepared
from schema import contract
from serving.prediction import Failure, Prediction, Result, not_explained, read_file

if TYPE_CHECKING:
    from serving.servables.servable import Servable


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
    network_cache: Path | None = None,
) -> Iterator[Result]:
    """Classify the files one by one.

    Args:
        files: to read.
        model_dir: holds the models.
        model: its name.
        explain: whether answers come with heat maps.
        bits_stored: as `models.deep_images.scaled` takes it.
        network_cache: folder for converted networks; None to convert them now.

    Raises:
        InputError: there is no such model, it is damaged, or it knows no heat maps.
    """
    version = latest_version(model_dir, model)
    prepare_environment()
    name = contract.SIGNATURE_EXPLAIN if explain else contract.SIGNATURE_DEFAULT
    servable = _load(version, name, network_cache)
    for file in files:
        content = read_file(file)
        if isinstance(content, Failure):
            yield content
        else:
            yield _predict(servable, name, file, content, bits_stored)


def _predict(
    servable: Servable, signature: str, file: Path, content: bytes, bits_stored: int
) -> Result:
    from grpc import StatusCode

    from serving.protocol.status import ServingError
    from serving.protocol.tensors import strings

    try:
        content = prepared(content, bits_stored)
    except ValueError as error:
        return Failure(file, str(error))
    try:
        outputs = servable.run(signature, {contract.INPUT_IMAGES: strings([content])})
    except ServingError as error:
        if error.code != StatusCode.INVALID_ARGUMENT:
            raise
        return Failure(file, "is no image that the model can decode")
    heat = outputs.get(contract.OUTPUT_HEAT_MAP)
    names = [name.decode() for name in outputs[contract.OUTPUT_CLASSES][0]]
    values = outputs[contract.OUTPUT_PROBABILITIES][0].tolist()
    return Prediction(
        file,
        outputs[contract.OUTPUT_PREDICTED][0].decode(),
        dict(zip(names, values, strict=True)),
        bool(outputs[contract.OUTPUT_ABSTAIN][0]),
        None if heat is None else heat[0],
    )


def _load(version: Path, signature: str, network_cache: Path | None) -> Servable:
    from serving.networks.store import Store
    from serving.networks.versions import Networks
    from serving.protocol.status import ServingError
    from serving.servables.loading import load_servable

    networks = Networks(None if network_cache is None else Store(network_cache))
    explain = signature == contract.SIGNATURE_EXPLAIN
    try:
        # Heat maps are TensorFlow's, whatever runs the network of the other signatures.
        servable = load_servable(version, "tensorflow" if explain else "auto", networks=networks)
        if explain and signature not in servable.signatures:
            raise not_explained(str(version))
        servable.signature(signature)
    except ServingError as error:
        raise InputError(
            f"{version} is no model that can be served ({error}); push it again."
        ) from error
    return servable
