"""Spans in compiled pipelines: parameters, what a step looks for, and what was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest

from common.errors import InputError
from common.runtime import prepare_environment
from components.radiograph_example_gen.settings import SpanFolder, parse_settings
from pipeline.config.pipeline_config import PipelineConfig, load_config
from pipeline.kubeflow.compiler import compile_pipeline
from pipeline.kubeflow.spans import with_spans

prepare_environment()


def _config(place: str, steps: str | None = None, **fields: Any) -> PipelineConfig:
    kubeflow = {"data": steps or place, **fields.pop("kubeflow", {})}
    overrides = {
        "data": {"dir": Path(place), **fields.pop("data", {})},
        "kubeflow": kubeflow,
        "backbones": ["vgg16"],
        **fields,
    }
    return load_config(preset="demo", overrides=overrides)


def _values(data: str, *, window: int = 0, span: int = -1, **more: Any) -> dict[str, Any]:
    # KFP's numbers are doubles.
    numbers = {"edit_window": float(window), "edit_span": float(span)}
    return {"data_dir": data, "spans": "[]", **numbers, **more}


def _folders(values: dict[str, Any]) -> tuple[SpanFolder, ...]:
    rest = {"classes": '[{"name": "a", "folders": ["a"]}, {"name": "b", "folders": ["b"]}]'}
    fractions = {"test_fraction": "0.2", "eval_fraction": "0.3", "limits": "{}", "seed": 0}
    return parse_settings({**values, **rest, **fractions}).spans


@pytest.fixture
def store() -> Any:
    """An object store with spans 1, 2 and 10, a table of each, and a folder that is none."""
    system = fsspec.filesystem("memory")
    if system.exists("/spans"):
        system.rm("/spans", recursive=True)
    for name in ("span-01", "span-2", "span-10", "span-x"):
        system.pipe(f"/spans/{name}/images/Normal/a.png", name.encode())
        system.pipe(f"/spans/tables/{name}.csv", b"file\n")
    return system


def test_the_window_and_the_last_span_are_parameters_of_a_run() -> None:
    (spec,) = compile_pipeline(_config("/d/{SPAN}", data={"window": 3}, kubeflow={"pushed": "/h"}))
    declared = spec["root"]["inputDefinitions"]["parameters"]
    assert declared["window"] == {
        "parameterType": "NUMBER_INTEGER", "defaultValue": 3, "isOptional": True,
    }  # fmt: skip
    assert declared["span"]["defaultValue"] == -1
    assert declared["data"]["defaultValue"] == "/d/{SPAN}"
    tasks = spec["root"]["dag"]["tasks"]
    inputs = tasks["radiograph-example-gen"]["inputs"]["parameters"]
    assert inputs["edit_window"] == {"componentInputParameter": "window"}
    assert inputs["edit_span"] == {"componentInputParameter": "span"}
    assert inputs["splits_dir"]["runtimeValue"]["constant"] == "/h"
    # Drift before anything is trained, and each backbone's earlier model.
    assert "span-drift" in tasks["transform"]["dependentTasks"]
    sources = tasks["trainer-vgg16"]["inputs"]["artifacts"]
    for name in ("previous_model", "previous_run"):
        assert sources[name]["taskOutputArtifact"]["producerTask"] == "previous-vgg16"
    assert tasks["previous-vgg16"]["cachingOptions"] == {}


def test_without_spans_there_are_no_such_parameters() -> None:
    (spec,) = compile_pipeline(_config("/d"))
    assert not {"window", "span"} & spec["root"]["inputDefinitions"]["parameters"].keys()
    assert not {"span-drift", "previous-vgg16"} & spec["root"]["dag"]["tasks"].keys()


def test_training_goes_on_without_spans_where_that_is_asked_for() -> None:
    (spec,) = compile_pipeline(_config("/d", continue_training=True))
    assert "previous-vgg16" in spec["root"]["dag"]["tasks"]


@pytest.mark.parametrize(
    ("data", "steps", "metadata", "words"),
    [
        ("d/{SPAN}", "/d", None, r"either both it and data\.dir have \{SPAN\}"),
        ("d", "/d/{SPAN}", None, r"either both it and data\.dir have \{SPAN\}"),
        ("d", "/d", "/t/{SPAN}.csv", r"kubeflow\.metadata: needs \{SPAN\} in kubeflow\.data"),
        ("d/{SPAN}", "gs://b-{SPAN}/d", None, "not in the name of a bucket"),
        ("d/{SPAN}", "/d/{SPAN}/{SPAN}", None, r"kubeflow\.data: \{SPAN\} can stand once"),
    ],
)
def test_what_cannot_be_compiled(data: str, steps: str, metadata: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        compile_pipeline(_config(data, steps, kubeflow={"metadata": metadata}))


def test_spans_on_a_volume_are_looked_for_where_they_lie(tmp_path: Path) -> None:
    for name in ("1", "002", "3"):
        (tmp_path / f"s{name}").mkdir()
    found = with_spans(_values(f"{tmp_path}/s{{SPAN}}", window=2, span=2), tmp_path / "scratch")
    assert found["data_dir"] == str(tmp_path)
    assert _folders(found) == (SpanFolder(1, "s1"), SpanFolder(2, "s002"))
    (_, only) = _folders(with_spans(_values(f"{tmp_path}/s{{SPAN}}", window=1, span=2), tmp_path))
    assert (only.number, only.taken) == (2, True)


def test_spans_in_an_object_store_are_fetched_up_to_the_last(store: Any, tmp_path: Path) -> None:
    values = _values(
        "memory://spans/span-{SPAN}/images",
        span=2,
        metadata_csv="memory://spans/tables/span-{SPAN}.csv",
    )
    found = with_spans(values, tmp_path)
    one, two = _folders(found)
    root = Path(found["data_dir"])
    assert (one.folder, two.folder) == ("span-01/images", "span-2/images")
    assert (root / one.folder / "Normal/a.png").read_bytes() == b"span-01"
    assert sorted(path.name for path in root.iterdir()) == ["span-01", "span-2"]
    assert two.metadata_csv is not None
    assert Path(two.metadata_csv).read_bytes() == b"file\n"
    assert found["metadata_csv"] == ""
    # A table for all spans is fetched like any other place.
    shared = with_spans({**values, "metadata_csv": "memory://spans/all.csv"}, tmp_path / "again")
    assert shared["metadata_csv"] == "memory://spans/all.csv"
    assert [span.metadata_csv for span in _folders(shared)] == [None, None]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data_dir": "/d/{SPAN}"}, "compiled for no {SPAN}"),
        (_values("/d"), "compiled for spans, so {SPAN} must be in it"),
        (_values("memory://spans/none-{SPAN}"), "data: no span is there for memory://spans/none-"),
        (_values("memory://nowhere/{SPAN}"), "data: no span is there for memory://nowhere/{SPAN}"),
        (_values("memory://spans/span-{SPAN}", span=3), "there is no span 3"),
        (_values("memory://spans/span-{SPAN}", window=-1), "window: -1"),
        (_values("memory://spans/span-{SPAN}", span=-2), "span: -2"),
        (_values("/d/{SPAN}/{SPAN}"), "data: {SPAN} can stand once in it"),
        (_values("nosuch://b/{SPAN}"), "the image needs the fsspec package"),
    ],
)
def test_what_a_step_cannot_take_is_said(
    values: dict[str, Any], words: str, store: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as raised:
        with_spans(values, tmp_path)
    assert words in str(raised.value)
