"""One head on several networks: its rows, its fit, its answers and what they stand on.

Its SavedModel is in test_lent_network.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from models import evaluation_model, fusion
from models.backbones import BACKBONES, build_network, get_backbone
from models.boundary import CutNetwork, cut
from models.calibration import apply_temperature, fit_temperature
from models.classifier import Classifier
from models.cost import multiply_adds
from models.cross_validation import assign_folds
from models.evaluation_model import HeadsOfClassifier
from models.explanation import class_score
from models.feature_records import serialize
from models.fused_data import fused_name, joined, read_fused
from models.fusion import FusedNetwork, fit_fusion, load_fused, recipe_of
from models.heads import apply_head, tap_means
from models.pretrained import save_pretrained
from models.training import Task, Trained
from models.training_data import ImageTaps
from schema import contract
from tests.miniatures import miniature_backbones

NAMES = ("xception", "densenet121")
TASK = Task(3)
# As in any head on two dozen channels, fitted to a few dozen images: some answers are unsure.
L2 = 1e-3


@pytest.fixture(scope="module", autouse=True)
def _less_sure() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusion, "L2", L2)
        yield


@pytest.fixture(scope="module")
def network() -> FusedNetwork:
    """Two miniatures, one of which sees the image at half its size."""
    keras.utils.set_random_seed(0)
    parts = {}
    with miniature_backbones():
        for name, size in zip(NAMES, (256, 128), strict=True):
            row = get_backbone(name)
            built = build_network(row, image_size=size)
            parts[name] = cut(built, row, "head", tuple(row.fused_taps))
    return FusedNetwork(parts)


def _channels(network: FusedNetwork) -> dict[str, int]:
    return {
        fused_name(name, tap): spec.shape[0]
        for name, part in network.parts.items()
        for tap, spec in part.features.items()
    }


def _images(network: FusedNetwork, count: int, seed: int, first: int = 0) -> ImageTaps:
    """Taps of images of three classes that overlap; two images a patient."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    taps = {}
    for name, size in _channels(network).items():
        centres = np.random.default_rng(size).normal(size=(3, size))
        spread = rng.uniform(0.5, 3, size)
        rows = (centres[labels] + 4 * rng.normal(size=(count, size))) * spread + 5
        taps[name] = rows.astype(np.float32)
    sha256 = tuple(f"{first + row:064x}" for row in range(count))
    groups = tuple(f"p{(first + row) // 6}" for row in range(count))
    return ImageTaps(taps, np.arange(count), np.arange(count), labels, sha256, groups)


def _rows(images: ImageTaps, chosen: np.ndarray) -> ImageTaps:
    """Those of the images that are chosen, bool [images]."""
    numbers = np.arange(chosen.sum())
    return ImageTaps(
        {name: values[chosen] for name, values in images.taps.items()},
        *(numbers, numbers, images.labels[chosen]),
        tuple(np.array(images.sha256)[chosen].tolist()),
        tuple(np.array(images.groups)[chosen].tolist()),
    )


@pytest.fixture(scope="module")
def splits(network: FusedNetwork) -> tuple[ImageTaps, ImageTaps]:
    return _images(network, 48, 1), _images(network, 24, 2, first=48)


@pytest.fixture(scope="module")
def crossed(network: FusedNetwork, splits: tuple[ImageTaps, ImageTaps]) -> Trained:
    return fit_fusion(network, TASK, *splits, validation="cross", seed=4)


def _scaled_rows(network: FusedNetwork, images: ImageTaps) -> np.ndarray:
    """As the docstring of models/fusion.py says."""
    weights = {fused_name(n, t): w for n in NAMES for t, w in get_backbone(n).fused_taps.items()}
    columns = []
    for name, values in images.taps.items():
        rows = values.astype(np.float64)
        standard = (rows - rows.mean(axis=0)) / rows.std(axis=0)
        columns.append(standard * np.sqrt(weights[name] / sum(weights.values()) / rows.shape[1]))
    return np.concatenate(columns, axis=1)


def test_every_row_of_the_table_says_what_it_gives_to_the_fused_head() -> None:
    for row in BACKBONES.values():
        assert row.fused_taps
        assert list(row.fused_taps) == [tap for tap in row.all_taps if tap in row.fused_taps]
        assert min(row.fused_taps.values()) > 0
    recipe = recipe_of(NAMES, "cross")
    assert recipe["head"]["taps"]["densenet121"] == {"last": 0.15}


def test_the_head_reads_rows_whose_mean_square_is_one(
    network: FusedNetwork, splits: tuple[ImageTaps, ImageTaps], crossed: Trained
) -> None:
    head = crossed.classifier.heads[contract.FLAT].model
    read = keras.Model(head.input, head.get_layer("taps").output)
    together = joined(*splits)
    rows = read(dict(together.taps)).numpy()
    np.testing.assert_allclose(rows, _scaled_rows(network, together), atol=1e-5)
    assert (rows**2).sum(axis=1).mean() == pytest.approx(1, abs=1e-5)


