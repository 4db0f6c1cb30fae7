"""The loading of a version's folder into a servable, on the fastest engine that takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from absl import logging

from models.rendering import AS_LEARNED, AskedRendering, learned_by
from schema import contract
from serving.servables.servable import Servable
from serving.settings import EngineChoice, Precision

if TYPE_CHECKING:
    from serving.networks.versions import Networks


def load_servable(
    directory: Path,
    engine: EngineChoice = "auto",
    precision: Precision = "auto",
    networks: Networks | None = None,
    rendering: AskedRendering = AS_LEARNED,
) -> Servable:
    """Load a SavedModel.

    Args:
        directory: a version's folder.
        engine: `auto` takes OpenVINO for this project's models and TensorFlow for what
            OpenVINO can't run; so does `openvino`, but says so louder.
        precision: of OpenVINO; `auto` is what was noted beside the model at its push, if
            something was. Where int8 can't be used, a warning says why, and `auto` is taken.
        networks: OpenVINO's, in memory and on disk; none where None.
        rendering: of DICOM, where it isn't to be as the model learned.

    Raises:
        ServingError: it holds no SavedModel that can be loaded.
        InputError: the note on DICOM beside it is damaged.
    """
    servable = _on_an_engine(directory, engine, precision, networks)
    servable.rendering = rendering.over(learned_by(directory), str(directory))
    return servable


def _on_an_engine(
    directory: Path, engine: EngineChoice, precision: Precision, networks: Networks | None
) -> Servable:
    from serving.networks.conversion import NotConvertibleError
    from serving.servables.openvino_servable import OpenVinoServable
    from serving.servables.tensorflow_servable import TensorFlowServable

    if engine != "tensorflow":
        wanted = _noted_precision(directory) if precision == "auto" else precision
        try:
            insist = precision == "int8"
            return OpenVinoServable(directory, wanted, networks, insist=insist)
        except NotConvertibleError as error:
            level = logging.WARNING if engine == "openvino" else logging.INFO
            logging.log(level, "TensorFlow serves %s: %s", directory, error)
    return TensorFlowServable(directory)


def _noted_precision(directory: Path) -> Precision:
    """Read the note beside a pushed model; `auto` where there is none."""
    file = directory / contract.SERVING_NOTE_FILE
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))["precision"]
    except FileNotFoundError:
        return "auto"
    except (OSError, ValueError, KeyError, TypeError) as error:
        logging.warning("%s can't be read, and is passed over: %r", file, error)
        return "auto"
    if noted not in get_args(Precision):
        logging.warning("%s names no precision, and is passed over: %r", file, noted)
        return "auto"
    return cast(Precision, noted)
