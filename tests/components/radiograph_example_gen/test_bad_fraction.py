"""How many bad images a run bears: a share of exactly the limit, and not one more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from common.errors import InputError
from components.radiograph_example_gen.cleaning import check_bad_fraction
from components.radiograph_example_gen.discovery import Kind, LeftOut
from components.radiograph_example_gen.manifest import read_summary
from components.radiograph_example_gen.settings import Limits


def _bad(count: int) -> list[LeftOut]:
    return [LeftOut(f"Normal/{index}.png", Kind.BAD, "the file is empty") for index in range(count)]


@pytest.mark.parametrize(
    ("limit", "bad", "found"),
    # 0.29 · 100 is 28.999… in floating point.
    [
        (0.05, 1, 20),
        (0.05, 2, 59),
        (0.05, 50, 1000),
        (0.29, 29, 100),
        (0.0, 0, 9),
        (1.0, 9, 9),
    ],
)
def test_the_limit_may_be_reached(limit: float, bad: int, found: int) -> None:
    check_bad_fraction(_bad(bad), found, Limits(max_bad_fraction=limit))


@pytest.mark.parametrize(
    ("limit", "bad", "found"),
    [(0.05, 1, 19), (0.05, 2, 39), (0.05, 51, 1000), (0.29, 30, 100), (0.0, 1, 9)],
)
def test_one_more_is_too_many(limit: float, bad: int, found: int) -> None:
    with pytest.raises(InputError, match=f"{bad} of {found} images are unusable"):
        check_bad_fraction(_bad(bad), found, Limits(max_bad_fraction=limit))


def test_what_is_left_out_for_other_reasons_does_not_count() -> None:
    counted = (Kind.BAD, Kind.UNREAD_IMAGE)
    others = [LeftOut(f"{kind}", kind, "-") for kind in Kind if kind not in counted]
    check_bad_fraction([*others * 20, *_bad(1)], 20, Limits(max_bad_fraction=0.05))


def test_the_default_is_one_image_in_twenty(tree: Any, run_executor: Callable[..., Any]) -> None:
    # 40 images: the tree's 8 in two classes, and 24 in the third.
    tree.fill("Normal", 24, 100)
    (tree.root / "Normal/0.png").write_bytes(b"")
    (tree.root / "Normal/1.png").write_bytes(b"")
    assert read_summary(run_executor(tree.root).manifest.uri)["bad"] == 2

    (tree.root / "Normal/2.png").write_bytes(b"")
    with pytest.raises(InputError, match="3 of 40 images are unusable"):
        run_executor(tree.root)
