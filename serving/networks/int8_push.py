"""Int8 tried on a model that is about to be pushed; what the server needs is put into a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError

from models.lending import read_saved_model
from models.openvino_runtime import (
    cpu_name,
    has_int8,
    import_nncf,
    import_openvino,
    low_precision,
)
from schema import contract
from serving.networks.conversion import NotConvertibleError
from serving.networks.int8_choice import Int8Choice, Machine, keys_of, network_files
from serving.networks.int8_judging import Judgement, judge
from serving.networks.int8_serving import QuantisedTrunks, int8_network
from serving.networks.quantisation import NotQuantisableError, choose_calibration, quantise_trunks
from serving.networks.store import Store
from serving.networks.versions import Networks, RunningVersion
from serving.openvino_repository import file_digest

_CHOICE: Final = Path(contract.INT8_CHOICE_FILE).name
Judges = Callable[..., Judgement]


def choose_int8(
    directory: Path,
    train: Sequence[np.ndarray],
    validation: Sequence[np.ndarray],
    target: Path,
    store: Store | None,
    judges: Judges = judge,
) -> Int8Choice:
    """Quantise a model's trunks, look whether int8 keeps its answers and is faster, and say so.

    Args:
        directory: of the SavedModel.
        train: images of the train split, grey levels uint8 [256, 256, 1].
        validation: images of the validation split, likewise.
        target: folder, for `assets.extra` of what is pushed: the choice and, where int8 is chosen,
            the quantised trunks.
        store: of converted networks; None for none.
        judges: compares; see `judge`.
    """
    networks = Networks(store)
    nothing = Int8Choice(False, "", "", 0.0, (), {}, _machine(), None)
    if not has_int8():
        choice = replace(nothing, reason="this CPU has neither VNNI nor AMX")
    elif not _sees_images(directory):
        choice = replace(nothing, reason="it sees no image, and so has no network to be quantised")
    elif not train or not validation:
        choice = replace(nothing, reason="the train or the validation split has no images")
    else:
        try:
            version = networks.load(directory, "auto")
            choice = _tried(version, train, validation, target, networks, store, judges)
        except (NotConvertibleError, NotQuantisableError) as error:
            choice = replace(nothing, reason=" ".join(str(error).split())[:500])
    (target / _CHOICE).write_text(choice.to_text(), encoding="utf-8")
    logging.info("int8 is %schosen: %s", "" if choice.chosen else "not ", choice.reason)
    return choice


def _sees_images(directory: Path) -> bool:
    """Return whether images are asked about; what is no SavedModel is found out later."""
    try:
        (meta,) = read_saved_model(str(directory)).meta_graphs
    except (OSError, ValueError, DecodeError, tf.errors.OpError):
        return True
    asked = meta.signature_def.get(contract.SIGNATURE_DEFAULT)
    return asked is None or contract.INPUT_IMAGES in asked.inputs


def _tried(
    version: RunningVersion,
    train: Sequence[np.ndarray],
    validation: Sequence[np.ndarray],
    target: Path,
    networks: Networks,
    store: Store | None,
    judges: Judges,
) -> Int8Choice:
    models = quantise_trunks(version.plan, version.read, choose_calibration(train), store)
    # What OpenVINO, which has no class of its own, can't run.
    try:
        names = {key: f"int8 {key}" for key in models}
        fast = int8_network(version, QuantisedTrunks(networks.trunks, models, names))
        judgement = judges(version, fast, np.stack(validation), networks.trunks)
    except Exception as error:
        raise NotQuantisableError(f"the quantised networks can't be run: {error}") from error
    return Int8Choice(
        chosen=judgement.chosen,
        reason=judgement.reason,
        otherwise=version.engine.name,
        difference=judgement.difference,
        networks=keys_of(version.plan),
        files=_written(models, target) if judgement.chosen else {},
        machine=_machine(),
        figures=judgement.figures,
    )


def _written(models: Mapping[str, Any], target: Path) -> dict[str, dict[str, str]]:
    files = {}
    for key, model in models.items():
        names = network_files(key)
        # The heads and what isn't int8 stay as they were trained.
        import_openvino().save_model(model, str(target / names[0]), compress_to_fp16=False)
        files[key] = {name: file_digest(target / name) for name in names}
    return files


def _machine() -> Machine:
    return Machine(
        cpu=cpu_name(),
        instructions=tuple(low_precision()),
        openvino=import_openvino().__version__,
        nncf=_nncf_version(),
    )


def _nncf_version() -> str:
    try:
        return str(import_nncf().__version__)
    except ImportError:
        return ""
