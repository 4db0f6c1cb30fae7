"""The rows, their order, the file of figures and the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.side_by_side.record import Figure, Record
from benchmarks.side_by_side.rows import GROUPS, ROWS, selected, turns
from benchmarks.side_by_side.sides import NEW, OLD
from benchmarks.side_by_side.table import loads, markdown
from common.errors import InputError

_SETTINGS = {"images": 45, "base": "a"}


def test_a_row_brings_those_that_it_starts_from() -> None:
    assert [row.name for row in selected(["make-run"])] == ["make-run"]
    assert [row.name for row in selected(["serve"])] == ["cold", "serve", "serve-again"]
    assert [row.name for row in selected(["delivery"])] == ["cold", "first-span", "delivery"]
    assert selected([]) == list(ROWS)
    # Whatever a row needs comes before it.
    for number, row in enumerate(ROWS):
        assert set(row.needs) <= {earlier.name for earlier in ROWS[:number]}
    with pytest.raises(InputError, match=f"only: x is no row; rows are {', '.join(GROUPS)}"):
        selected(["cold", "x"])


def test_the_sides_take_turns() -> None:
    rows = {row.name: row for row in ROWS}
    assert turns(rows["cold"], 3) == [(0, OLD), (0, NEW), (1, NEW), (1, OLD), (2, OLD), (2, NEW)]
    assert turns(rows["first-span"], 3) == [(0, OLD), (0, NEW)]
    assert turns(rows["seed"], 2) == [(0, NEW), (1, NEW)]


def test_figures_are_there_again_and_not_for_another_measurement(tmp_path: Path) -> None:
    record = Record(tmp_path, _SETTINGS)
    figure = Figure(2.0, 1.5, 300.0, 0.5, "5 models", {"total": 2.0})
    record.put("cold", OLD, 1, figure)
    again = Record(tmp_path, _SETTINGS)
    assert again.get("cold", OLD, 1) == figure
    assert again.get("cold", OLD, 0) is again.get("cold", NEW, 1) is None
    again.put("cold", NEW, 0, figure)
    assert Record(tmp_path, _SETTINGS).all("cold", OLD) == [figure]
    with pytest.raises(InputError, match=r"something else \(images was 45\)"):
        Record(tmp_path, {**_SETTINGS, "images": 60})


def test_the_table_shows_medians_ratios_and_shares(tmp_path: Path) -> None:
    record = Record(tmp_path, _SETTINGS)
    for number, seconds in enumerate((100.0, 140.0, 1200.0)):
        record.put("cold", OLD, number, Figure(seconds, 2 * seconds, 1000.0, load=0.1))
    record.put("cold", NEW, 0, Figure(70.0, 100.0, 800.0, load=0.7))
    record.put("delivery", OLD, 0, Figure(70.0, 140.0, 1000.0))
    record.put("delivery", NEW, 0, Figure(7.0, 25.0, 1000.0))
    record.put("seed", NEW, 0, Figure(35.0, 50.0, 1000.0))
    for side, models in ((OLD, 5), (NEW, 6)):
        record.put("serve", side, 0, Figure(9.0, 9.0, 9.0, what=f"{models} models"))
    rows = selected([])
    lines = markdown(rows, record, {OLD: "ba497f8", NEW: "abc"}).splitlines()
    assert lines[0].split(" | ")[1:4] == ["s, ba497f8", "s, abc", "old / new"]
    cells = {line.split(" | ")[0]: line.rstrip(" |").split(" | ")[1:] for line in lines}
    # 1,200 s were an outlier.
    assert cells["| cold run"] == [
        *("140.0", "70.0", "2.00"),
        *("280.0", "100.0", "2.80"),
        *("1,000", "800", "1.25"),
    ]
    assert "| `cxr serve` to `/readyz`, no networks kept (5 models, 6 models)" in cells
    assert not any("make run" in line for line in lines)
    # The second table, below the first one's line of the same row.
    assert cells["| a tenth delivered after that"] == ["50.0 %", "10.0 %", "50.0 %", "25.0 %"]
    assert cells["| again, with another seed"] == ["–", "50.0 %", "–", "50.0 %"]
    assert loads(rows, record) == (0.0, 0.7)
