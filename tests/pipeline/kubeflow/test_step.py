"""What stands around TFX's entry point in a step: places, folders, the run's parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import InputError
from pipeline.kubeflow import places
from pipeline.kubeflow.edits import edited
from pipeline.kubeflow.step import main


def _artifact(uri: str, title: str = "tfx.Model") -> dict[str, Any]:
    kind = {"instanceSchema": f"title: {title}\ntype: object\n"}
    return {"artifacts": [{"name": "n", "type": kind, "uri": uri}]}


def test_artifacts_are_where_the_launcher_puts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "LAUNCHER_FOLDERS", {"minio://": f"{tmp_path}/minio/"})
    invocation = {
        "inputs": {"artifacts": {"model": _artifact("minio://b/in"), "here": _artifact("/in")}},
        "outputs": {"artifacts": {"out": _artifact("minio://b/run/out")}},
    }
    moved = places.with_local_artifacts(invocation)
    assert invocation["inputs"]["artifacts"]["here"] == _artifact("/in")
    assert invocation["inputs"]["artifacts"]["model"] == _artifact(f"{tmp_path}/minio/b/in")
    places.make_output_folders(invocation)
    assert (tmp_path / "minio/b/run/out").is_dir()
    # KFP's backend knows nothing of this machine's folders.
    output = {"artifacts": {"out": _artifact(f"{tmp_path}/minio/b/run/out")}}
    assert places.to_remote(output, moved)["artifacts"]["out"] == _artifact("minio://b/run/out")
    assert output["artifacts"]["out"] == _artifact(f"{tmp_path}/minio/b/run/out")


def test_a_value_is_a_file_and_gets_no_folder(tmp_path: Path) -> None:
    uri = tmp_path / "a" / "value"
    places.make_output_folders({"outputs": {"artifacts": {"v": _artifact(str(uri), "tfx.String")}}})
    assert uri.parent.is_dir()
    assert not uri.exists()


def test_a_folder_in_an_object_store_is_fetched_whole(tmp_path: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe("/bucket/data/Normal/a.png", b"a")
    store.pipe("/bucket/data/COVID/images/b.png", b"b")
    store.pipe("/bucket/data/metadata.csv", b"file\n")
    store.pipe("/bucket/database/c.png", b"c")
    values = {
        "data_dir": "memory://bucket/data",
        "metadata_csv": "memory://bucket/data/metadata.csv",
    }
    fetched = places.fetch_places({**values, "seed": 3.0, "weights_path": "/here.h5"}, tmp_path)
    assert fetched["seed"] == 3.0
    assert fetched["weights_path"] == "/here.h5"
    folder = Path(fetched["data_dir"])
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}
    assert found == {
        "Normal/a.png": b"a", "COVID/images/b.png": b"b", "metadata.csv": b"file\n",
    }  # fmt: skip
    assert Path(fetched["metadata_csv"]).read_bytes() == b"file\n"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("memory://bucket/nowhere", "there is nothing at memory://bucket/nowhere"),
        ("nosuch://bucket/data", "the image needs the fsspec package"),
    ],
)
def test_a_place_that_is_not_there_is_named(uri: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"data_dir: .*{words}"):
        places.fetch_places({"data_dir": uri}, tmp_path)


def test_parameters_of_the_run_go_where_they_belong() -> None:
    values = {"edit_seed": 4.0, "custom_config": '{"seed": 0, "a": 1}', "edit_min_accuracy": 0.5}
    found = edited({**values, "gate": '{"min_accuracy": 0.9, "slices": []}', "n": 1.0})
    assert found.keys() == {"custom_config", "gate", "n"}
    assert json.loads(found["custom_config"]) == {"seed": 4, "a": 1}
    assert json.loads(found["gate"]) == {"min_accuracy": 0.5, "slices": []}


def test_a_config_without_a_seed_gets_none() -> None:
    assert edited({"edit_seed": 4.0, "custom_config": "null"}) == {"custom_config": "null"}
    assert edited({"edit_seed": 4.0, "custom_config": '{"a": 1}'}) == {"custom_config": '{"a": 1}'}


def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    invocation = {
        "inputs": {"parameterValues": {"data_dir": "memory://bucket/nowhere"}},
        "outputs": {"outputFile": str(tmp_path / "executor_output.json")},
    }
    code = main(
        [
            "--executor_class_path",
            "components.radiograph_example_gen.executor.RadiographExampleGenExecutor",
            "--json_serialized_invocation_args",
            json.dumps(invocation),
        ]
    )
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "cxr: data_dir: there is nothing at memory://bucket/nowhere."
