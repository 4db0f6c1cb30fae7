"""What is left out is the same, wherever it is kept; and of much of it, little is held."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from components.radiograph_example_gen import listed
from components.radiograph_example_gen.discovery import Kind, LeftOut
from components.radiograph_example_gen.listed import joined, kept
from components.radiograph_example_gen.settings import Layout
from tests.components.radiograph_example_gen.conftest import RunExecutor, Tree

_HELD = 4
_TEXTS = ("b.png", "a\nb", 'say "x", y', "ü/é.png", "\udcff.png", "", "line 10", "line 9")


@pytest.fixture
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed, "_HELD", _HELD)


def _items(count: int) -> list[LeftOut]:
    drawn = random.Random(count)
    kinds = list(Kind)
    return [
        LeftOut(drawn.choice(_TEXTS), drawn.choice(kinds), drawn.choice(_TEXTS))
        for _ in range(count)
    ]


def test_little_is_a_tuple() -> None:
    items = _items(5)
    assert kept(items) == tuple(items)
    assert kept(items, in_order=True) == tuple(sorted(items))
    assert joined(kept(items), (), kept(items[:1])) == (*items, items[0])


@pytest.mark.usefixtures("_little")
@pytest.mark.parametrize("count", [_HELD, 3 * _HELD, 10 * _HELD + 1])
def test_much_is_read_as_it_was_added_or_in_order(count: int) -> None:
    items = _items(count)
    as_added, in_order = kept(items), kept(items, in_order=True)
    assert not isinstance(as_added, tuple)
    assert list(as_added) == items
    assert list(in_order) == sorted(items)
    assert len(as_added) == len(in_order) == count
    assert items[0] in as_added
    assert LeftOut("another", Kind.BAD, "") not in in_order


@pytest.mark.usefixtures("_little")
def test_much_may_be_read_by_two_at_once() -> None:
    items = _items(5 * _HELD)
    as_added = kept(items)
    assert list(zip(as_added, as_added, strict=True)) == [(item, item) for item in items]


@pytest.mark.usefixtures("_little")
def test_much_and_little_stand_one_behind_the_other() -> None:
    items, few = _items(3 * _HELD), tuple(_items(2))
    both = joined(few, kept(items), few)
    assert list(both) == [*few, *items, *few]
    assert len(both) == len(items) + 2 * len(few)
    assert items[-1] in both


def test_of_much_little_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed, "_HELD", 500)

    def many() -> Iterator[LeftOut]:
        # Names that come in any order, so that each part of the file is read from all along.
        for number in range(20_000):
            name = f"img/{number * 7919 % 20_000:08d}.png"
            yield LeftOut(name, Kind.ROW_WITHOUT_IMAGE, f"line {number}: no image")

    tracemalloc.start()
    try:
        items = kept(many(), in_order=True)
        assert [item.path for item in items] == sorted(item.path for item in many())
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        assert sum(1 for _ in kept(items, in_order=True)) == 20_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Bytes; 20,000 of them are six million as objects.
    assert peak - before < 2_000_000


@pytest.mark.parametrize("kind", ["folders", "table"])
def test_the_manifest_has_the_same_bytes_wherever_it_was_kept(
    tree: Tree,
    run_executor: RunExecutor,
    monkeypatch: pytest.MonkeyPatch,
    kind: Literal["folders", "table"],
) -> None:
    classes = ("COVID-19", "Normal", "Viral Pneumonia")
    rows = [[f"{name}/{n}.png", name, f"p{name[0]}{n}", ""] for name in classes for n in range(8)]
    lacking = [[f"gone{n * 7 % 30}.png", "Normal", "", "old"] for n in range(30)]
    unlabelled = [[f"Normal/{n}.png", "", "", ""] for n in range(8, 20)]
    tree.metadata([*lacking, *rows, *unlabelled], "file,label,patient_id,age")
    files = ("left_out.csv", "manifest.csv", "summary.json")

    def content(held: int) -> list[bytes]:
        monkeypatch.setattr(listed, "_HELD", held)
        run = run_executor(tree.root, layout=Layout(kind))
        return [(Path(run.manifest.uri) / name).read_bytes() for name in files]

    small, large = content(_HELD), content(1_000)
    assert small == large
    # Rows without an image, and ages that are no number.
    assert small[0].count(b"\n") > 60
