"""Converted networks: shared between models, kept on disk, made again where they are damaged."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402

from models.engines import OPENVINO_F32, TENSORFLOW, OpenVinoEngine  # noqa: E402
from models.openvino_runtime import import_openvino  # noqa: E402
from models.rule import Rule, parse_rule, rule_of, write_rule  # noqa: E402
from models.saved_functions import load_functions  # noqa: E402
from schema import contract  # noqa: E402
from serving import local_client  # noqa: E402
from serving.local_client import latest_version, open_model, predict_files  # noqa: E402
from serving.networks import store as store_module  # noqa: E402
from serving.networks import versions as versions_module  # noqa: E402
from serving.networks.cache_folder import default_folder  # noqa: E402
from serving.networks.conversion import NotConvertibleError  # noqa: E402
from serving.networks.parts import take_apart  # noqa: E402
from serving.networks.plan import choice_from_json, version_from_json  # noqa: E402
from serving.networks.probes import probe_pixels  # noqa: E402
from serving.networks.running import Flight, Head, Trunk  # noqa: E402
from serving.networks.store import Store, choice_key, version_key  # noqa: E402
from serving.networks.versions import Networks  # noqa: E402
from serving.prediction import Failure, Prediction  # noqa: E402
from serving.protocol.tensors import strings  # noqa: E402
from serving.servables.loading import load_servable  # noqa: E402
from serving.servables.openvino_servable import OpenVinoServable  # noqa: E402
from serving.servables.servable import Servable  # noqa: E402
from serving.servables.tensorflow_servable import TensorFlowServable  # noqa: E402
from tests.golden_run import GoldenRun  # noqa: E402

pytestmark = pytest.mark.slow

BACKBONES = ("vgg16", "xception", "densenet121")
KINDS = {"versions", "networks", "parts", "vectors", "choices"}
COMBINED = ("ensemble", "cascade", "fusion")
NAMES = (*BACKBONES, *COMBINED, contract.CHAMPION)


@pytest.fixture(scope="module")
def models(
    golden: GoldenRun, versions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Name -> a pushed version, of each name, without what the push converted.

    Nobody writes into it.
    """
    serving, found = tmp_path_factory.mktemp("serving"), {}
    for name in NAMES:
        # A cascade that passes on about half of the images.
        of_golden = name != "cascade"
        version = latest_version(golden.layout.serving, name) if of_golden else versions[name]
        found[name] = Path(shutil.copytree(version, serving / name / version.name))
    return found


@pytest.fixture(scope="module")
def asked(images: list[bytes]) -> np.ndarray:
    """The phantoms, as a request holds them."""
    return strings(images)


class Kept:
    """All models with a store, loaded once and then from what was kept."""

    def __init__(self, models: Mapping[str, Path], root: Path) -> None:
        self.models, self.root = models, root
        # Trunk -> how many images it was asked about, by the backbones, ensemble and cascade.
        self.probed: dict[int, int] = {}
        whole = Trunk.__call__

        def counted(trunk: Trunk, images: np.ndarray, name: Any) -> Any:
            self.probed[id(trunk)] = self.probed.get(id(trunk), 0) + len(images)
            return whole(trunk, images, name)

        networks = Networks(Store(root))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trunk, "__call__", counted)
            self.first = self.load(networks, NAMES[:5])
        self.first |= self.load(networks, NAMES[5:])
        self.networks = Networks(Store(root))
        with pytest.MonkeyPatch.context() as patch:
            # Whoever converts, or loads a whole SavedModel, fails.
            patch.setattr(versions_module, "convert_version", None)
            patch.setattr(versions_module, "choose", None)
            patch.setattr(TensorFlowServable, "load", None)
            self.second = self.load(self.networks)

    def load(self, networks: Networks, names: Sequence[str] = NAMES) -> dict[str, Servable]:
        return {name: load_servable(self.models[name], "auto", "f32", networks) for name in names}


