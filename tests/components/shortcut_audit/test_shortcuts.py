"""Planted shortcuts are measured, and where there is none, none is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.runtime import prepare_environment

prepare_environment()

from components.shortcut_audit import shortcuts  # noqa: E402
from components.shortcut_audit.radiographs import Radiograph  # noqa: E402
from components.shortcut_audit.regions import border, lung_field  # noqa: E402
from components.shortcut_audit.shortcuts import (  # noqa: E402
    BORDERS,
    MASKED,
    METADATA,
    STATISTICS,
    WHOLE,
    Shortcut,
    column_of,
    column_shortcut,
    measure_shortcuts,
)
from schema import contract  # noqa: E402

MakeRadiographs = Callable[..., list[Radiograph]]


def _telling(found: list[Shortcut], against_rest: str | None = None) -> set[str]:
    return {s.seen for s in found if s.against_rest == against_rest and s.above_chance}


def test_nothing_predicts_the_class_of_noise(make_radiographs: MakeRadiographs) -> None:
    found = measure_shortcuts(make_radiographs(), 0)
    # `source` is unknown throughout.
    columns = {METADATA, column_shortcut("sex"), column_shortcut("age")}
    assert {s.seen for s in found} == columns | {STATISTICS, BORDERS, MASKED, WHOLE}
    assert {s.against_rest for s in found} == {None, "COVID-19", "Normal", "Viral Pneumonia"}
    assert {s.seen for s in found if s.against_rest} == columns
    assert [s.seen for s in found if s.above_chance] == []
    for s in found:
        assert s.total == 54
        assert s.chance == pytest.approx(2 / 3 if s.against_rest else 1 / 3)
        assert s.wilson95[0] <= s.accuracy == s.correct / s.total <= s.wilson95[1]


def test_a_mark_in_the_corner_is_found_in_the_border_and_outside_the_lungs(
    make_radiographs: MakeRadiographs,
) -> None:
    corners = (np.s_[:2, :2], np.s_[:2, -2:], np.s_[-2:, :2])

    def mark(fields: dict[str, Any], label: int) -> None:
        fields["thumbnail"][corners[label]] = 255

    found = measure_shortcuts(make_radiographs(change=mark), 0)
    assert _telling(found) == {BORDERS, MASKED, WHOLE}
    assert all(s.accuracy > 0.9 for s in found if s.seen == BORDERS)


def test_what_is_in_the_lungs_is_no_shortcut(make_radiographs: MakeRadiographs) -> None:
    def opacity(fields: dict[str, Any], label: int) -> None:
        fields["thumbnail"][12:20, 8:14] = (40, 130, 220)[label]

    assert _telling(measure_shortcuts(make_radiographs(change=opacity), 0)) == {WHOLE}


@pytest.mark.parametrize("values", [("a", "b", "c"), ("a", "b", contract.UNKNOWN)])
def test_a_column_that_names_the_class_is_found(
    make_radiographs: MakeRadiographs, values: tuple[str, ...]
) -> None:
    def name(fields: dict[str, Any], label: int) -> None:
        fields["text"]["source"] = values[label]

    found = measure_shortcuts(make_radiographs(change=name), 0)
    assert _telling(found) == {METADATA, column_shortcut("source")}
    assert [s.accuracy for s in found if s.seen == column_shortcut("source")] == [1.0] * 4


def test_an_age_that_is_known_for_one_class_only_tells_that_class(
    make_radiographs: MakeRadiographs,
) -> None:
    def forget(fields: dict[str, Any], label: int) -> None:
        if label:
            fields["numbers"]["age"] = float("nan")

    found = measure_shortcuts(make_radiographs(change=forget), 0)
    (age,) = (s for s in found if s.seen == column_shortcut("age") and s.against_rest == "COVID-19")
    assert age.accuracy == 1
    assert column_shortcut("age") in _telling(found)
    assert column_shortcut("age") not in _telling(found, "Normal")


def test_a_value_that_only_the_test_split_has_is_no_error(
    make_radiographs: MakeRadiographs,
) -> None:
    def rename(fields: dict[str, Any], label: int) -> None:
        if fields["split"] == contract.SPLIT_TEST:
            fields["text"]["sex"] = "X"

    assert _telling(measure_shortcuts(make_radiographs(change=rename), 0)) == set()


def test_without_test_images_or_a_second_class_nothing_is_measured(
    make_radiographs: MakeRadiographs,
) -> None:
    images = make_radiographs()
    assert measure_shortcuts([i for i in images if i.split != contract.SPLIT_TEST], 0) == []
    assert measure_shortcuts([i for i in images if i.label == 1], 0) == []
    assert measure_shortcuts([], 0) == []


def test_two_classes_are_told_apart_once(make_radiographs: MakeRadiographs) -> None:
    found = measure_shortcuts([i for i in make_radiographs() if i.label < 2], 0)
    assert {s.against_rest for s in found} == {None}
    assert {s.chance for s in found} == {0.5}


def test_no_image_of_the_test_split_is_fitted(make_radiographs: MakeRadiographs) -> None:
    """Labels that exist in the test split alone can't be learned: all of them are wrong."""
    images = [
        replace(image, label=image.label + 3) if image.split == contract.SPLIT_TEST else image
        for image in make_radiographs()
    ]
    found = measure_shortcuts(images, 0)
    assert {s.correct for s in found if s.against_rest is None} == {0}


def test_of_very_many_images_the_seed_draws_those_that_are_fitted(
    make_radiographs: MakeRadiographs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortcuts, "_MOST_FITTED", 30)
    images = make_radiographs()
    one, same, other = (measure_shortcuts(images, seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_column_is_known_by_its_name() -> None:
    assert column_of(column_shortcut("view")) == "view"
    assert column_of(METADATA) is None


def test_border_and_lungs_are_where_they_should_be() -> None:
    ring, lungs = border(32), lung_field(32)
    assert ring.sum() == 32 * 32 - 28 * 28
    assert ring[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    assert not lungs[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert lungs[16, 16]
    np.testing.assert_array_equal(lungs, lungs[:, ::-1])
    np.testing.assert_array_equal(lungs, lungs.T)


def test_the_lungs_of_phantoms_are_masked() -> None:
    from pipeline.phantoms.anatomy import Anatomy, draw_chest
    from pipeline.phantoms.canvas import Pose

    for seed in range(8):
        rng = np.random.default_rng(seed)
        chest = draw_chest(Anatomy.draw(rng), Pose.draw(rng))
        small = np.asarray(chest.lungs, np.float64).reshape(32, 16, 32, 16).mean((1, 3))
        assert small[lung_field(32)].sum() > 0.99 * small.sum()
        assert small[border(32)].sum() < 0.01 * small.sum()
