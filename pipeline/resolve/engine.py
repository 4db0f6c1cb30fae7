"""Decides, before the DAG is built, what runs the frozen networks.

The answer is part of Featurizer's cache key: features of another engine, precision or
version are other features.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

from common.errors import InputError
from models.devices import has_gpu
from models.engines import OPENVINO_BF16, OPENVINO_F32, TENSORFLOW, EngineName
from models.openvino_runtime import gains_by_bf16, has_bf16, import_openvino
from pipeline.config.nodes import FeaturizerConfig


@dataclass(frozen=True)
class ResolvedEngine:
    """The engine that is to run the frozen networks.

    Attributes:
        name: a name of `models.engines`.
        version: of the package behind it.
    """

    name: EngineName
    version: str


def resolve_engine(
    config: FeaturizerConfig,
    warn: Callable[[str], None],
    *,
    gpu: Callable[[], bool] = has_gpu,
) -> ResolvedEngine:
    """Chooses the engine.

    `auto` takes TensorFlow where it sees a GPU or OpenVINO is missing, else OpenVINO; and
    bf16 where the CPU gains by it. Where `precision` is given, only OpenVINO can mean it, and
    `auto` looks for no GPU.

    Args:
        config: what the user asked for.
        warn: told in one sentence where `auto` goes on without OpenVINO.
        gpu: whether TensorFlow sees one; imports it, and is asked only where it counts.

    Raises:
        InputError: OpenVINO or bf16 was asked for and isn't there.
    """
    if config.engine == "tensorflow":
        return _tensorflow()
    free = config.engine == "auto" and config.precision == "auto"
    if free and gpu():
        return _tensorflow()
    fault = _openvino_fault()
    if fault and free:
        warn(
            f"OpenVINO can't be used ({fault}): Featurizer goes on with TensorFlow, which is "
            "slower on a CPU. `make setup` installs it."
        )
        return _tensorflow()
    if fault:
        field = "engine: openvino" if config.engine == "openvino" else "precision"
        raise InputError(
            f"featurizer.{field} needs OpenVINO, which can't be used ({fault}). Run "
            "`make setup`, or leave the field out."
        )
    version = importlib.metadata.version("openvino")
    if config.precision == "f32":
        return ResolvedEngine(OPENVINO_F32, version)
    if gains_by_bf16() or (config.precision == "bf16" and has_bf16()):
        return ResolvedEngine(OPENVINO_BF16, version)
    if config.precision == "bf16":
        raise InputError(
            "featurizer.precision: this CPU has no bf16 instructions (avx512_bf16 or "
            "amx_bf16); take f32 or auto."
        )
    return ResolvedEngine(OPENVINO_F32, version)


def _tensorflow() -> ResolvedEngine:
    return ResolvedEngine(TENSORFLOW, importlib.metadata.version("tensorflow"))


def _openvino_fault() -> str | None:
    """Say why OpenVINO can't be used; None where it can."""
    try:
        # Its CPU plugin is loaded, too: packages for another CPU fail only there.
        import_openvino().Core().get_property("CPU", "FULL_DEVICE_NAME")
    except ImportError as error:
        return str(error)
    except RuntimeError as error:
        return str(error).strip().splitlines()[-1]
    return None