def test_it_is_the_logistic_regression_of_scikit_learn_on_both_splits(
    network: FusedNetwork, splits: tuple[ImageTaps, ImageTaps], crossed: Trained
) -> None:
    together = joined(*splits)
    rows = _scaled_rows(network, together)
    theirs = LogisticRegression(C=1 / (2 * L2 * len(rows)), tol=1e-9, max_iter=20_000)
    expected = theirs.fit(rows, together.labels).predict_proba(rows)
    head = crossed.classifier.heads[contract.FLAT].model
    found = apply_head(head, together.taps, training=False).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert 0.05 < expected.max(axis=1).min() < 0.9


def test_out_of_fold_answers_are_of_heads_that_saw_neither_image_nor_patient(
    network: FusedNetwork, splits: tuple[ImageTaps, ImageTaps], crossed: Trained
) -> None:
    together = joined(*splits)
    predictions = crossed.predictions
    assert predictions.sha256 == together.sha256
    np.testing.assert_array_equal(predictions.labels, together.labels)
    folds = assign_folds(together.labels, together.groups, 4)
    raw = np.empty((len(folds), 3))
    for fold in np.unique(folds):
        others, asked = _rows(together, folds != fold), _rows(together, folds == fold)
        assert not set(others.groups) & set(asked.groups)
        # `holdout`, for one fold.
        alone = fit_fusion(network, TASK, others, asked, validation="holdout", seed=0)
        raw[folds == fold] = apply_head(
            alone.classifier.heads[contract.FLAT].model, asked.taps, training=False
        )
    temperature = fit_temperature(raw, together.labels)
    assert crossed.validation["temperature"] == pytest.approx(temperature, rel=1e-6)
    expected = apply_temperature(raw, temperature)
    np.testing.assert_allclose(predictions.probabilities[contract.FLAT], expected, atol=1e-6)
    assert crossed.validation["total"] == 72
    assert crossed.validation["folds"] == predictions.folds == len(np.unique(folds))
    assert crossed.validation["accuracy"] < 1


def test_held_out_images_judge_a_head_that_was_fitted_to_the_others(
    network: FusedNetwork, splits: tuple[ImageTaps, ImageTaps]
) -> None:
    trained = fit_fusion(network, TASK, *splits, validation="holdout", seed=0)
    training, evaluation = splits
    assert trained.predictions.sha256 == evaluation.sha256
    head = trained.classifier.heads[contract.FLAT]
    found = head({name: tf.constant(values) for name, values in evaluation.taps.items()}).numpy()
    np.testing.assert_allclose(trained.predictions.probabilities[contract.FLAT], found, atol=1e-5)
    means = {name: np.asarray(tap)[0] for name, tap in tap_means(head.model).items()}
    for name, values in training.taps.items():
        np.testing.assert_allclose(means[name], values.mean(axis=0), rtol=1e-5)
    assert len(trained.history["loss"]) == len(trained.history["val_loss"]) > 2


def _cut(network: FusedNetwork) -> dict[str, CutNetwork]:
    return {n: part for n, part in network.parts.items() if isinstance(part, CutNetwork)}


def test_it_costs_what_the_networks_cost_up_to_their_last_taps(
    network: FusedNetwork, crossed: Trained
) -> None:
    costs = [multiply_adds(part.prefix) for part in _cut(network).values()]
    assert crossed.validation["multiply_adds"] == sum(costs)
    assert crossed.predictions.multiply_adds == sum(costs)
    assert crossed.validation["members"] == sorted(NAMES)


@pytest.fixture(scope="module")
def pixels() -> tf.Tensor:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 8, 8, 1))
    return tf.constant(np.kron(coarse, np.ones((1, 32, 32, 1))), tf.float32)


@pytest.fixture(scope="module")
def classifier(network: FusedNetwork, pixels: tf.Tensor) -> Classifier:
    """With a head that is fitted to the images' own taps, and unlike ones."""
    taps = {n: t.numpy() for n, t in network.pooled(network.feature_maps(pixels)).items()}
    rng = np.random.default_rng(3)
    many = {n: np.concatenate([t * rng.uniform(0.5, 1.5, t.shape) for _ in range(6)])
            for n, t in taps.items()}  # fmt: skip
    labels = np.arange(24) % 3
    names = tuple(f"{row:064x}" for row in range(24))
    taps = {n: t.astype(np.float32) for n, t in many.items()}
    images = ImageTaps(taps, np.arange(24), np.arange(24), labels, names, names)
    return fit_fusion(network, TASK, images, images, validation="holdout", seed=0).classifier


