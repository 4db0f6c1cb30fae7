"""From a version's folder to a servable, on the fastest engine that takes it."""

from __future__ import annotations

from pathlib import Path

from absl import logging

from serving.servables.servable import Servable
from serving.settings import EngineChoice, Precision


def load_servable(
    directory: Path, engine: EngineChoice = "auto", precision: Precision = "auto"
) -> Servable:
    """Loads a SavedModel.

    Args:
        directory: a version's folder.
        engine: `auto` takes OpenVINO for this project's models and TensorFlow for what
            OpenVINO can't run; so does `openvino`, but says so louder.
        precision: of OpenVINO.

    Raises:
        ServingError: it holds no SavedModel that can be loaded.
    """
    from serving.servables.openvino_servable import NotConvertibleError, OpenVinoServable
    from serving.servables.tensorflow_servable import TensorFlowServable

    if engine != "tensorflow":
        try:
            return OpenVinoServable(directory, precision)
        except NotConvertibleError as error:
            level = logging.WARNING if engine == "openvino" else logging.INFO
            logging.log(level, "TensorFlow serves %s: %s", directory, error)
    return TensorFlowServable(directory)
