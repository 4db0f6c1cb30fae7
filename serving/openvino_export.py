"""Pushed models for OpenVINO Model Server: the networks as OpenVINO IR.

That server can't take the SavedModels, which decode PNG and JPEG in their graph. So it gets
`network` alone, as `cxr serve` gives it to OpenVINO, and its clients decode and resize with
the SavedModel's `preprocess` (see serving/deploy/README.md).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from common.errors import InputError
from common.runtime import make_folder
from models.engines import OPENVINO_F32, OpenVinoEngine
from models.openvino_runtime import import_openvino
from schema import contract
from serving.core.model_config import versions_in
from serving.networks.conversion import NotConvertibleError, check_answers, convert_network
from serving.networks.front import load_network
from serving.networks.places import PUSHED_NETWORKS
from serving.openvino_repository import (
    CONFIG_FILE,
    NETWORK_FILES,
    digest_of,
    has_version,
    read_config,
    with_models,
    write_description,
    write_json,
)


@dataclass(frozen=True)
class Exported:
    """A version that OpenVINO Model Server can serve.

    Attributes:
        model: its name.
        folder: of the version.
        new: whether this export wrote it; else an earlier one did, from the same SavedModel.
    """

    model: str
    folder: Path
    new: bool


@dataclass(frozen=True)
class NotExported:
    """A model without one.

    Attributes:
        model: its name.
        why: a sentence.
    """

    model: str
    why: str


Result = Exported | NotExported


@dataclass(frozen=True)
class _Plan:
    """The work that is to be done for a model.

    Attributes:
        model: its name.
        source: the SavedModel's folder.
        digest: of it.
        target: folder of the version in the output.
        there: whether it is there already.
    """

    model: str
    source: Path
    digest: str
    target: Path
    there: bool


def export_models(model_dir: Path, output: Path) -> Iterator[Result]:
    """Convert each model's highest version, and name them all in `config.json`.

    Whatever is in `output` already is left as it is: a version that is the same isn't
    written again, and of `config.json` only models that it lacks are added.

    Args:
        model_dir: a folder a model, in it a folder a version: a run's serving folder.
        output: to be made, where it isn't there.

    Yields:
        What became of each folder of `model_dir`, in the order of their names.

    Raises:
        InputError: there is no model; a version's folder in `output` holds something else;
            its `config.json` is none; `output` can't be written to, or lies in `model_dir`.
            Nothing has been written then.
        RuntimeError: OpenVINO can't be loaded.
    """
    sources = _highest_versions(model_dir)
    if output.resolve().is_relative_to(model_dir.resolve()):
        raise InputError(f"output: {output} lies in {model_dir}; give a folder outside.")
    try:
        import_openvino()
    except ImportError as error:
        raise RuntimeError(f"OpenVINO can't be loaded: {error}") from error
    config = read_config(output / CONFIG_FILE)
    plans = [_plan(name, source, output) for name, source in sources.items()]
    make_folder(output)
    exported = []
    # Beside what it becomes: a folder then appears whole, and a server never sees half of one.
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=output) as scratch:
        for plan in plans:
            result = _carry_out(plan, Path(scratch)) if isinstance(plan, _Plan) else plan
            if isinstance(result, Exported):
                exported.append(result.model)
            yield result
        if exported:
            unfinished = Path(scratch) / CONFIG_FILE
            write_json(unfinished, with_models(config, exported))
            unfinished.replace(output / CONFIG_FILE)


def raise_for(results: Sequence[Result]) -> None:
    """Raise an error that says which models couldn't be exported, and why.

    Raises:
        InputError: any couldn't.
    """
    failures = [result for result in results if isinstance(result, NotExported)]
    if failures:
        lines = "".join(f"\n  {failure.model}: {failure.why}" for failure in failures)
        raise InputError(f"{len(failures)} of {len(results)} models are not exported:{lines}")


def _highest_versions(model_dir: Path) -> dict[str, Path | None]:
    """Find the folder of each model's highest version; None for a folder without any."""
    if not model_dir.is_dir():
        raise InputError(f"model-dir: {model_dir} is no folder; run the pipeline first.")
    found: dict[str, Path | None] = {}
    folders = sorted(path for path in model_dir.iterdir() if path.is_dir())
    for folder in (each for each in folders if each.name != PUSHED_NETWORKS):
        versions = versions_in(folder)
        found[folder.name] = versions[max(versions)] if versions else None
    if not found:
        raise InputError(f"model-dir: {model_dir} holds no model; run the pipeline first.")
    return found


def _plan(model: str, source: Path | None, output: Path) -> _Plan | NotExported:
    if source is None:
        return NotExported(model, "its folder holds no version.")
    digest = digest_of(source)
    # As a number: 007 is 7.
    target = output / model / str(int(source.name))
    return _Plan(model, source, digest, target, has_version(target, digest))


def _carry_out(plan: _Plan, scratch: Path) -> Result:
    if not plan.there:
        # The scratch folder is its owner's only; what is made in it is as any other folder.
        unfinished = scratch / plan.model
        try:
            _write_version(plan.source, unfinished, plan.digest)
        except NotConvertibleError as error:
            return NotExported(plan.model, f"{str(error).rstrip('.')}.")
        plan.target.parent.mkdir(exist_ok=True)
        unfinished.rename(plan.target)
    return Exported(plan.model, plan.target, not plan.there)


def _write_version(source: Path, folder: Path, digest: str) -> None:
    """Convert one SavedModel.

    Raises:
        NotConvertibleError: it can't be loaded, OpenVINO can't take it, or answers otherwise than
            TensorFlow.
    """
    openvino = import_openvino()
    loaded = _loaded(source)
    model = convert_network(loaded, source)
    folder.mkdir()
    network = folder / NETWORK_FILES[0]
    # As trained: half precision would be another model than the one that was judged.
    openvino.save_model(model, str(network), compress_to_fp16=False)
    # What is served is the file, so the file is what is compared.
    written = openvino.Core().read_model(str(network))
    try:
        engine = OpenVinoEngine(written, [contract.FLAT], OPENVINO_F32)
    # OpenVINO has no class of its own.
    except Exception as error:
        raise NotConvertibleError(f"{source}: {error}") from error
    check_answers(engine, loaded, source)
    write_description(folder, _description(written, loaded), digest)


def _loaded(source: Path) -> Any:
    """Load what is needed of a SavedModel.

    Raises:
        NotConvertibleError: it can't be loaded.
    """
    try:
        return load_network(source)
    except DecodeError as error:
        damaged = source / contract.SAVED_MODEL_FILE
        raise NotConvertibleError(f"{damaged} is damaged: {error}") from error
    # A damaged graph or checkpoint fails in many ways.
    except Exception as error:
        raise NotConvertibleError(f"{source}: {error}") from error


def _description(model: Any, loaded: Any) -> dict[str, Any]:
    (pixels,) = model.inputs
    return {
        "input": {
            "name": pixels.get_any_name(),
            "dtype": "float32",
            "shape": list(pixels.get_shape()),
        },
        "outputs": {port.get_any_name(): list(port.get_shape()) for port in model.outputs},
        "probabilities": contract.FLAT,
        # Above 1 an image is unlike the training's. What the pixels alone tell, the client's side
        # has to: this network begins behind them.
        **({"distance": contract.DISTANCE} if hasattr(loaded, "screen") else {}),
        "classes": [name.decode() for name in loaded.class_names.numpy()],
        "abstain_below": float(loaded.abstain_below.numpy()),
    }
