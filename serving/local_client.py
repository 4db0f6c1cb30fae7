"""Classifies image files with a pushed SavedModel, in this process, as `cxr serve` would."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.errors import InputError
from common.runtime import prepare_environment
from models.conversion import prepared
from models.rendering import Rendering
from schema import contract
from serving.core.rollout import ROLLOUT_FILE, read_rollout
from serving.prediction import (
    MOST_BYTES,
    Failure,
    Prediction,
    Result,
    not_explained,
    read_file,
)

if TYPE_CHECKING:
    import numpy as np

    from serving.core.manager import Lent
    from serving.core.observing import Observer
    from serving.prediction_log.settings import LogTarget
    from serving.protocol.tensors import Tensors
    from serving.servables.servable import Servable
    from serving.table_rows import Cells, Table

# Files -> their results, in order.
Answer = Callable[[Sequence[Path]], list[Result]]
# (files' contents as they came, images as the model saw them, outputs): see `_tell`.
Tell = Callable[[Mapping[Path, bytes], Mapping[Path, bytes], "Tensors"], None]
# Images that go through the networks in one call, of a folder.
_BATCH: Final = 8


def latest_version(model_dir: Path, model: str) -> Path:
    """Find the folder of a model's stable version; else the highest, as TensorFlow Serving would.

    Raises:
        InputError: nothing was pushed under that name, the stable version is gone, or the rollout
            can't be read.
    """
    folder = model_dir / model
    versions = [p for p in folder.glob("*") if p.name.isdigit() and p.is_dir()]
    if not versions:
        raise InputError(
            f"no pushed model in {folder}; run the pipeline first, or give --model-dir and --model."
        )
    rollout = read_rollout(folder)
    if rollout is None:
        return max(versions, key=lambda path: int(path.name))
    stable = [path for path in versions if int(path.name) == rollout.stable]
    if not stable:
        raise InputError(
            f"{folder / ROLLOUT_FILE}: version {rollout.stable}, which is stable, is gone; "
            "`cxr promote --version` names another."
        )
    return stable[0]


def predict_files(
    files: Sequence[Path],
    model_dir: Path,
    model: str,
    *,
    explain: bool = False,
    bits_stored: int = 0,
    rendering: Rendering | None = None,
    network_cache: Path | None = None,
    table: Table | None = None,
) -> Iterator[Result]:
    """Classify files, in order.

    Several go through the networks side by side, and while they do, others are read and decoded;
    the answers are those of each alone. Heat maps are made one by one, for they are large.

    Args:
        files: to read.
        model_dir: holds the models.
        model: its name.
        explain: whether answers come with heat maps.
        bits_stored: as `models.deep_images.scaled` takes it.
        rendering: of DICOM; as the model learned where None.
        network_cache: folder for converted networks; None to convert them now.
        table: what is known of the images beside their pixels.

    Raises:
        InputError: there is no such model, it is damaged, or it knows no heat maps.
    """
    answer = open_model(
        latest_version(model_dir, model),
        explain=explain,
        bits_stored=bits_stored,
        rendering=rendering,
        network_cache=network_cache,
        table=table,
    )
    if explain or len(files) == 1:
        for file in files:
            yield from answer([file])
        return
    batches = [files[start : start + _BATCH] for start in range(0, len(files), _BATCH)]
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for results in pool.map(answer, batches):
            yield from results
    finally:
        # Whoever has seen enough, or an error, needn't wait for the rest.
        pool.shutdown(cancel_futures=True)


def open_model(
    version: Path,
    *,
    explain: bool = False,
    bits_stored: int = 0,
    rendering: Rendering | None = None,
    network_cache: Path | None = None,
    table: Table | None = None,
    max_bytes: int = MOST_BYTES,
    observe: Observer | None = None,
    logged: LogTarget | None = None,
) -> Answer:
    """Load a model once, to ask it about files again and again.

    Args:
        version: its folder.
        explain: as `predict_files` takes it, like the rest.
        bits_stored: likewise.
        rendering: likewise.
        network_cache: likewise.
        table: likewise.
        max_bytes: that a file may have.
        observe: is told of each answer to an image alone, by the thread that computed it.
        logged: where the answers are logged, for an observer that asks.

    Returns:
        What classifies files that go through the networks side by side; from any thread.

    Raises:
        InputError: it is damaged, or knows no heat maps.
    """
    prepare_environment()
    name = contract.SIGNATURE_EXPLAIN if explain else contract.SIGNATURE_DEFAULT
    servable = _load(version, name, network_cache)
    chosen = rendering or servable.rendering
    prepare = partial(_prepared, bits_stored, chosen)
    tell = None
    if observe is not None:
        from serving.core.manager import Lent

        lent = Lent(version.parent.name, int(version.name), servable, logged)
        tell = partial(_tell, observe, lent, name)
    return partial(_predict, servable, name, prepare, table, max_bytes, tell)


def _tell(
    observe: Observer,
    lent: Lent,
    signature: str,
    sent: Mapping[Path, bytes],
    images: Mapping[Path, bytes],
    outputs: Tensors,
) -> None:
    """Tell an observer of answers, as a server does.

    Args:
        observe: it.
        lent: the model.
        signature: that was asked.
        sent: contents of the files, as they came.
        images: of those that were answered, as the model saw them.
        outputs: a row each.
    """
    from serving.core.observing import Asked
    from serving.protocol.tensors import strings
    from serving.servables.servable import PREDICT

    inputs = {contract.INPUT_IMAGES: strings([sent[file] for file in images])}
    ready = {contract.INPUT_IMAGES: strings([*images.values()])}
    observe(Asked(lent, lent.servable.signature(signature), PREDICT, inputs, ready), outputs)


def _prepared(bits_stored: int, rendering: Rendering, content: bytes) -> bytes:
    return prepared(content, bits_stored, rendering=rendering)


def _predict(
    servable: Servable,
    signature: str,
    prepare: Callable[[bytes], bytes],
    table: Table | None,
    max_bytes: int,
    tell: Tell | None,
    files: Sequence[Path],
) -> list[Result]:
    sent: dict[Path, bytes] = {}
    results: dict[Path, Result] = {}
    images: dict[Path, bytes] = {}
    with_cells: dict[Path, bytes] = {}
    cells: dict[Path, Cells] = {}
    # The model of the table alone takes none: what it isn't told, is missing.
    sees_image = contract.INPUT_IMAGES in servable.signature(signature).inputs
    for file in files:
        content = read_file(file, max_bytes)
        if isinstance(content, Failure):
            results[file] = content
            continue
        try:
            found = table.cells_of(file, content) if table else {}
            (with_cells if found or not sees_image else images)[file] = prepare(content)
            cells[file] = found
            sent[file] = content
        except ValueError as error:
            results[file] = Failure(file, str(error))
    # Where nothing but the image is known, the model is asked as ever.
    told = None if tell is None else partial(tell, sent)
    results |= _answered(servable, signature, images, told=told)
    if table and with_cells:
        of_files = {file: cells[file] for file in with_cells}
        answered = _answered(
            servable, contract.SIGNATURE_TABLE, with_cells, partial(_columns, table, of_files)
        )
        for file, result in answered.items():
            if isinstance(result, Prediction):
                result = dataclasses.replace(result, columns=tuple(sorted(cells[file])))
            results[file] = result
    return [results[file] for file in files]


def _columns(
    table: Table, cells: Mapping[Path, Cells], files: Iterable[Path]
) -> dict[str, np.ndarray]:
    import numpy as np

    from serving.protocol.tensors import strings

    found = table.as_tensors([cells[file] for file in files])
    return {
        name: strings(values) if isinstance(values[0], bytes) else np.array(values, np.float32)
        for name, values in found.items()
    }


def _answered(
    servable: Servable,
    signature: str,
    images: dict[Path, bytes],
    beside: Callable[[Iterable[Path]], dict[str, np.ndarray]] = lambda files: {},
    told: Callable[[Mapping[Path, bytes], Tensors], None] | None = None,
) -> dict[Path, Result]:
    from grpc import StatusCode

    from serving.protocol.status import ServingError
    from serving.protocol.tensors import strings

    if not images:
        return {}
    try:
        given = {contract.INPUT_IMAGES: strings([*images.values()]), **beside(images)}
        taken = servable.signature(signature).inputs
        outputs = servable.run(signature, {n: v for n, v in given.items() if n in taken})
    except ServingError as error:
        if error.code != StatusCode.INVALID_ARGUMENT:
            raise
        if len(images) == 1:
            return {file: Failure(file, "is no image that the model can decode") for file in images}
        # One of them; the others have an answer.
        alone = [
            _answered(servable, signature, {file: images[file]}, beside, told) for file in images
        ]
        return {file: result for one in alone for file, result in one.items()}
    if told is not None:
        told(images, outputs)
    return {file: _prediction(file, outputs, row) for row, file in enumerate(images)}


def _prediction(file: Path, outputs: dict[str, np.ndarray], row: int) -> Prediction:
    heat = outputs.get(contract.OUTPUT_HEAT_MAP)
    reasons = outputs.get(contract.OUTPUT_DOMAIN_REASON)
    names = [name.decode() for name in outputs[contract.OUTPUT_CLASSES][row]]
    values = outputs[contract.OUTPUT_PROBABILITIES][row].tolist()
    return Prediction(
        file,
        outputs[contract.OUTPUT_PREDICTED][row].decode(),
        dict(zip(names, values, strict=True)),
        bool(outputs[contract.OUTPUT_ABSTAIN][row]),
        None if heat is None else heat[row],
        domain_reason=None if reasons is None else reasons[row].decode(),
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
