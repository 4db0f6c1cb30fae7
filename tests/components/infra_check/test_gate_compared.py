"""The input gate's verdict is compared, too: in each form of a request."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.infra_check import requests_sent
from components.infra_check.requests_sent import Answer, Findings, Sample, check_served
from schema import contract
from tests.components.infra_check import in_thread
from tests.components.infra_check.in_thread import served_in_thread
from tests.loaded_once import loaded_once
from tests.models.test_input_gate_models import EXPECTED, Made, _files, asked, make

__all__ = ["asked", "loaded_once", "make", "served_in_thread"]  # Fixtures.
SURE = np.array([0.9, 0.1])


def _compared(own: Answer, served: Answer) -> Findings:
    findings = Findings()
    sample = Sample("ab" * 32, {})
    requests_sent._compare("bytes over gRPC", lambda _: served, [sample], [own], findings)
    return findings


@pytest.mark.parametrize(
    ("in_domain", "reason"), [(True, "ok"), (False, "turned"), (False, "inverted"), (None, None)]
)
def test_another_verdict_is_a_failure(in_domain: bool | None, reason: str | None) -> None:
    own = Answer("Normal", SURE, False, "inverted")
    found = _compared(own, Answer("Normal", SURE, in_domain, reason))
    assert found.gated == 1
    assert bool(found.failures) == (reason != "inverted")
    for said in found.failures:
        assert said.startswith("bytes over gRPC, abababababab: the input gate says")


def test_a_verdict_and_a_reason_that_contradict_each_other_are_a_failure() -> None:
    odd = Answer("Normal", SURE, True, "inverted")
    (said,) = _compared(odd, odd).failures
    assert said.endswith("in_domain is True, and the reason inverted")


def test_a_model_without_a_gate_is_not_asked_for_its_verdict() -> None:
    bare = Answer("Normal", SURE)
    found = _compared(bare, bare)
    assert (found.gated, found.failures) == (0, [])


@pytest.mark.slow
@pytest.mark.usefixtures("loaded_once")
def test_a_served_gate_says_what_the_savedmodel_says(
    make: Callable[[str], Made],
    asked: np.ndarray,
    served_in_thread: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = tmp_path / "models" / "1"
    shutil.copytree(make("cross").folder, version)
    samples = [
        Sample(f"{index:02}", {contract.INPUT_IMAGES: file})
        for index, file in enumerate(_files(asked)[: len(EXPECTED)])
    ]
    # Converted once for both servers.
    load = functools.cache(in_thread.load_servable)
    monkeypatch.setattr(in_thread, "load_servable", load)
    found = check_served(version, samples)
    assert found.failures == []
    assert found.gated == found.requests == 3 * len(samples)

    own_answers = requests_sent._own_answers

    def other(*arguments: Any) -> list[Answer]:
        return [answer._replace(reason="unlike_training") for answer in own_answers(*arguments)]

    monkeypatch.setattr(requests_sent, "_own_answers", other)
    said = [each for each in check_served(version, samples).failures if "input gate says" in each]
    # In each form, each that isn't kept out for that.
    assert len(said) == 3 * sum(reason != "unlike_training" for reason in EXPECTED)
