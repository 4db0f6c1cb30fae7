"""The choices that a model learned with, the note of them, and what is asked instead."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from models.rendering import (
    AS_LEARNED,
    DEFAULT,
    AskedRendering,
    Rendering,
    learned_by,
    note_text,
    read_note,
)
from schema import contract


@given(st.integers(1, 9), st.floats(0, 49.9))
def test_a_note_is_read_as_it_was_written(window: int, percentile: float) -> None:
    rendering = Rendering(window, percentile)
    assert read_note(note_text(rendering.to_json())) == rendering


@given(st.one_of(st.text(), st.from_type(type(None)), st.dictionaries(st.text(), st.integers())))
def test_another_text_is_no_note(content: object) -> None:
    for text in (json.dumps(content), str(content)):
        with pytest.raises(ValueError):
            read_note(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"dicom_window": 0, "dicom_percentile": 0}',
        '{"dicom_window": 1, "dicom_percentile": 50}',
        '{"dicom_window": true, "dicom_percentile": 0}',
        '{"dicom_window": "2", "dicom_percentile": 0}',
        '{"dicom_window": 2}',
        "[]",
        "{",
    ],
)
def test_a_damaged_note_stops_the_model(tmp_path: Path, text: str) -> None:
    """A guess would be another picture."""
    file = tmp_path / contract.RENDERING_NOTE_FILE
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(InputError, match=r"cxr_rendering\.json: can't be read .* Push the model"):
        learned_by(tmp_path)


def test_a_model_without_a_note_learned_nothing_that_is_known(tmp_path: Path) -> None:
    assert learned_by(tmp_path) is None


def test_what_is_asked_wins_field_by_field_and_a_difference_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    learned = Rendering(2, 1.5)
    with caplog.at_level(logging.WARNING):
        assert AS_LEARNED.over(learned, "m") == learned
        assert AskedRendering(2).over(learned, "m") == learned
        assert AS_LEARNED.over(None, "m") == DEFAULT
        assert AskedRendering(3).over(None, "m") == Rendering(3)
        assert not caplog.records
        assert AskedRendering(3).over(learned, "m") == Rendering(3, 1.5)
        assert AskedRendering(percentile=0).over(learned, "m") == Rendering(2)
    first, second = (record.getMessage() for record in caplog.records)
    assert first == (
        "m: DICOM becomes grey by dicom_window 3 and dicom_percentile 1.5, and the model's own is "
        "dicom_window 2 and dicom_percentile 1.5; it sees other pixels than it learned from"
    )
    assert "dicom_percentile 0, " in second
