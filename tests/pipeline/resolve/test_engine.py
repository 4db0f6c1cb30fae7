"""Which engine a run takes, and what happens where there is no OpenVINO, bf16 or GPU."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any

import pytest

from common.errors import InputError
from pipeline.config.nodes import FeaturizerConfig
from pipeline.resolve import engine as engine_resolution
from pipeline.resolve.engine import ResolvedEngine, resolve_engine

OPENVINO = importlib.metadata.version("openvino")
TENSORFLOW = ResolvedEngine("tensorflow", importlib.metadata.version("tensorflow"))
BF16 = ResolvedEngine("openvino-bf16", OPENVINO)
F32 = ResolvedEngine("openvino-f32", OPENVINO)

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """(has bf16, gains by it, has OpenVINO) -> this machine seems so."""

    def call(*, bf16: bool = True, gains: bool | None = None, openvino: bool = True) -> None:
        monkeypatch.setattr(engine_resolution, "has_bf16", lambda: bf16)
        gained = bf16 if gains is None else gains
        monkeypatch.setattr(engine_resolution, "gains_by_bf16", lambda: gained)
        if not openvino:
            monkeypatch.setitem(sys.modules, "openvino", None)

    return call


def _never() -> bool:
    raise AssertionError("nobody has to look for a GPU here")


def _resolve(gpu: Callable[[], bool] = lambda: False, **fields: Any) -> ResolvedEngine:
    """Fails on a warning."""

    def warn(sentence: str) -> None:
        raise AssertionError(sentence)

    return resolve_engine(FeaturizerConfig(**fields), warn, gpu=gpu)


@pytest.mark.parametrize(
    ("fields", "bf16", "expected"),
    [
        ({}, True, BF16),
        ({}, False, F32),
        ({"engine": "openvino"}, True, BF16),
        ({"engine": "openvino"}, False, F32),
        ({"engine": "tensorflow"}, True, TENSORFLOW),
        ({"engine": "tensorflow", "precision": "f32"}, True, TENSORFLOW),
        ({"precision": "f32"}, True, F32),
        ({"precision": "bf16"}, True, BF16),
        ({"engine": "openvino", "precision": "f32"}, True, F32),
    ],
)
def test_bf16_where_the_cpu_has_it_unless_told_otherwise(
    machine: Machine, fields: dict[str, Any], bf16: bool, expected: ResolvedEngine
) -> None:
    machine(bf16=bf16)
    assert _resolve(**fields) == expected


def test_bf16_that_is_slower_is_taken_only_by_name(machine: Machine) -> None:
    machine(gains=False)
    assert _resolve() == F32
    assert _resolve(precision="bf16") == BF16


def test_a_gpu_goes_to_tensorflow_where_the_choice_is_free(machine: Machine) -> None:
    machine()
    assert _resolve(lambda: True) == TENSORFLOW


@pytest.mark.parametrize(
    "fields", [{"engine": "openvino"}, {"engine": "tensorflow"}, {"precision": "f32"}]
)
def test_no_gpu_is_looked_for_where_it_changes_nothing(
    machine: Machine, fields: dict[str, Any]
) -> None:
    machine()
    _resolve(_never, **fields)


def test_without_openvino_the_run_goes_on_and_says_so(machine: Machine) -> None:
    machine(openvino=False)
    warnings: list[str] = []
    found = resolve_engine(FeaturizerConfig(), warnings.append, gpu=lambda: False)
    assert found == TENSORFLOW
    (sentence,) = warnings
    assert "OpenVINO" in sentence
    assert "make setup" in sentence


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"engine": "openvino"}, r"featurizer\.engine: openvino"),
        ({"engine": "openvino", "precision": "f32"}, r"featurizer\.engine: openvino"),
        ({"precision": "bf16"}, r"featurizer\.precision"),
    ],
)
def test_what_was_asked_for_and_is_missing_is_bad_input(
    machine: Machine, fields: dict[str, Any], named: str
) -> None:
    machine(openvino=False)
    with pytest.raises(InputError, match=named):
        _resolve(_never, **fields)


def test_a_plugin_that_does_not_load_counts_as_missing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine()

    class Broken:
        @staticmethod
        def Core() -> None:  # noqa: N802 - OpenVINO's name
            raise RuntimeError("Exception from core.cpp:1:\nno plugin for CPU\n")

    monkeypatch.setattr(engine_resolution, "import_openvino", lambda: Broken)
    with pytest.raises(InputError, match="no plugin for CPU"):
        _resolve(engine="openvino")


def test_bf16_on_a_cpu_without_it_is_bad_input(machine: Machine) -> None:
    machine(bf16=False)
    with pytest.raises(InputError, match=r"featurizer\.precision: .*f32 or auto"):
        _resolve(precision="bf16")
