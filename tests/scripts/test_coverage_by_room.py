"""Coverage summed by room, and beside an earlier one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.coverage_by_room import main, percent, rooms


def _report(path: Path, **lines: tuple[int, int, int, int]) -> str:
    keys = ("covered_lines", "num_statements", "covered_branches", "num_branches")
    files = {
        name.replace("__", "/") + ".py": {"summary": dict(zip(keys, counts, strict=True))}
        for name, counts in lines.items()
    }
    path.write_text(json.dumps({"files": files}))
    return str(path)


@pytest.fixture
def before(tmp_path: Path) -> str:
    """Two files of one room, one of another."""
    return _report(
        tmp_path / "before.json",
        components__report__page=(8, 10, 1, 2),
        components__report__deeper__words=(2, 10, 0, 0),
        models__heads=(10, 10, 4, 4),
    )


def test_files_are_summed_by_room(before: str) -> None:
    assert rooms(Path(before)) == {
        "components/report": [10, 20, 1, 2],
        "models": [10, 10, 4, 4],
        "all": [20, 30, 5, 6],
    }
    assert percent(0, 0) == 100


def test_less_in_one_room_is_a_failure_however_much_more_in_another(
    before: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([before]) == 0
    assert main([before, before]) == 0
    after = _report(
        tmp_path / "after.json",
        components__report__page=(20, 20, 2, 2),
        models__heads=(10, 10, 3, 4),
    )
    capsys.readouterr()
    assert main([after, before]) == 1
    printed = capsys.readouterr().out
    assert "components/report                         100.0%    100.0%   +50.0 +50.0" in printed
    assert "models                                    100.0%     75.0%   +0.0 -25.0" in printed
