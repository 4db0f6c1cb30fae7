"""`explain` over TensorFlow Serving's API, and `cxr predict --explain`, by a server or not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from common.errors import InputError
from pipeline import cli
from schema import contract
from serving.client import Client
from serving.explained import colours, overlay, plan, write_pictures
from serving.local_client import predict_files
from serving.prediction import Failure, Prediction
from serving.servables.servable import Servable
from serving.servables.tensorflow_servable import TensorFlowServable
from tests.serving.conftest import Cxr, Load
from tests.serving.in_thread import ThreadServer, server_in_thread
from tests.serving.test_rendering import write_mean

pytestmark = [pytest.mark.usefixtures("loaded_once"), pytest.mark.slow]


@pytest.fixture(scope="module")
def model_dir(versions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A serving folder: a backbone, and a model that knows no heat maps."""
    folder = tmp_path_factory.mktemp("serving")
    (folder / "a").mkdir()
    (folder / "a" / "1").symlink_to(versions["a"])
    write_mean(folder / "old/1", None)
    return folder


@pytest.fixture(scope="module")
def server(model_dir: Path, loaded: Load) -> Iterator[ThreadServer]:
    def load(path: Path) -> Servable:
        name = path.parent.name
        return TensorFlowServable(path) if name == "old" else loaded(name, "openvino")

    with server_in_thread(load, model_dir=model_dir) as running:
        yield running


@pytest.fixture
def files(images: Sequence[bytes], tmp_path: Path) -> list[Path]:
    folder = tmp_path / "images"
    folder.mkdir()
    for index, content in enumerate(images[:3]):
        (folder / f"{index}.png").write_bytes(content)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("name", ["a", pytest.param("cascade", marks=pytest.mark.long)])
def test_openvinos_servable_explains_with_tensorflow(
    name: str, loaded: Load, images: list[bytes]
) -> None:
    fast, slow = loaded(name, "openvino"), loaded(name, "tensorflow")
    for batch in (images[:3], []):
        values = np.empty(len(batch), np.object_)
        values[:] = batch
        inputs = {contract.INPUT_IMAGES: values}
        found, expected = (s.run(contract.SIGNATURE_EXPLAIN, inputs) for s in (fast, slow))
        assert found[contract.OUTPUT_HEAT_MAP].shape == (len(batch), 256, 256)
        assert found[contract.OUTPUT_HEAT_MAP].dtype == np.float32
        assert set(found) == set(slow.run("", inputs)) | {contract.OUTPUT_HEAT_MAP}
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value)


