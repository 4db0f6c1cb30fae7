"""`cxr export-openvino`: the same probabilities from files as from the SavedModel."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from common.errors import InputError
from models.engines import OPENVINO_F32, OpenVinoEngine
from models.openvino_runtime import import_openvino
from models.preprocessing import decode_and_resize
from models.saved_functions import load_functions
from pipeline import cli
from schema import contract
from serving.networks import conversion
from serving.openvino_export import Exported, NotExported, Result, export_models

README = Path(__file__).parents[2] / "serving" / "deploy" / "README.md"
VERSION = "1700000000"
# A cascade asks what an ensemble asks, and compares besides.
MODELS = ("a", "cascade", "fusion")


pytestmark = [pytest.mark.usefixtures("loaded_once"), pytest.mark.slow]


@pytest.fixture(scope="module")
def serving(versions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's serving folder. Nothing may be changed in it."""
    folder = tmp_path_factory.mktemp("run") / "serving"
    for name in MODELS:
        shutil.copytree(versions[name], folder / name / VERSION)
        # Older, and no model: nobody looks at it.
        (folder / name / "9").mkdir()
    return folder


@pytest.fixture(scope="module")
def openvino(serving: Path) -> Path:
    """What was exported from it. Nothing may be changed in it."""
    output = serving.parent / "openvino"
    results = list(export_models(serving, output))
    assert results == [Exported(name, output / name / VERSION, True) for name in MODELS]
    return output


