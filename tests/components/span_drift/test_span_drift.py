"""How far two spans are apart, and what is said beyond the limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfx.types import standard_artifacts

from common.errors import InputError
from components.radiograph_example_gen.artifact import SplitManifest
from components.radiograph_example_gen.manifest import write_csv
from components.radiograph_example_gen.span_facts import NUMBERS, SPAN_FACTS_FILE, TEXTS
from components.span_drift import SpanDrift
from components.span_drift.artifact import SpanDriftReport, read_drift
from components.span_drift.executor import Executor, check, measure
from schema import contract

COUNT = 60


def _rows(span: int, seed: int, source: str, shift: float) -> list[list[str]]:
    random = np.random.default_rng(seed)
    numbers = {name: random.normal(100, 10, COUNT) for name in NUMBERS}
    numbers[contract.MEAN] += shift
    texts = dict.fromkeys(TEXTS, [contract.UNKNOWN] * COUNT) | {
        contract.SOURCE: [source] * COUNT,
        contract.LABEL_TEXT: ["a", "b"] * (COUNT // 2),
    }
    # An age that is unknown is an empty cell.
    columns = [
        ["" if name == contract.AGE and i % 2 else str(value) for i, value in enumerate(values)]
        for name, values in numbers.items()
    ]
    columns += [texts[name] for name in TEXTS]
    return [[str(span), *cells] for cells in zip(*columns, strict=True)]


def _manifest(folder: Path, *spans: tuple[int, str, float]) -> str:
    folder.mkdir(exist_ok=True)
    rows = [row for i, (n, *what) in enumerate(spans) for row in _rows(n, i, *what)]  # type: ignore[arg-type]
    write_csv(str(folder), SPAN_FACTS_FILE, ("span", *NUMBERS, *TEXTS), rows)
    summary = {"spans": [{"number": number} for number, *_ in spans]}
    (folder / contract.SUMMARY_FILE).write_text(json.dumps(summary))
    return str(folder)


def test_two_spans_of_one_kind_are_near(tmp_path: Path) -> None:
    found = measure(_manifest(tmp_path, (4, "here", 0), (7, "here", 0)), 0.3)
    assert (found["span"], found["previous"], found["images"]) == (7, 4, [COUNT, COUNT])
    values = {row["feature"]: row["value"] for row in found["features"]}
    assert set(values) == {
        "width", "height", "bytes", "mean", "std", "entropy", "age",
        "class", "sex", "age_group", "view", "source",
    }  # fmt: skip
    assert max(values.values()) < 0.25
    check(found)


def test_what_is_beyond_the_limit_is_named_with_its_distance(tmp_path: Path) -> None:
    uri = _manifest(tmp_path, (1, "here", 0), (2, "there", 60))
    found = measure(uri, 0.6)
    with pytest.raises(InputError) as caught:
        check(found)
    said = str(caught.value).splitlines()
    assert said[0] == (
        "the images drift: span 2 is further from span 1 than data.max_drift = 0.6 in"
    )
    assert {line.split(":")[0].strip() for line in said[1:-1]} == {"mean", "source"}
    assert "source: 1.000 (L_INFTY)" in said[1]
    check(measure(uri, None))


@pytest.mark.parametrize("empty", [False, True])
def test_without_a_span_before_there_is_nothing_to_compare(tmp_path: Path, empty: bool) -> None:
    uri = _manifest(tmp_path, (1, "here", 0))
    if empty:
        summary = {"spans": [{"number": 1}, {"number": 2}]}
        Path(uri, contract.SUMMARY_FILE).write_text(json.dumps(summary))
    found = measure(uri, 0.1)
    assert (found["previous"], found["features"]) == (None, [])
    check(found)


def test_the_node_writes_before_it_stops(tmp_path: Path) -> None:
    manifest, report = SplitManifest(), SpanDriftReport()
    manifest.uri = _manifest(tmp_path / "m", (1, "here", 0), (2, "there", 0))
    report.uri = str(tmp_path / "d")
    properties: dict[str, Any] = {"max_drift": 0.5}
    with pytest.raises(InputError, match=r"the images drift"):
        Executor().Do({"manifest": [manifest]}, {"drift": [report]}, properties)
    assert read_drift(report.uri)["limit"] == 0.5


def test_the_limit_is_in_the_cache_key_where_there_is_one() -> None:
    from tfx.types import channel

    given = channel.Channel(type=SplitManifest)
    node = SpanDrift(manifest=given, max_drift=0.5, code_digest="c")
    assert node.exec_properties["max_drift"] == 0.5
    assert node.outputs["drift"].type is SpanDriftReport
    with pytest.raises(TypeError):
        SpanDrift(
            manifest=channel.Channel(type=standard_artifacts.Model), max_drift=None, code_digest=""
        )


def test_columns_of_the_table_are_compared_too(tmp_path: Path) -> None:
    names = ("span", *NUMBERS, *TEXTS, "table_finite/crp", "table/smoker")
    rows = [
        [*row, str(value) if index % 4 else "", word]
        for span, shift, word in ((4, 0, "yes"), (7, 300, "no"))
        for index, (row, value) in enumerate(
            zip(_rows(span, span, "here", 0), range(shift, shift + COUNT), strict=True)
        )
    ]
    _manifest(tmp_path, (4, "here", 0), (7, "here", 0))
    write_csv(str(tmp_path), SPAN_FACTS_FILE, names, rows)
    found = measure(str(tmp_path), 0.5)
    values = {row["feature"]: row["value"] for row in found["features"]}
    assert values["table/crp"] > 0.5 and values["table/smoker"] == 1
    with pytest.raises(InputError, match="table/crp"):
        check(found)