@pytest.fixture(scope="module")
def kept(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """See there. Nobody changes its store."""
    return Kept(models, tmp_path_factory.mktemp("store") / "networks")


def _ask(servable: Servable, asked: np.ndarray) -> np.ndarray:
    return servable.run("", {contract.INPUT_IMAGES: asked})[contract.OUTPUT_PROBABILITIES]


@pytest.mark.parametrize("name", NAMES)
def test_kept_networks_answer_as_the_saved_model(
    name: str, kept: Kept, asked: np.ndarray, expected: Callable[[str], dict[str, np.ndarray]]
) -> None:
    saved = expected(name)[contract.OUTPUT_PROBABILITIES]
    assert np.ptp(saved, axis=0).max() > 0.01, "all images are the same to it"
    first, second = kept.first[name], kept.second[name]
    assert (first.engine, second.engine) == (OPENVINO_F32, OPENVINO_F32)
    np.testing.assert_allclose(_ask(first, asked), saved, atol=1e-4)
    np.testing.assert_array_equal(_ask(second, asked), _ask(first, asked))


def test_the_cascade_passes_some_images_on_and_others_not(
    versions: dict[str, Path], asked: np.ndarray
) -> None:
    loaded = load_functions(str(versions["cascade"]), ("preprocess", "members/0/network"))
    rule = rule_of(loaded)
    assert rule is not None
    first = loaded.members[0].network(tf.cast(loaded.preprocess(tf.constant(asked)), tf.float32))
    unsure = first[contract.HIERARCHICAL].numpy().max(axis=-1) < rule.threshold
    assert 0 < unsure.sum() < len(asked)


def test_what_several_models_have_is_in_memory_once(kept: Kept) -> None:
    # Fusion's DenseNet121 ends further behind than the others', and its VGG16 has no grid (see
    # `Backbone.fused_taps`).
    assert len(kept.networks.trunks) == len(BACKBONES) + 2
    # The champion is a copy.
    assert len(list((kept.root / "versions").iterdir())) == len(NAMES) - 1


def test_trunks_leave_memory_with_the_models_that_have_them(
    models: dict[str, Path], kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[Head] = []
    compile_it = Head.__init__

    def noted(head: Head, *given: Any) -> None:
        heads.append(head)
        compile_it(head, *given)

    monkeypatch.setattr(Head, "__init__", noted)
    networks = Networks(Store(kept.root))
    servables = [
        load_servable(models[name], "auto", "f32", networks) for name in ("vgg16", "ensemble")
    ]
    assert len(networks.trunks) == len(heads) == len(BACKBONES)
    servables.pop()
    assert len(networks.trunks) == 1


def test_the_saved_model_is_loaded_once_somebody_needs_it(
    models: dict[str, Path],
    kept: Kept,
    asked: np.ndarray,
    load_once: Callable[[str | Path], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A backbone that other files load whole, too.
    servable = load_servable(models["xception"], "auto", "f32", kept.networks)
    assert isinstance(servable, OpenVinoServable)
    assert servable._loaded is None
    monkeypatch.setattr(tf.saved_model, "load", load_once)
    explained = servable.run(contract.SIGNATURE_EXPLAIN, {contract.INPUT_IMAGES: asked[:1]})
    assert explained[contract.OUTPUT_HEAT_MAP].shape == (1, 256, 256)
    np.testing.assert_allclose(
        explained[contract.OUTPUT_PROBABILITIES], _ask(servable, asked[:1]), atol=1e-4
    )
    assert _ask(servable, asked[:0]).shape == (0, 3)


def _damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(bytes(content))


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _elsewhere(file: Path) -> None:
    """The same content, but by a link that leads out of the store."""
    outside = file.parents[3] / "outside"
    shutil.move(file, outside)
    file.symlink_to(outside)


@pytest.fixture
def damaged(kept: Kept, tmp_path: Path) -> Callable[[str, Callable[[Path], object]], Path]:
    """(pattern, harm) -> a copy of the store, with VGG16 alone and these of its files harmed."""

    def call(pattern: str, harm: Callable[[Path], object]) -> Path:
        root = tmp_path / "networks"
        shutil.copytree(kept.root, root)
        key = version_key(kept.models["vgg16"])
        own = {part.key for part in _plan(root, key).networks[0].parts} | {key}
        shutil.rmtree(root / "networks")
        for folder in (*(root / "parts").iterdir(), *(root / "versions").iterdir()):
            if folder.name not in own:
                shutil.rmtree(folder)
        for file in list(root.glob(pattern)):
            harm(file)
        return root

    return call


@pytest.mark.parametrize(
    ("pattern", "harm"),
    [
        ("parts/*/network.bin", _damage),
        ("parts/*/network.xml", _truncate),
        ("parts/*/network.bin", Path.unlink),
        ("parts/*/files.json", _truncate),
        ("parts/*/network.bin", _elsewhere),
        ("versions/*/files.json", _damage),
        ("versions/*/front/saved_model.pb", _damage),
        ("versions/*/front/variables/*.index", Path.unlink),
    ],
)
def test_what_is_damaged_is_said_and_not_used(
    pattern: str,
    harm: Callable[[Path], object],
    kept: Kept,
    damaged: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def convert(*_: Any) -> None:
        raise NotConvertibleError("asked to convert it")

    monkeypatch.setattr(versions_module, "convert_version", convert)
    networks = Networks(Store(damaged(pattern, harm)))
    with pytest.raises(NotConvertibleError, match="asked to convert it"):
        networks.load(kept.models["vgg16"], "f32")
    assert "is made again" in caplog.text


def test_what_is_damaged_is_made_again(
    kept: Kept,
    damaged: Callable[..., Path],
    asked: np.ndarray,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A part, and a version: each that wasn't made anew would be said again."""
    root, version = damaged("*/*/*.bin", _damage), kept.models["vgg16"]
    _damage(Store(root).front(version_key(version)) / contract.SAVED_MODEL_FILE)
    servable = load_servable(version, "auto", "f32", Networks(Store(root)))
    np.testing.assert_array_equal(_ask(servable, asked), _ask(kept.first["vgg16"], asked))
    assert "is made again" in caplog.text
    caplog.clear()
    _plan(root, version_key(version))
    again = load_servable(version, "auto", "f32", Networks(Store(root)))
    np.testing.assert_array_equal(_ask(again, asked), _ask(servable, asked))
    assert caplog.text == ""
    assert {path.name for path in root.iterdir()} == KINDS


def _plan(root: Path, key: str) -> Any:
    store = Store(root)
    version, choice = store.version(key), store.choice(choice_key(key, "f32"))
    assert version is not None
    assert choice is not None
    return version.plan(choice)


def test_a_store_that_cannot_be_written_is_not_needed(
    models: dict[str, Path],
    kept: Kept,
    asked: np.ndarray,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # A file where the folder should be: nobody, not even root, can make it.
    (tmp_path / "networks").touch()
    networks = Networks(Store(tmp_path / "networks"))
    servable = load_servable(models["vgg16"], "auto", "f32", networks)
    assert servable.engine == OPENVINO_F32
    np.testing.assert_array_equal(_ask(servable, asked), _ask(kept.first["vgg16"], asked))
    assert "can't be kept" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"trunks": [["../../outside", ["a"]]]},
        {"trunks": [["a" * 64]]},
        {"trunks": []},
        {"answers": {"flat": [0.5]}},
        {"answers": {"flat": None}},
        {"head": "none"},
    ],
)
def test_a_network_that_is_none_is_refused(change: dict[str, Any]) -> None:
    network = {"trunks": [["a" * 64, ["flat"]]], "head": None, "answers": {"flat": [[0.5, 0.5]]}}
    good = {"networks": [network], "rule": None}
    assert version_from_json(json.loads(json.dumps(version_from_json(good).to_json()))).networks
    bads: list[dict[str, Any]] = [{"networks": [network | change]}, {"networks": []}, {"rule": "{"}]
    for bad in bads:
        with pytest.raises(ValueError, match="is no"):
            version_from_json(good | bad)
    with pytest.raises(ValueError, match="is no"):
        version_from_json(good | {"networks": [network, network]})


@pytest.mark.parametrize("change", [{"engine": TENSORFLOW}, {"difference": None}, {"engine": 1}])
def test_a_choice_that_is_none_is_refused(change: dict[str, Any]) -> None:
    good = {"engine": OPENVINO_F32, "difference": 0.25}
    assert choice_from_json(good).to_json() == good
    with pytest.raises(ValueError, match="is no"):
        choice_from_json(good | change)


def test_keys_tell_weights_programs_precision_and_machine(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = tmp_path / "1"
    shutil.copytree(models["vgg16"], version)
    keys = [version_key(version)]
    # A card beside the model changes nothing, and neither does the folder's name.
    (version / "assets.extra").mkdir(exist_ok=True)
    (version / "assets.extra" / "card.md").write_text("a card")
    assert version_key(version.rename(tmp_path / "2")) == keys[0]
    choices = [choice_key(keys[0], "f32"), choice_key(keys[0], "bf16")]
    monkeypatch.setattr(store_module, "CPUINFO", tmp_path / "another")
    # What was converted is any machine's.
    assert version_key(tmp_path / "2") == keys[0]
    choices.append(choice_key(keys[0], "f32"))
    monkeypatch.setattr(import_openvino(), "__version__", "0.0")
    keys.append(version_key(tmp_path / "2"))
    _damage(next((tmp_path / "2" / "variables").glob("*.data*")))
    keys.append(version_key(tmp_path / "2"))
    assert len({*keys, *choices}) == len(keys) + len(choices)


def test_what_nobody_used_for_a_month_is_removed(
    models: dict[str, Path], kept: Kept, tmp_path: Path
) -> None:
    root = tmp_path / "networks"
    shutil.copytree(kept.root, root)
    shutil.rmtree(root / "networks")
    (root / ".tmp-abandoned").mkdir()
    (root / "parts" / "notes").mkdir()
    old = [root / ".tmp-abandoned", root / "parts" / "notes"]
    old += [*(root / "parts").iterdir(), *(root / "versions").iterdir()]
    for folder in old:
        os.utime(folder, (0, 0))
    store = Store(root)
    key = version_key(models["xception"])
    used = {part.key for part in _plan(root, key).networks[0].parts}
    shutil.rmtree(root / "versions" / version_key(models["vgg16"]))
    load_servable(models["vgg16"], "auto", "f32", Networks(store))
    left = {folder.name for folder in (root / "parts").iterdir()}
    assert used < left
    assert "notes" in left
    assert len(left) == 1 + 2 * 2
    assert {folder.name for folder in root.iterdir()} == KINDS
    assert key in {folder.name for folder in (root / "versions").iterdir()}


def test_the_users_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_folder() == tmp_path / "cache" / "cxr-tfx" / "networks"
    for other in ("relative", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", other)
        assert default_folder() == tmp_path / "home" / ".cache" / "cxr-tfx" / "networks"


def test_a_lone_image_goes_the_other_way_and_gets_the_same_answer(
    models: dict[str, Path], kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = version_key(models["xception"])
    (name,) = _plan(kept.root, key).networks[0].trunks
    flight = Flight()
    trunk = Trunk(Store(kept.root).read(name), name.outputs, flight)
    asked: list[str] = []
    compiled = trunk.compiled

    def noted(engine: Any, hint: Any) -> OpenVinoEngine:
        asked.append(hint)
        return compiled(engine, hint)

    monkeypatch.setattr(trunk, "compiled", noted)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 1), dtype=np.uint8)
    together = trunk(pixels, OPENVINO_F32)
    alone = trunk(pixels[:1], OPENVINO_F32)
    with flight.of(1):
        beside = trunk(pixels[:1], OPENVINO_F32)
    assert asked == ["THROUGHPUT", "LATENCY", "THROUGHPUT"]
    for output in name.outputs:
        np.testing.assert_array_equal(alone[output], together[output][:1])
        np.testing.assert_array_equal(beside[output], together[output][:1])
    assert trunk(pixels[:1], OPENVINO_F32)
    assert asked[-1] == "LATENCY"


def test_a_trunk_is_asked_about_a_probe_once(kept: Kept, tmp_path: Path) -> None:
    """The combinations take the backbones' answers, and come to the plans that they had without."""
    assert sorted(kept.probed.values()) == [len(probe_pixels())] * len(BACKBONES)
    alone = Networks(Store(tmp_path / "alone"))
    load_servable(kept.models["cascade"], "auto", "f32", alone)
    key = version_key(kept.models["cascade"])
    assert _plan(kept.root, key) == _plan(tmp_path / "alone", key)


@pytest.mark.long
def test_threads_share_what_is_compiled(
    models: dict[str, Path], kept: Kept, asked: np.ndarray
) -> None:
    networks = Networks(Store(kept.root))
    found: dict[str, np.ndarray] = {}

    def load(name: str) -> None:
        servable = load_servable(models[name], "auto", "f32", networks)
        found[name] = _ask(servable, asked)

    names = ("vgg16", *COMBINED)
    threads = [threading.Thread(target=load, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        np.testing.assert_array_equal(found[name], _ask(kept.first[name], asked))


def test_a_network_of_another_kind_stays_in_one_piece() -> None:
    openvino = import_openvino()
    ops = openvino.opset13
    pixels = ops.parameter([1, 4, 4, 1], np.float32, name="pixels")
    vector = ops.reduce_mean(pixels, np.array([1, 2]), keep_dims=False)
    vector.output(0).get_tensor().set_names({"flat"})

    def model() -> Any:
        return openvino.Model([ops.result(vector)], [pixels], "m").clone()

    found = take_apart(model(), "0" * 64)
    (trunk,) = found.trunks
    assert (trunk.outputs, found.head) == (("flat",), None)
    assert trunk.key == take_apart(model(), "1" * 64).trunks[0].key != "0" * 64


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "vote"}', '{"kind": "ensemble"}'])
def test_what_is_no_rule_is_refused(text: str) -> None:
    rule = Rule("cascade", ("b", "a"), 0.75, 1.25)
    assert parse_rule(write_rule(rule)) == rule
    with pytest.raises(ValueError):
        parse_rule(text)


@pytest.fixture
def files(asked: np.ndarray, tmp_path: Path) -> Iterator[list[Path]]:
    """Some of the images, and a file that is none."""
    found = []
    for index, content in enumerate([*asked[:2], b"no image"]):
        file = tmp_path / f"{index}.png"
        file.write_bytes(content)
        found.append(file)
    yield found


def test_predict_without_a_server_runs_what_the_server_runs(
    kept: Kept, asked: np.ndarray, files: list[Path], tmp_path: Path
) -> None:
    root, serving = tmp_path / "networks", kept.models["vgg16"].parents[1]
    for _ in ("converted", "kept"):
        *answers, failure = predict_files(files, serving, "vgg16", network_cache=root)
        assert isinstance(failure, Failure)
        found = [list(a.probabilities.values()) for a in answers if isinstance(a, Prediction)]
        expected = [_ask(kept.first["vgg16"], asked[i : i + 1])[0] for i in range(2)]
        np.testing.assert_array_equal(np.array(found, np.float32), np.stack(expected))
    assert len(list((root / "versions").iterdir())) == 1


@pytest.fixture
def in_memory(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of converted networks, of which `cxr predict` finds in memory what was loaded."""
    monkeypatch.setattr(versions_module, "Networks", lambda store: kept.networks)
    return kept.root


def test_a_folders_answers_come_in_order_and_are_those_of_each_alone(
    kept: Kept, in_memory: Path, files: list[Path], tmp_path: Path
) -> None:
    """More than a batch, with files at fault in the midst; the very same bits."""
    version, many = kept.models["champion"], []
    for index in range(19):
        file = tmp_path / f"again-{index:02}.png"
        shutil.copy(files[index % 2], file)
        many.append(file)
    many[3:3] = [files[2], tmp_path / "absent.png"]
    found = list(predict_files(many, version.parents[1], "champion", network_cache=in_memory))
    answer = open_model(version, network_cache=in_memory)
    alone = [result for file in (*files, tmp_path / "absent.png") for result in answer([file])]
    assert [result.file for result in found] == many
    for result in found:
        like = files[int(result.file.stem[-2:]) % 2] if "again" in result.file.name else result.file
        (expected,) = (each for each in alone if each.file == like)
        assert replace(result, file=like) == expected


def test_who_has_seen_enough_waits_for_no_other_file(
    kept: Kept, in_memory: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    serving, many, read = kept.models["vgg16"].parents[1], files[:1] * 2000, []
    whole = local_client.read_file

    def noted(file: Path, most: int) -> bytes | Failure:
        read.append(file)
        return whole(file, most)

    monkeypatch.setattr(local_client, "read_file", noted)
    answers = predict_files(many, serving, "vgg16", network_cache=in_memory)
    assert isinstance(next(answers), Prediction)
    assert isinstance(answers, Generator)
    answers.close()
    assert len(read) < len(many)
