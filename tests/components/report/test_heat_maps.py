"""The report's heat maps are those of the models' own SavedModels, and no image is asked twice."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime import prepare_environment

if TYPE_CHECKING:
    from components.report.heat_maps import Answer
    from components.report.sources import ModelSources
    from models.boundary import CutNetwork
    from models.rule import Kind

prepare_environment()

pytestmark = pytest.mark.slow

CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]
MEMBERS = ("vgg16", "xception")
# A cascade asks its members as an ensemble does, but for the images of which the first is sure.
KINDS = [pytest.param("ensemble", marks=pytest.mark.long), "cascade"]
Models = Callable[[str], dict[str, "ModelSources"]]
Own = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def files(encode: Callable[..., bytes]) -> dict[str, bytes]:
    """Twelve images by names for digests: more than a batch."""
    rng = np.random.default_rng(0)
    noise = [np.kron(rng.integers(0, 20 + 20 * i, (8, 8)), np.ones((32, 32))) for i in range(12)]
    return {f"digest {i}": encode(image.astype(np.uint8)) for i, image in enumerate(noise)}


@pytest.fixture(scope="module")
def models(tiny_cut: Callable[..., CutNetwork], tmp_path_factory: pytest.TempPathFactory) -> Models:
    """How they are combined -> two backbones whose answers differ, and the combination."""
    import tensorflow as tf

    from models.classifier import BackboneModel, CalibratedHead, Classifier
    from models.combination import Rule
    from models.combined_model import CombinedModel
    from models.heads import build_head, build_hierarchical_head
    from models.hyperparameters import HeadParams
    from models.preprocessing import decode_and_resize
    from models.signatures import export
    from schema import contract

    def transform(inputs: Mapping[str, Any]) -> dict[str, Any]:
        def one(image_bytes: Any) -> Any:
            return tf.io.encode_png(decode_and_resize(image_bytes), compression=0)

        pngs = tf.map_fn(one, inputs[contract.IMAGE], fn_output_signature=tf.string)
        return {contract.TRANSFORMED_IMAGE: pngs}

    root = tmp_path_factory.mktemp("models")
    network, rng = tiny_cut("head"), np.random.default_rng(3)
    pixels = tf.constant(rng.uniform(0, 255, (4, 256, 256, 1)), tf.float32)
    taps = {name: tap.numpy() for name, tap in network.suffix(network.prefix(pixels)).items()}
    moments = {k: (v.mean(axis=0), np.full(v.shape[1], v.var() / 4)) for k, v in taps.items()}
    channels = {k: v.shape[1] for k, v in taps.items()}
    for name in MEMBERS:
        heads = {
            contract.FLAT: build_head(HeadParams(l2=0.01), channels, 3, moments, 0),
            contract.HIERARCHICAL: build_hierarchical_head(
                HeadParams(l2=0.01), channels, 3, 1, moments, 0
            ),
        }
        for head in heads.values():
            for weight in head.trainable_weights:
                weight.assign(rng.normal(0, 0.3, weight.shape))
        calibrated = {key: CalibratedHead(head, 1.2) for key, head in heads.items()}
        model = BackboneModel(transform, Classifier(network, calibrated), CLASSES, 0.5)
        export(model, _serving(root / name))

    @functools.cache
    def call(kind: str) -> dict[str, ModelSources]:
        rule = Rule(cast("Kind", kind), MEMBERS[::-1], 0.75, 0.8)
        directories = {name: _serving(root / name) for name in MEMBERS}
        export(CombinedModel(transform, rule, directories, CLASSES, 0.5), _serving(root / kind))
        validation = {"members": MEMBERS, "cascade": {"first": MEMBERS[1], "threshold": 0.75}}
        (root / f"{kind}-run").mkdir()
        (root / f"{kind}-run" / contract.VALIDATION_FILE).write_text(json.dumps(validation))
        return {name: _sources(root, name) for name in (*MEMBERS, kind)}

    return call


def _serving(model: Path) -> str:
    from tfx.utils import path_utils

    return str(path_utils.serving_model_path(str(model)))


def _sources(root: Path, name: str) -> ModelSources:
    from components.report.sources import ModelSources

    return ModelSources(name, str(root / name), str(root / f"{name}-run"), "", True)


@pytest.fixture(scope="module", autouse=True)
def load() -> Iterator[Callable[..., Any]]:
    """Loads functions of a SavedModel once, also for the report."""
    from components.report import heat_maps

    loaded = functools.cache(heat_maps.load_functions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heat_maps, "load_functions", loaded)
        yield loaded


@pytest.fixture(scope="module")
def own(files: Mapping[str, bytes], load: Callable[..., Any]) -> Callable[[ModelSources], Any]:
    """Model -> what the signature of its own SavedModel says of all images."""
    import tensorflow as tf

    from schema import contract

    @functools.cache
    def call(model: str) -> dict[str, np.ndarray]:
        asked = (contract.SIGNATURE_EXPLAIN,)
        explain = load(_serving(Path(model)), signatures=asked).signatures["explain"]
        outputs = explain(**{contract.INPUT_IMAGES: tf.constant(list(files.values()))})
        return {key: value.numpy() for key, value in outputs.items()}

    return lambda sources: call(sources.model)


def _answers(own: Own, images: Sequence[str]) -> list[Answer]:
    from components.report.heat_maps import Answer

    labels = own["probabilities"].argmax(axis=-1).tolist()
    return [Answer(digest, labels[int(digest.split()[1])]) for digest in images]


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_those_of_each_models_own_signature(
    kind: str,
    models: Models,
    own: Callable[[ModelSources], Own],
    files: Mapping[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from components.report import heat_maps as module

    images, sources = list(files), models(kind)
    shown = {"vgg16": images[2:5], "xception": images[3:9], kind: images[::-1]}
    wanted = {name: _answers(own(sources[name]), shown[name]) for name in shown}
    loaded: list[str] = []
    asked: list[tuple[str, Answer]] = []

    class Counting(module._Network):
        def __init__(self, model_uri: str, pixels: module._Pixels) -> None:
            loaded.append(Path(model_uri).name)
            super().__init__(model_uri, pixels)

        def evidence(self, answers: Sequence[Answer]) -> dict[str, np.ndarray]:
            asked.extend((loaded[-1], answer) for answer in answers)
            return super().evidence(answers)

    monkeypatch.setattr(module, "_Network", Counting)
    found = module.heat_maps(list(sources.values()), wanted, files)
    assert list(found) == list(shown)
    for name, maps in found.items():
        assert list(maps) == shown[name]
        expected = own(sources[name])["heat_map"][[images.index(digest) for digest in maps]]
        assert expected.max() == 1
        np.testing.assert_allclose(np.stack(list(maps.values())), expected, atol=1e-3)
    assert sorted(loaded) == sorted(MEMBERS)
    assert len(set(asked)) == len(asked)
    # Of twelve images the cascade's first member is unsure of some, not of all.
    by_network = {name: sum(network == name for network, _ in asked) for name in MEMBERS}
    assert by_network["xception"] >= len(images)
    assert (len(shown["vgg16"]) <= by_network["vgg16"] < len(images)) == (kind == "cascade")


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30)), unique=True))
def test_an_image_passes_a_network_once_for_all_answers_to_it(
    asked: list[tuple[int, int]],
) -> None:
    from components.report.heat_maps import _BATCH, Answer, _of_whole_images

    answers = [Answer(str(image), label) for image, label in asked]
    batches = list(_of_whole_images(answers))
    assert {each for batch in batches for each in batch} == set(answers)
    assert sum(map(len, batches)) == len(answers)
    images = [{answer.sha256 for answer in batch} for batch in batches]
    assert all(images)
    assert sum(map(len, images)) == len({image for image, _ in asked})
    assert all(len(b) <= _BATCH for b, i in zip(batches, images, strict=True) if len(i) > 1)


def test_a_combination_without_its_members_is_asked_itself(
    models: Models, own: Callable[[ModelSources], Own], files: Mapping[str, bytes]
) -> None:
    from components.report.heat_maps import heat_maps

    cascade = models("cascade")["cascade"]
    assert heat_maps([cascade], {"cascade": []}, files) == {"cascade": {}}
    wanted = {"cascade": _answers(own(cascade), list(files)[4:])}
    found = heat_maps([cascade], wanted, files)
    maps = np.stack(list(found["cascade"].values()))
    np.testing.assert_allclose(maps, own(cascade)["heat_map"][4:], atol=1e-3)