def test_its_heat_map_adds_up_to_the_score_over_all_networks(
    network: FusedNetwork, classifier: Classifier, pixels: tf.Tensor
) -> None:
    maps = classifier.feature_maps(pixels)
    assert {maps["densenet121_last"].shape[1], maps["xception_block4_grid"].shape[1]} == {4, 32}
    head = classifier.heads[contract.FLAT]
    means = {name: tf.repeat(mean, 4, axis=0) for name, mean in tap_means(head.model).items()}
    taps = network.pooled(maps)
    classes = tf.constant([0, 1, 2, 0])

    def parts(of: Mapping[str, tf.Tensor]) -> np.ndarray:
        score = class_score(head(of), classes) - class_score(head(means), classes)
        found: np.ndarray = score.numpy()
        return found

    evidence = classifier.evidence(contract.FLAT, maps, taps, classes).numpy()
    assert evidence.shape == (4, 256, 256)
    np.testing.assert_allclose(evidence.sum(axis=(1, 2)), parts(taps), rtol=2e-3, atol=2e-3)
    # Each network's part is what it says where the others say what they say on the average.
    alone = [
        parts({n: taps[n] if n.startswith(name) else means[n] for n in taps}) for name in NAMES
    ]
    np.testing.assert_allclose(sum(alone), parts(taps), rtol=1e-3, atol=1e-3)
    assert min(np.abs(part).max() for part in alone) > 1e-3


def test_its_answers_to_features_are_those_to_the_image(
    network: FusedNetwork, classifier: Classifier, pixels: tf.Tensor, tmp_path: Path
) -> None:
    folder = str(tmp_path / "heads")
    digests = {name: f"digest of {name}" for name in NAMES}
    evaluation_model.write(HeadsOfClassifier(classifier, digests), folder)
    members = evaluation_model.read_members(folder)
    assert {name: member.digest for name, member in members.items()} == digests
    files = {}
    for name, part in _cut(network).items():
        features = {n: t.numpy() for n, t in part.prefix(pixels, training=False).items()}
        files[name] = _stored(tmp_path / name, features, [0, 1, 2, 0])
    found = evaluation_model.answer(folder, files | {"vgg16": []})
    expected = classifier.answers(classifier.feature_maps(pixels))[contract.FLAT].numpy()
    rows = np.stack([found[f"{row:064x}"] for row in range(4)])
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert np.ptp(rows, axis=0).max() > 0.1


def test_records_are_read_by_digest_and_without_further_augmentations(
    network: FusedNetwork, tmp_path: Path
) -> None:
    specs = {name: part.features for name, part in network.parts.items()}
    images = _images(network, 6, 5)

    def features(name: str) -> dict[str, np.ndarray]:
        return {tap: images.taps[fused_name(name, tap)] for tap in specs[name]}

    files = {n: _stored(tmp_path / n, features(n), images.labels.tolist()) for n in NAMES}
    # Another order, and a mirror.
    files[NAMES[1]] = _rewritten(files[NAMES[1]], tmp_path / "backwards", slice(None, None, -1))
    found = read_fused(files, specs)
    assert found.sha256 == found.groups == images.sha256
    np.testing.assert_array_equal(found.labels, images.labels)
    for name, values in images.taps.items():
        np.testing.assert_array_equal(found.taps[name], values)
    fewer = _rewritten(files[NAMES[1]], tmp_path / "fewer", slice(1, None))
    with pytest.raises(ValueError, match=r"features of .*densenet121 are of different images"):
        read_fused(files | {NAMES[1]: fewer}, specs)


def _stored(path: Path, features: Mapping[str, np.ndarray], labels: Sequence[int]) -> list[str]:
    """As Featurizer writes it; the pattern for `read`."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row, label in enumerate(labels):
            digest = b"%064x" % row
            record = serialize(
                {tap: values[row] for tap, values in features.items()},
                augmentation="identity",
                label=label,
                class_name=b"class %d" % label,
                sha256=digest,
                group=digest,
            )
            writer.write(record)
    return [str(path)]


def _rewritten(patterns: Sequence[str], path: Path, chosen: slice) -> list[str]:
    (file,) = tf.io.gfile.glob(patterns[0])
    records = list(tf.data.TFRecordDataset(file).as_numpy_iterator())
    mirror = records[0].replace(b"identity", b"mirrored")
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in [*records[chosen], mirror]:
            writer.write(record)
    return [str(path)]


def test_networks_are_loaded_with_the_taps_of_their_rows(tmp_path: Path) -> None:
    folders = {name: str(tmp_path / name) for name in NAMES}
    with miniature_backbones():
        for name, folder in folders.items():
            save_pretrained(name, folder, seed=1)
        loaded = load_fused(folders, {"xception": None, "densenet121": "unit"})
    for name, part in loaded.parts.items():
        assert set(part.features) == set(get_backbone(name).fused_taps)
    scales = loaded.scales()
    assert scales["densenet121_last"] == pytest.approx((0.15 / 1.15 / 16) ** 0.5)
