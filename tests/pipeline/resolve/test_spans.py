"""Which folders `{SPAN}` stands for, and what is said where it stands for none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.errors import InputError
from pipeline.config.pipeline_config import PipelineConfig, check_inputs, load_config
from pipeline.resolve.columns import resolve_columns
from pipeline.resolve.spans import resolve_spans
from pipeline.study.command import open_experiment


def _config(folder: Path, pattern: str = "span-{SPAN}", **data: Any) -> PipelineConfig:
    return load_config(overrides={"data": {"dir": folder / pattern, **data}})


def _make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)


def _resolved(config: PipelineConfig) -> list[tuple[int, str, bool]]:
    spans = resolve_spans(config.data)
    assert spans is not None
    return [(span.number, span.folder, span.taken) for span in spans.folders]


def test_a_folder_without_the_pattern_is_no_span(tmp_path: Path) -> None:
    assert resolve_spans(_config(tmp_path, "images").data) is None


def test_spans_are_in_the_order_of_their_numbers_and_gaps_are_fine(tmp_path: Path) -> None:
    _make(tmp_path, "span-10", "span-02", "span-1", "span-x", "other", "span-3b")
    (tmp_path / "span-4").touch()
    assert _resolved(_config(tmp_path)) == [
        (1, "span-1", True),
        (2, "span-02", True),
        (10, "span-10", True),
    ]


def test_a_window_takes_the_latest_and_a_span_is_the_last(tmp_path: Path) -> None:
    _make(tmp_path, *(f"span-{n}" for n in (1, 2, 3, 5)))
    config = _config(tmp_path, window=2)
    assert [n for n, _, taken in _resolved(config) if taken] == [3, 5]
    config = _config(tmp_path, window=2, span=3)
    assert [(n, taken) for n, _, taken in _resolved(config)] == [(1, False), (2, True), (3, True)]
    assert all(taken for _, _, taken in _resolved(_config(tmp_path, window=9)))


def test_the_number_may_be_in_the_middle_of_the_path(tmp_path: Path) -> None:
    _make(tmp_path, "1/images", "02/images", "3")
    config = _config(tmp_path, "{SPAN}/images", metadata=tmp_path / "{SPAN}/table.csv")
    spans = resolve_spans(config.data)
    assert spans is not None
    assert spans.root == tmp_path
    assert [(s.folder, s.metadata_csv) for s in spans.folders] == [
        ("1/images", str(tmp_path / "1/table.csv")),
        ("02/images", str(tmp_path / "02/table.csv")),
    ]
    check_inputs(config)


def test_none_names_the_pattern_and_what_there_is(tmp_path: Path) -> None:
    _make(tmp_path, "Normal", "COVID")
    with pytest.raises(InputError) as caught:
        resolve_spans(_config(tmp_path).data)
    assert str(caught.value) == (
        f"data.dir: no folder is there for {tmp_path}/span-{{SPAN}}; {tmp_path} has COVID, "
        "Normal. Name the folders with a number where {SPAN} is."
    )
    with pytest.raises(InputError, match=r"gone is no folder"):
        resolve_spans(_config(tmp_path / "gone").data)


def test_two_folders_of_one_number_are_an_error(tmp_path: Path) -> None:
    _make(tmp_path, "span-1", "span-01")
    with pytest.raises(InputError, match=r"span-01 and span-1 in .* are both span 1"):
        resolve_spans(_config(tmp_path).data)


def test_a_last_span_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    _make(tmp_path, "span-1", "span-3")
    with pytest.raises(InputError, match=r"data\.span: there is no span 2 .*; there are 1, 3\."):
        resolve_spans(_config(tmp_path, span=2).data)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dir": "x/{SPAN}", "window": 0}, "data.window: "),
        ({"dir": "x", "window": 2}, "window: needs {SPAN} in data.dir, and x has none"),
        ({"dir": "x", "max_drift": 0.2}, "max_drift: needs {SPAN}"),
        ({"dir": "x", "metadata": "{SPAN}.csv"}, "metadata: needs {SPAN}"),
        ({"dir": "{SPAN}/{SPAN}"}, "data.dir: {SPAN} can stand once in a path"),
        ({"dir": "{SPAN:2}"}, "data.dir: write {SPAN}"),
    ],
)
def test_what_makes_no_sense_is_said_at_the_start(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(overrides={"data": fields})
    assert said in str(caught.value)


def test_columns_are_those_that_the_metadata_of_all_taken_spans_have(tmp_path: Path) -> None:
    _make(tmp_path, "span-1", "span-2", "span-3", "span-4")
    (tmp_path / "span-1/metadata.csv").write_text("file,nurse\n1,a\n2,b\n")
    (tmp_path / "span-2/metadata.csv").write_text("file,unit,scanner\n1,a,x\n2,a,y\n")
    (tmp_path / "span-3/metadata.csv").write_text("file,scanner,unit,room\n1,x,b,p\n2,y,b,q\n")
    config = _config(tmp_path, window=3)
    resolved = resolve_columns(config, resolve_spans(config.data))
    assert resolved.data.slice_columns == ("unit", "scanner")
    config = _config(tmp_path, window=3, slice_columns=["room"])
    with pytest.raises(InputError, match=r"span-2/metadata\.csv has no column 'room'"):
        resolve_columns(config, resolve_spans(config.data))


def test_one_table_for_all_spans_is_read_once(tmp_path: Path) -> None:
    _make(tmp_path, "span-1", "span-2")
    table = tmp_path / "table.csv"
    table.write_text("file,unit\nspan-1/a.png,a\nspan-2/a.png,b\n")
    config = _config(tmp_path, metadata=table)
    spans = resolve_spans(config.data)
    assert spans is not None
    assert {span.metadata_csv for span in spans.folders} == {None}
    assert resolve_columns(config, spans).data.slice_columns == ("unit",)


def test_training_goes_on_where_there_are_spans(tmp_path: Path) -> None:
    assert _config(tmp_path).continues
    assert not _config(tmp_path, "images").continues
    for given in (True, False):
        data = {"dir": tmp_path / "{SPAN}"}
        assert load_config(overrides={"data": data, "continue_training": given}).continues == given


def test_a_study_takes_no_pattern(tmp_path: Path) -> None:
    class Screen:
        def warn(self, sentence: str) -> None: ...

        def featurized(self, backbone: str, done: int, total: int) -> None: ...

        def finished(self, result: Any, *, computed: bool) -> None: ...

    with (
        pytest.raises(InputError, match=r"data\.dir: a study splits the images anew"),
        open_experiment(_config(tmp_path), [1], Screen()),
    ):
        pass
