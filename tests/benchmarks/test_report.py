"""The bench of report and audit measures the nodes of the golden run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun


@pytest.mark.slow
@pytest.mark.long
def test_each_node_has_a_line(golden: GoldenRun, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import report

    report.main([str(golden.layout.root)])
    found = [
        re.fullmatch(r"(\w+) +([\d.]+) CPU s +([\d.]+) s  (.*)", line)
        for line in capsys.readouterr().out.splitlines()
    ]
    lines = [match.groups() for match in found if match]
    assert [line[0] for line in lines] == ["Report", "ShortcutAudit"]
    assert all(float(cpu) > 0 and float(wall) > 0 for _, cpu, wall, _ in lines)
    page = (golden.layout.report / "index.html").read_text()
    images = page.count('<img src="data:image/jpeg')
    figures = len(list((golden.layout.report / "figures").iterdir()))
    assert lines[0][3] == f"6 models, {figures} figures, {images} images and heat maps"
    assert re.fullmatch(r"\d+ near-duplicates, \d+ shortcuts", lines[1][3])
