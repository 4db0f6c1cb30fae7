"""image_facts.csv: a row for each image of a split, as the examples have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import InputError
from components.radiograph_example_gen.image_facts import IMAGE_FACTS_FILE, read_image_facts
from components.report.images import NUMBERS, read_facts
from tests.golden_run import GoldenRun


def test_facts_are_those_of_the_examples(golden: GoldenRun) -> None:
    rows = {
        row["sha256"]: row for row in read_image_facts(Path(golden.summary["data"]["manifest"]))
    }
    examples = read_facts(_examples(golden))
    assert set(rows) == {facts.sha256 for facts in examples}
    for facts in examples:
        row = rows[facts.sha256]
        assert row["split"] == facts.split
        for name, feature in NUMBERS.items():
            assert float(row[feature]) == pytest.approx(facts.numbers[name])


def test_each_pushed_version_keeps_them_and_its_answers(golden: GoldenRun) -> None:
    for folder in golden.layout.pushed.glob("*/*"):
        assert read_image_facts(folder)
        champion = folder.parent.name == "champion"
        assert (folder / "validation_predictions.json").exists() != champion


def test_a_file_without_a_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / IMAGE_FACTS_FILE).write_text("sha256,split\n")
    with pytest.raises(InputError, match="has no column image/"):
        read_image_facts(tmp_path)


def _examples(golden: GoldenRun) -> str:
    (folder,) = (golden.layout.artifacts / "RadiographExampleGen" / "examples").iterdir()
    return str(folder)
