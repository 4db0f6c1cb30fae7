"""The bench of exports runs each node that exports, on miniatures."""

from __future__ import annotations

import re

import pytest

from tests.miniatures import miniature_backbones


@pytest.mark.long
def test_each_node_that_exports_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with miniature_backbones():
        from benchmarks import export

        export.main(["--backbones", "vgg16,densenet121", "--repeats", "1"])
    lines = re.findall(r"^(\w+) +min +([\d.]+) .*CPU s$", capsys.readouterr().out, re.MULTILINE)
    nodes = ["vgg16", "densenet121", "ensemble", "cascade", "fusion"]
    assert [name for name, _ in lines] == nodes
    assert all(float(seconds) > 0 for _, seconds in lines)
