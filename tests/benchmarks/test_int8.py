"""The bench of int8 measures the golden run's models."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from models.openvino_runtime import has_int8

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun


@pytest.mark.skipif(not has_int8(), reason="this CPU has neither VNNI nor AMX")
@pytest.mark.slow
def test_speed_and_answers_of_both_splits_are_told(
    golden: GoldenRun, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import int8

    int8.main([str(golden.layout.root), "--models", "densenet121"])
    machine, speed, *splits = capsys.readouterr().out.splitlines()
    assert "vnni" in machine or "amx" in machine
    assert re.fullmatch(
        r"densenet121 +images/s: f32 [\d.]+, bf16 [\d.]+, served [\d.]+, int8 alone [\d.]+; "
        r"quantised in \d+ CPU s",
        speed,
    ), speed
    for name, line in zip(("eval", "test"), splits, strict=True):
        found = re.fullmatch(
            rf"densenet121 +{name}, \d+ images: int8 alone moves ([\d.]+), \d+ classes? change; "
            r"asked again \d+%: moves ([\d.]+), (\d+) classes change, "
            r"[\d.]+ images/s beside [\d.]+: [\d.]+×; (not )?chosen",
            line,
        )
        assert found, line
        assert float(found[2]) <= float(found[1]) + 1e-3