@pytest.fixture
def own(serving: Path, openvino: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of one model and of its export, to be changed."""
    model_dir, output = tmp_path / "serving", tmp_path / "openvino"
    shutil.copytree(serving / "a", model_dir / "a")
    shutil.copytree(openvino / "a", output / "a")
    return model_dir, output


def _files(folder: Path) -> dict[str, int]:
    """Each file below a folder, and when it was written."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in found}


def _export(model_dir: Path, output: Path) -> list[Result]:
    return list(export_models(model_dir, output))


@pytest.mark.parametrize("name", MODELS)
def test_from_bytes_to_the_saved_models_probabilities(
    name: str,
    versions: dict[str, Path],
    openvino: Path,
    images: list[bytes],
    expected: Callable[[str], dict[str, np.ndarray]],
) -> None:
    strings = tf.constant(images)
    pixels = load_functions(str(versions[name]), ("preprocess",)).preprocess(strings).numpy()
    exported = openvino / name / VERSION
    description = json.loads((exported / "model.json").read_text())
    network = import_openvino().Core().read_model(str(exported / "model.xml"))
    engine = OpenVinoEngine(network, description["outputs"], OPENVINO_F32)

    answers = expected(name)
    found = engine(pixels)[description["probabilities"]]
    np.testing.assert_allclose(found, answers[contract.OUTPUT_PROBABILITIES], atol=1e-4)
    assert np.ptp(found, axis=0).max() > 0.01, "the phantoms look all the same to it"
    assert description["classes"] == [
        label.decode() for label in answers[contract.OUTPUT_CLASSES][0]
    ]
    unsure = found.max(axis=-1) < np.float32(description["abstain_below"])
    assert unsure.tolist() == answers[contract.OUTPUT_ABSTAIN].tolist()
    # The other way to the same pixels, without a SavedModel.
    np.testing.assert_array_equal(pixels[0], decode_and_resize(strings[0]).numpy())


def test_the_folder_is_a_model_repository(openvino: Path) -> None:
    assert set(_files(openvino)) == {
        "config.json",
        *(f"{n}/{VERSION}/model.{suffix}" for n in MODELS for suffix in ("xml", "bin", "json")),
    }
    entries = [
        {
            "name": name,
            "base_path": f"/models/{name}",
            "plugin_config": {"INFERENCE_PRECISION_HINT": "f32"},
        }
        for name in MODELS
    ]
    assert json.loads((openvino / "config.json").read_text()) == {
        "model_config_list": [{"config": entry} for entry in entries],
        "monitoring": {"metrics": {"enable": True}},
    }
    # The server runs as another user.
    assert all(path.stat().st_mode & 0o004 for path in openvino.rglob("*"))
    # TensorFlow's weights, not halved.
    assert 'element_type="f16"' not in (openvino / "a" / VERSION / "model.xml").read_text()


def test_the_input_is_named_as_the_description_has_it(openvino: Path) -> None:
    description = json.loads((openvino / "a" / VERSION / "model.json").read_text())
    shape = [1, contract.IMAGE_SIZE, contract.IMAGE_SIZE, 1]
    assert description["input"] == {"name": "pixels", "dtype": "float32", "shape": shape}
    assert description["outputs"] == {
        contract.DISTANCE: [1, 1],
        contract.FLAT: [1, 3],
        contract.HIERARCHICAL: [1, 3],
    }
    network = import_openvino().Core().read_model(str(openvino / "a" / VERSION / "model.xml"))
    # One name a tensor: which of several a server would take isn't said anywhere.
    assert [port.get_names() for port in network.inputs] == [{"pixels"}]
    assert [port.get_names() for port in network.outputs] == [
        {name} for name in (contract.DISTANCE, contract.FLAT, contract.HIERARCHICAL)
    ]


def test_what_is_there_stays(own: tuple[Path, Path], versions: dict[str, Path]) -> None:
    model_dir, output = own
    config = output / "config.json"
    entry = {"name": "a", "base_path": "/elsewhere/a", "nireq": 4}
    config.write_text(json.dumps({"model_config_list": [{"config": entry}]}))
    before = _files(output / "a")
    shutil.copytree(versions["b"], model_dir / "b" / "3")
    assert _export(model_dir, output) == [
        Exported("a", output / "a" / VERSION, False),
        Exported("b", output / "b" / "3", True),
    ]
    assert _files(output / "a") == before
    written = json.loads(config.read_text())
    assert set(written) == {"model_config_list"}
    kept, added = (item["config"] for item in written["model_config_list"])
    assert kept == entry
    assert added["base_path"] == "/models/b"


def _other_source(model_dir: Path, output: Path) -> None:
    with (model_dir / "a" / VERSION / "saved_model.pb").open("ab") as stream:
        stream.write(b"\0")


def _damaged(model_dir: Path, output: Path) -> None:
    (output / "a" / VERSION / "model.bin").write_bytes(b"")


def _half_there(model_dir: Path, output: Path) -> None:
    (output / "a" / VERSION / "model.xml").unlink()


def _foreign(model_dir: Path, output: Path) -> None:
    (output / "a" / VERSION / "model.json").write_text("[]")


@pytest.mark.parametrize("change", [_other_source, _damaged, _half_there, _foreign])
def test_nothing_is_overwritten(
    change: Callable[[Path, Path], None], own: tuple[Path, Path], versions: dict[str, Path]
) -> None:
    model_dir, output = own
    change(model_dir, output)
    # Before it in the alphabet, and not written either.
    shutil.copytree(versions["b"], model_dir / "A" / "1")
    before = _files(output)
    with pytest.raises(InputError, match=rf"{output / 'a' / VERSION} .*delete it, or"):
        _export(model_dir, output)
    assert _files(output) == before


@pytest.mark.parametrize("text", ["no JSON", "{}", '{"model_config_list": [{"name": "a"}]}'])
def test_a_config_that_is_none_is_told(text: str, own: tuple[Path, Path]) -> None:
    model_dir, output = own
    (output / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json is no configuration"):
        _export(model_dir, output)
    assert (output / "config.json").read_text() == text


def test_what_cannot_be_exported_is_listed_and_the_rest_is_exported(
    own: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from serving.conformance.models import write_half_plus_two

    model_dir, _ = own
    write_half_plus_two(model_dir / "h2" / "123")
    (model_dir / "damaged" / "1").mkdir(parents=True)
    (model_dir / "damaged" / "1" / "saved_model.pb").write_bytes(b"no model")
    (model_dir / "empty").mkdir()
    output = tmp_path / "new" / "openvino"
    arguments = ["--model-dir", str(model_dir), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["cxr", "export-openvino", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == cli.EXIT_INPUT
    out, err = capsys.readouterr()
    assert out == f"a: {output / 'a' / VERSION}\n"
    assert "3 of 4 models are not exported:" in err
    for line in ("empty: its folder holds no version.", "h2: .* is no model of this pipeline."):
        assert re.search(f"^  {line}$", err, re.MULTILINE)
    assert re.search("^  damaged: .*saved_model.pb", err, re.MULTILINE)
    assert sorted(path.name for path in output.iterdir()) == ["a", "config.json"]
    listed = json.loads((output / "config.json").read_text())["model_config_list"]
    assert [entry["config"]["name"] for entry in listed] == ["a"]


def test_the_command_ends_with_0_where_all_is_exported(
    own: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model_dir, output = own
    arguments = ["--model-dir", str(model_dir), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["cxr", "export-openvino", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    assert capsys.readouterr().out == f"a: {output / 'a' / VERSION} (unchanged)\n"


def test_a_network_that_is_off_is_not_exported(
    serving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "TOLERANCE", -1.0)
    shutil.copytree(serving / "a", tmp_path / "serving" / "a")
    (result,) = _export(tmp_path / "serving", tmp_path / "openvino")
    assert isinstance(result, NotExported)
    assert "off TensorFlow's" in result.why
    assert list((tmp_path / "openvino").iterdir()) == []


def test_folders_that_do_not_fit_are_told(own: tuple[Path, Path], tmp_path: Path) -> None:
    model_dir, _ = own
    with pytest.raises(InputError, match="lies in"):
        _export(model_dir, model_dir / "openvino")
    with pytest.raises(InputError, match="is no folder"):
        _export(tmp_path / "nowhere", tmp_path / "new")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no model"):
        _export(tmp_path / "empty", tmp_path / "new")
    assert not (tmp_path / "new").exists()


class FakeServer:
    """In the place of `requests`: answers as KServe's API, version 2, has it."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._answer: dict[str, Any] = {}

    def post(self, url: str, json: dict[str, Any], timeout: float) -> FakeServer:
        """Runs the model that the URL names."""
        found = re.fullmatch(r"http://127\.0\.0\.1:8000/v2/models/(.+)/versions/(\d+)/infer", url)
        assert found
        file = self._output / found[1] / found[2] / "model.xml"
        compiled = (
            import_openvino()
            .Core()
            .compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        )
        (tensor,) = json["inputs"]
        assert tensor["datatype"] == "FP32"
        data = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
        outputs = compiled({tensor["name"]: data})
        self._answer = {
            "outputs": [
                {
                    "name": port.get_any_name(),
                    "datatype": "FP32",
                    "shape": list(array.shape),
                    "data": array.ravel().tolist(),
                }
                for port, array in outputs.items()
            ]
        }
        return self

    def json(self) -> dict[str, Any]:
        """The answer's body."""
        return self._answer


def test_the_documented_client_gets_the_saved_models_answer(
    serving: Path,
    openvino: Path,
    images: list[bytes],
    expected: Callable[[str], dict[str, np.ndarray]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "output" / "run"
    for folder in (serving, openvino):
        shutil.copytree(folder / "a", run / folder.name / contract.CHAMPION)
    (tmp_path / "chest.png").write_bytes(images[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "requests", FakeServer(run / openvino.name))
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    client: dict[str, Any] = {}
    exec(compile(code, str(README), "exec"), client)

    answers = expected("a")
    names = [name.decode() for name in answers[contract.OUTPUT_CLASSES][0]]
    assert list(client["probabilities"]) == names
    np.testing.assert_allclose(
        list(client["probabilities"].values()),
        answers[contract.OUTPUT_PROBABILITIES][0],
        atol=1e-4,
    )
    assert client["unsure"] == bool(answers[contract.OUTPUT_ABSTAIN][0])
