"""The documented findings on the reference radiographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.runtime import prepare_environment

prepare_environment()

RADIOGRAPHS = Path(__file__).parents[4] / "shared" / "data" / "radiography"


# What finds it is tested on phantoms and noise beside this.
@pytest.mark.long
@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.skipif(not RADIOGRAPHS.is_dir(), reason="needs ../shared/data/radiography")
def test_age_and_source_predict_the_class_and_one_person_has_two_ids(
    generated: Callable[..., dict[str, list[Any]]],
    audited: Callable[..., tuple[Any, dict[str, Any]]],
    tmp_path: Path,
) -> None:
    inputs = generated(RADIOGRAPHS, tmp_path / "examples", seed=1)
    _, content = audited(inputs, tmp_path / "audit", min_correlation=0.75)
    measured = {(s["seen"], s["against_rest"]): s for s in content["shortcuts"]}
    for seen, least in (
        ("metadata", 0.6),
        ("column:age_group", 0.6),
        ("column:source", 0.6),
        ("borders_and_corners", 0.7),
        ("lungs_masked", 0.7),
    ):
        assert measured[seen, None]["above_chance"], seen
        assert measured[seen, None]["accuracy"] > least, seen
    for column in ("age_group", "source"):
        assert measured[f"column:{column}", "COVID-19"]["accuracy"] == 1
        # Both other classes are of children from one hospital.
        assert not measured[f"column:{column}", "Normal"]["above_chance"]
    assert any(sentence.startswith("age_group alone predicts") for sentence in content["findings"])
    assert any(sentence.startswith("source alone predicts") for sentence in content["findings"])
    *_, last = content["findings"]
    assert last.startswith("On this data ")
    assert "age_group, source" in last
    assert content["patients"]["across_splits"] == 0
    # Three of the 657 show one man, under two ids, one for each of two collections; no two others
    # are alike.
    duplicates = content["duplicates"]
    pairs = duplicates["pairs_across_splits"] + duplicates["pairs_within_a_split"]
    seen_patients = {image["patient"] for pair in pairs for image in pair["images"]}
    assert seen_patients == {"cohen-253", "hannover-969dd2e0"}
    assert duplicates["across_splits"] == 2
