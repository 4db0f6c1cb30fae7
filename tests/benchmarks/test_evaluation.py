"""The bench of evaluations judges the golden run's models in all ways."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun


@pytest.mark.slow
@pytest.mark.long
def test_both_ways_are_measured_and_come_to_the_same(
    golden: GoldenRun, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import evaluation

    evaluation.main([str(golden.layout.root), "--models", "cascade", "--repeats", "1"])
    line, evaluators = capsys.readouterr().out.splitlines()
    found = re.fullmatch(
        r"cascade +with the network +([\d.]+) CPU s, on answers +([\d.]+): ([\d.]+)×; "
        r"largest difference of a figure (\S+)",
        line,
    )
    assert found, line
    assert float(found[4]) < 1e-4
    assert re.fullmatch(
        r"cascade +TFX's Evaluator +([\d.]+) CPU s, this one +([\d.]+): ([\d.]+)×; "
        r"all slices' \d+ records the same",
        evaluators,
    ), evaluators