def test_the_metadata_say_what_explain_takes_and_returns(server: ThreadServer) -> None:
    metadata = requests.get(f"{server.url}/v1/models/a/metadata", timeout=30).json()
    definition = metadata["metadata"]["signature_def"]["signature_def"][contract.SIGNATURE_EXPLAIN]
    assert set(definition["inputs"]) == {contract.INPUT_IMAGES}
    heat = definition["outputs"][contract.OUTPUT_HEAT_MAP]
    assert heat["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in heat["tensor_shape"]["dim"]] == ["-1", "256", "256"]


@pytest.mark.parametrize("model", ["a", pytest.param("cascade", marks=pytest.mark.long)])
def test_a_server_and_this_process_explain_alike(
    model: str,
    versions: dict[str, Path],
    loaded: Load,
    files: list[Path],
    tmp_path: Path,
    network_cache: Path,
) -> None:
    (tmp_path / "serving" / model).mkdir(parents=True)
    (tmp_path / "serving" / model / "1").symlink_to(versions[model])
    model_dir = tmp_path / "serving"
    with server_in_thread(lambda _: loaded(model, "openvino"), model_dir=model_dir) as server:
        served = list(Client(server.url, model).predict_files(files, explain=True))
    local = list(predict_files(files, model_dir, model, explain=True, network_cache=network_cache))
    plain = list(predict_files(files, model_dir, model, network_cache=network_cache))
    for found, expected, bare in zip(served, local, plain, strict=True):
        assert isinstance(found, Prediction)
        assert isinstance(expected, Prediction)
        assert isinstance(bare, Prediction)
        assert found.heat_map is not None
        assert expected.heat_map is not None
        assert bare.heat_map is None
        assert found.heat_map.max() > 0
        np.testing.assert_allclose(found.heat_map, expected.heat_map, atol=1e-3)
        assert found.predicted_class == expected.predicted_class == bare.predicted_class
        for name, probability in bare.probabilities.items():
            assert found.probabilities[name] == pytest.approx(probability, abs=1e-4)


def test_an_image_that_stays_dark_costs_no_other_files_answer(
    model_dir: Path, files: list[Path], tmp_path: Path, network_cache: Path
) -> None:
    dark = tmp_path / "dark.png"
    Image.fromarray(np.full((40, 40), 1000, np.uint16)).save(dark)
    refused, answered = predict_files(
        [dark, files[0]], model_dir, "a", bits_stored=14, network_cache=network_cache
    )
    assert isinstance(refused, Failure)
    assert "dark even after bits_stored = 14 has scaled it" in refused.why
    assert isinstance(answered, Prediction)


@pytest.mark.parametrize("served", [True, False])
def test_the_command_writes_a_picture_for_each_image(
    served: bool,
    server: ThreadServer,
    model_dir: Path,
    files: list[Path],
    tmp_path: Path,
    cxr: Cxr,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = ["--url", server.url] if served else ["--model-dir", str(model_dir)]
    where += ["--model", "a"]
    assert cxr("predict", files[0], "--explain", tmp_path / "new/one.png", *where) == 0
    assert f"explained in {tmp_path / 'new/one.png'}\n" in capsys.readouterr().out
    assert cxr("predict", files[0].parent, "--explain", tmp_path / "all", *where, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert [entry["explanation"] for entry in printed] == [
        str(tmp_path / "all" / file.name) for file in files
    ]
    one, same = (Image.open(tmp_path / name) for name in ("new/one.png", "all/0.png"))
    assert (one.mode, one.size) == ("RGB", (512, 512))
    # A server computes three images at once, and rounds a little differently.
    difference = np.abs(np.asarray(one).astype(int) - np.asarray(same).astype(int))
    assert difference.max() <= 4


@pytest.mark.parametrize("served", [True, False])
def test_a_model_without_heat_maps_is_told(
    served: bool,
    server: ThreadServer,
    model_dir: Path,
    files: list[Path],
    tmp_path: Path,
    cxr: Cxr,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = ["--url", server.url] if served else ["--model-dir", str(model_dir)]
    code = cxr("predict", *files, "--explain", tmp_path / "out", "--model", "old", *where)
    assert code == cli.EXIT_INPUT
    said = capsys.readouterr().err
    assert "has no signature 'explain'" in said
    assert "run the pipeline again" in said
    assert not (tmp_path / "out").exists()
    assert cxr("predict", *files, "--model", "old", *where) == 0


def test_files_without_an_answer_cost_no_other_its_picture(
    model_dir: Path, files: list[Path], tmp_path: Path, cxr: Cxr, capsys: pytest.CaptureFixture[str]
) -> None:
    files[1].write_bytes(b"no image")
    out = tmp_path / "out"
    assert cxr("predict", *files, "--explain", out, "--model", "a", "--model-dir", model_dir) == 2
    assert f"{files[1]}: is no image" in capsys.readouterr().err
    assert sorted(file.name for file in out.iterdir()) == ["0.png", "2.png"]


def test_a_place_where_nothing_can_be_written_is_told(
    model_dir: Path, files: list[Path], tmp_path: Path, cxr: Cxr, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file/out.png"
    where = ("--model", "a", "--model-dir", model_dir)
    assert cxr("predict", files[0], "--explain", target, *where) == cli.EXIT_INPUT
    assert f"{target} can't be written" in capsys.readouterr().err


def test_pictures_go_where_their_names_lead(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert plan([files[0]], files[:1], out / "x.PNG") == {files[0]: out / "x.PNG"}
    twins = [*files[:2], tmp_path / "b" / "0.jpg", tmp_path / "c" / "0.png", tmp_path / "0-2.png"]
    names = [target.name for target in plan(twins, twins, out).values()]
    assert names == ["0.png", "1.png", "0-2.png", "0-3.png", "0-2-2.png"]
    # A folder, though of one image; and one image for a folder that is there.
    assert plan([files[0].parent], files[:1], out) == {files[0]: out / "0.png"}
    out.mkdir()
    assert plan([files[0]], files[:1], out) == {files[0]: out / "0.png"}
    # What was written before may be written again.
    (out / "0.png").touch()
    assert plan([files[0]], files[:1], out / "0.png") == {files[0]: out / "0.png"}


def test_no_picture_takes_the_place_of_an_image(files: list[Path], tmp_path: Path) -> None:
    folder = files[0].parent
    link = tmp_path / "link.png"
    link.hardlink_to(files[0])
    for paths, given, output in (
        ([files[0]], files[:1], files[0]),
        ([files[0]], files[:1], folder / ".." / folder.name / files[0].name),
        ([files[0]], files[:1], link),
        ([files[0]], files[:1], folder),
        ([folder], files, folder),
        (files, files, folder),
    ):
        with pytest.raises(InputError, match="is one of the images"):
            plan(paths, given, output)


def test_a_file_is_no_folder_and_a_folder_no_file(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out\.jpg must end with \.png"):
        plan([files[0]], files[:1], tmp_path / "out.jpg")
    for paths in (files, [files[0].parent]):
        with pytest.raises(InputError, match=r"out\.png is no folder"):
            plan(paths, files, tmp_path / "out.png")
    (tmp_path / "taken").touch()
    with pytest.raises(InputError, match="taken is no folder"):
        plan(files, files, tmp_path / "taken")


def test_colour_lies_where_the_heat_is_and_nowhere_else(encode: Callable[..., bytes]) -> None:
    grey = np.full((300, 200), 100, np.uint8)
    heat = np.zeros((256, 256), np.float32)
    heat[64:128, 192:] = 1
    shown = np.asarray(overlay(encode(grey), heat)).astype(int)
    assert shown.shape == (512, 512, 3)
    assert (shown[300:] == 100).all()
    assert (shown[:, :370] == 100).all()
    np.testing.assert_allclose(shown[192, 450], 0.4 * 100 + 0.6 * np.array([240, 249, 33]), atol=1)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGB", "RGBA", "I;16", "JPEG"])
def test_the_radiograph_is_what_the_model_sees(mode: str, encode: Callable[..., bytes]) -> None:
    from models.preprocessing import decode_and_resize

    rng = np.random.default_rng(0)
    field = Image.fromarray(rng.integers(0, 256, (5, 6), dtype=np.uint8))
    image = field.resize((300, 400), Image.Resampling.BICUBIC)
    if mode == "JPEG":
        content = encode(image, "JPEG")
    elif mode == "I;16":
        content = encode(np.asarray(image).astype(np.uint16) * 257)
    else:
        content = encode(image.convert("RGB" if mode == "P" else mode).convert(mode))
    seen = Image.fromarray(decode_and_resize(content).numpy()[..., 0])
    expected = np.asarray(seen.resize((512, 512), Image.Resampling.BICUBIC)).astype(int)
    shown = np.asarray(overlay(content, np.zeros((256, 256), np.float32))).astype(int)
    assert (shown == shown[..., :1]).all()
    assert np.abs(shown[..., 0] - expected).mean() < 1


def test_steps_of_heat_look_equally_far_apart() -> None:
    """Lightness (CIELAB's L*) rises all the way, by about the same at each step."""
    rgb = colours(np.linspace(0, 1, 33)) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = 116 * np.cbrt(luminance) - 16
    steps = np.diff(lightness)
    assert steps.min() > 0.5 * steps.mean()
    assert steps.max() < 1.6 * steps.mean()


def test_an_image_that_cant_be_drawn_on_is_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(b"no image any more")
    answer = Prediction(file, "a", {"a": 1.0}, heat_map=np.zeros((256, 256), np.float32))
    (result,) = write_pictures([answer], {file: tmp_path / "out.png"})
    assert isinstance(result, Failure)
    assert "can't be drawn on" in result.why
    file.unlink()
    (gone,) = write_pictures([answer], {file: tmp_path / "out.png"})
    assert isinstance(gone, Failure)
    assert not (tmp_path / "out.png").exists()
