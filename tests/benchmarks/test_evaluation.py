"""The bench of evaluations judges the golden run's models in both ways."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun


@pytest.mark.slow
def test_both_ways_are_measured_and_come_to_the_same(
    golden: GoldenRun, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import evaluation

    evaluation.main([str(golden.layout.root), "--models", "cascade"])
    (line,) = capsys.readouterr().out.splitlines()
    found = re.fullmatch(
        r"cascade +with the network +([\d.]+) CPU s, on answers +([\d.]+): ([\d.]+)×; "
        r"largest difference of a figure (\S+)",
        line,
    )
    assert found, line
    assert float(found[4]) < 1e-4
