"""Training on cached features: small synthetic taps, and a tiny network for pixels."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from models import feature_records, training
from models.backbones import get_backbone
from models.boundary import CutNetwork
from models.calibration import apply_temperature
from models.fitting import head_alone
from models.heads import apply_head, build_head
from models.hyperparameters import HeadParams, RandomAugmentation, TrainingParams
from models.precision import in_precision
from models.random_augmentation import augment
from models.training import Task, Trained, blank_heads, fit_head, train
from models.training_data import TapData, read_taps
from schema import contract

Taps = dict[str, np.ndarray]
Store = Callable[..., list[str]]
TinyCut = Callable[..., CutNetwork]
FLAT = Task(3)
# The taps of tests/conftest.py's tiny backbone.
CHANNELS = {"block1": 12, "last": 24}
# By Keras, in whose hands the paper's head is.
OVERFITTED: dict[str, Any] = {
    "signal": 0.3,
    "learning_rate": 0.1,
    "head": {"kind": "paper", "width": 16},
}
PAPER_AUGMENTATION = RandomAugmentation(
    shear_degrees=0.2, zoom=0.2, horizontal_flip=True, vertical_flip=True
)


def _taps(count: int, seed: int, signal: float = 6.0) -> tuple[Taps, np.ndarray]:
    """Taps of three classes, whose means lie `signal` standard deviations apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    taps = {
        name: rng.normal(size=(count, channels)).astype(np.float32)
        for name, channels in CHANNELS.items()
    }
    for values in taps.values():
        values[np.arange(count), labels] += signal
    return taps, labels


@pytest.fixture(scope="module")
def fit(tiny_cut: TinyCut, module_store: Store) -> Callable[..., Trained]:
    """Trains on taps of 48 training and 24 validation images, at boundary `head`."""
    files: dict[float, tuple[list[str], list[str]]] = {}
    unrelated = itertools.count(100)

    def call(
        *,
        signal: float = 6.0,
        seed: int = 0,
        task: Task = FLAT,
        log_dir: str | None = None,
        **fields: Any,
    ) -> Trained:
        if signal not in files:
            training, validation = _taps(48, 1, signal), _taps(24, 2, signal)
            files[signal] = (
                module_store(f"train {signal}", *training),
                module_store(f"eval {signal}", *validation),
            )
        recipe: dict[str, Any] = {
            "learning_rate": 0.05,
            "batch_size": 16,
            "epochs": 8,
            # What is out of fold, test_refit.py tests.
            "validation": "holdout",
        }
        network = tiny_cut("head")
        # What ran before in this process must not matter.
        keras.utils.set_random_seed(next(unrelated))
        return train(
            network,
            _params(**recipe | fields),
            task,
            train_files=files[signal][0],
            eval_files=files[signal][1],
            seed=seed,
            log_dir=log_dir,
        )

    return call


@pytest.fixture(scope="module")
def overfitted(fit: Callable[..., Trained]) -> Trained:
    """Twenty epochs, of which the last are worse than an earlier one."""
    return fit(**OVERFITTED, epochs=20, early_stopping_patience=None)


@pytest.fixture(scope="module")
def mistaken(fit: Callable[..., Trained]) -> Trained:
    """Trained on classes that overlap, so that it makes mistakes."""
    return fit(signal=1.0)


def _params(**fields: Any) -> TrainingParams:
    return TrainingParams.model_validate(fields).resolved(get_backbone("tiny"))


def _probabilities(trained: Trained, taps: Taps) -> np.ndarray:
    """What the flat head says, before its calibration."""
    head = trained.classifier.heads["flat"].model
    return apply_head(
        head, trained.classifier.network.parts["tiny"].suffix(taps), training=False
    ).numpy()


def _loss(trained: Trained, taps: Taps, labels: np.ndarray) -> float:
    """Cross-entropy before the calibration."""
    return float(-np.log(_probabilities(trained, taps)[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize("kind", ["regularised", "paper"])
def test_a_separable_problem_is_learnt_and_logged(
    kind: str, fit: Callable[..., Trained], tmp_path: Path
) -> None:
    head = {"kind": kind, "width": 32}
    logs = tmp_path / "logs"
    trained = fit(head=head, epochs=8, early_stopping_patience=None, log_dir=str(logs))
    for split in ("train", "validation"):
        (events,) = (logs / split).glob("events.out.tfevents.*")
        assert events.stat().st_size > 0
    names = {"loss", "accuracy", "val_loss", "val_accuracy"}
    solved = {contract.HISTORY_ITERATION} if kind == "regularised" else set()
    assert set(trained.history) == names | solved
    # Of L-BFGS, the start is there, too.
    assert {len(values) for values in trained.history.values()} == {9 if solved else 8}
    assert trained.history["loss"][-1] < 0.5 * trained.history["loss"][0]

    taps, labels = _taps(24, 2)
    predicted = _probabilities(trained, taps).argmax(axis=-1)
    report = trained.validation
    assert report["accuracy"] == (predicted == labels).mean() >= 0.95
    assert report["total"] == 24
    np.testing.assert_array_equal(np.sum(report["confusion"], axis=1), [8, 8, 8])
    assert np.trace(report["confusion"]) == (predicted == labels).sum()


def test_rows_of_the_confusion_matrix_are_the_true_classes(mistaken: Trained) -> None:
    taps, labels = _taps(24, 2, 1.0)
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (labels, _probabilities(mistaken, taps).argmax(axis=-1)), 1)
    assert (expected != expected.T).any()
    assert mistaken.validation["confusion"] == expected.tolist()
    assert mistaken.validation["accuracy"] == np.trace(expected) / 24


def test_the_best_epochs_weights_are_restored(overfitted: Trained) -> None:
    losses = overfitted.history["val_loss"]
    best = int(np.argmin(losses))
    assert losses[-1] > 1.1 * losses[best], "the last epoch must be worse to prove anything"
    known = overfitted.history["val_accuracy"][best]
    assert overfitted.validation["accuracy"] == pytest.approx(known)
    assert _loss(overfitted, *_taps(24, 2, 0.3)) == pytest.approx(losses[best], rel=1e-5)


def _fit_overfitted(**fields: Any) -> tuple[keras.Model, dict[str, list[float]]]:
    """As `overfitted`, by `fit_head` on taps in memory."""
    recipe = {"batch_size": 16} | {k: v for k, v in OVERFITTED.items() if k != "signal"} | fields
    signal = OVERFITTED["signal"]
    return fit_head(_params(**recipe), 3, TapData(_taps(48, 1, signal), _taps(24, 2, signal)), 0)


def test_early_stopping_stops_after_its_patience(
    tiny_backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And TensorFlow traces a step once, since all variables are there before."""
    traced: list[keras.Model] = []
    step = keras.Model.train_step

    def remembering(self: keras.Model, data: Any) -> Any:
        traced.append(self)
        return step(self, data)

    monkeypatch.setattr(keras.Model, "train_step", remembering)
    head, history = _fit_overfitted(epochs=60, early_stopping_patience=3)
    assert traced == [head]
    losses = history["val_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 60
    taps, labels = _taps(24, 2, 0.3)
    answers = apply_head(head, taps, training=False).numpy()
    loss = -np.log(answers[np.arange(24), labels]).mean()
    assert loss == pytest.approx(losses[best], rel=1e-5)


def test_the_plateau_lowers_the_rate_down_to_its_floor(tiny_backbone: str) -> None:
    _, history = _fit_overfitted(learning_rate=3e-6, epochs=6, plateau_patience=1)
    # Steps of 3e-6 are below what ReduceLROnPlateau counts as progress.
    expected = [3e-6, 3e-6, 6e-7, 1.2e-7, 1e-7, 1e-7]
    np.testing.assert_allclose(history["learning_rate"], expected, rtol=1e-3)


def test_the_same_seed_gives_the_same_model_and_another_another(
    fit: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training alone is shuffled, by the seed too."""
    shuffled: list[tuple[str, Any]] = []
    read = feature_records.read

    def remembering(patterns: list[str], *args: Any, **options: Any) -> Any:
        shuffled.append((Path(patterns[0]).parent.name, options.get("shuffle_seed")))
        return read(patterns, *args, **options)

    monkeypatch.setattr(feature_records, "read", remembering)
    taps, _ = _taps(24, 2)
    head = {"kind": "paper", "width": 16, "dropout": 0.3}
    runs = [fit(seed=seed, head=head, signal=1.0, epochs=2) for seed in (4, 4, 5)]
    first, again, other = (_probabilities(trained, taps) for trained in runs)
    np.testing.assert_array_equal(first, again)
    assert runs[0].history == runs[1].history
    assert np.abs(first - other).max() > 1e-3
    assert sorted(shuffled[:2], reverse=True) == [("train 1.0", 4), ("eval 1.0", None)]
    assert set(shuffled[2:]) == {("train 1.0", 4), ("train 1.0", 5), ("eval 1.0", None)}


@pytest.mark.parametrize("head", [{}, {"kind": "paper"}], ids=["solved", "paper"])
def test_a_feature_that_is_no_number_stops_training_with_an_error(
    head: dict[str, Any], tiny_backbone: str
) -> None:
    taps, labels = _taps(12, 1)
    taps["last"][3, 3] = math.nan
    params = _params(head=head, epochs=3)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        fit_head(params, 3, TapData((taps, labels), _taps(6, 2)), 0)


def test_mirrors_train_where_asked_for_and_never_validate(tiny_cut: TinyCut, store: Store) -> None:
    """Mirrors that are not wanted hold NaN, which no training would survive."""
    augmentations = ["identity", "mirror"] * 6
    taps, labels = _taps(12, 1)
    for values in taps.values():
        values[1::2] = math.nan
    poisoned = store("poisoned", taps, labels, augmentations)
    clean = store("clean", *_taps(12, 1), augmentations)
    trained = train(
        tiny_cut("head"),
        _params(epochs=2, batch_size=4, augmentations=("identity",), validation="holdout"),
        FLAT,
        train_files=poisoned,
        eval_files=poisoned,
        seed=0,
    )
    assert trained.validation["total"] == 6
    standardise = trained.classifier.heads["flat"].model.get_layer("standardise_last")
    np.testing.assert_allclose(
        np.ravel(standardise.mean), np.mean(taps["last"][::2], axis=0), atol=1e-5
    )
    both = read_taps(
        tiny_cut("head"),
        _params(batch_size=4, augmentations=("identity", "mirror")),
        train_files=clean,
        eval_files=poisoned,
        seed=0,
    )
    assert (len(both.training[1]), len(both.validation[1])) == (12, 6)
    mean, _ = both.moments()["last"]
    np.testing.assert_allclose(mean, _taps(12, 1)[0]["last"].mean(axis=0), atol=1e-5)


def test_answers_are_calibrated_and_recorded_image_by_image(mistaken: Trained) -> None:
    trained = mistaken
    taps, labels = _taps(24, 2, 1.0)
    raw = _probabilities(trained, taps)
    head = trained.classifier.heads["flat"]
    expected = apply_temperature(raw, head.temperature)
    assert abs(head.temperature - 1) > 1e-3, "else nothing is shown"
    served = head(trained.classifier.network.parts["tiny"].suffix(taps))
    np.testing.assert_allclose(served, expected, atol=1e-6)
    answers = trained.predictions
    assert set(answers.probabilities) == {"flat"}, "no class is healthy"
    np.testing.assert_allclose(answers.probabilities["flat"], expected, atol=1e-6)
    np.testing.assert_array_equal(answers.labels, labels)
    assert answers.folds == 0
    assert answers.sha256 == tuple(
        hashlib.sha256(f"eval 1.0 {row}".encode()).hexdigest() for row in range(24)
    )
    chosen = expected[np.arange(24), labels]
    assert trained.validation["loss"] == pytest.approx(-np.log(chosen).mean(), rel=1e-5)
    assert trained.validation["temperature"] == head.temperature


def test_the_hierarchical_head_trains_where_a_class_is_healthy(
    fit: Callable[..., Trained],
) -> None:
    answers = fit(signal=4.0, epochs=10, task=Task(3, 1)).predictions
    assert set(answers.probabilities) == {"flat", "hierarchical"}
    hierarchical = answers.probabilities["hierarchical"]
    np.testing.assert_allclose(hierarchical.sum(axis=-1), 1, atol=1e-6)
    assert (hierarchical.argmax(axis=-1) == answers.labels).mean() > 0.9
    assert np.abs(hierarchical - answers.probabilities["flat"]).max() > 1e-3


def test_a_head_alone_is_fitted_by_the_defaults_whatever_the_block_wants() -> None:
    block = TrainingParams(
        boundary="input",
        learning_rate=1e-6,
        schedule="constant",
        batch_size=3,
        epochs=7,
        early_stopping_patience=None,
        plateau_patience=2,
    )
    same = {"boundary": "input"}
    assert head_alone(block) == TrainingParams(**same)
    cosine = block.model_copy(update={"schedule": "cosine", "plateau_patience": None})
    assert head_alone(cosine) == TrainingParams(**same)


def test_a_block_trains_from_a_head_that_is_fitted_first(
    tiny_cut: TinyCut, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the warm start, one step at a tiny rate would leave the head as it was drawn."""
    warmed = []

    def remembering(params: TrainingParams) -> TrainingParams:
        warmed.append(params.learning_rate)
        return head_alone(params)

    monkeypatch.setattr(training, "head_alone", remembering)
    network = tiny_cut("block2")
    rng = np.random.default_rng(0)

    def features(count: int) -> tuple[Taps, np.ndarray]:
        labels = np.arange(count) % 3
        maps = {n: np.zeros((count, *s.shape)) for n, s in network.features.items()}
        maps["block1"] = rng.normal(size=(count, *network.features["block1"].shape))
        maps["block1"][np.arange(count), labels] += 8
        return {n: v.astype(network.features[n].dtype) for n, v in maps.items()}, labels

    files = store("train", *features(48)), store("eval", *features(12))
    trained = train(
        network,
        _params(boundary="block2", learning_rate=1e-9, epochs=1),
        FLAT,
        train_files=files[0],
        eval_files=files[1],
        seed=0,
    )
    assert trained.validation["accuracy"] == 1.0
    drawn = blank_heads(network, _params(boundary="block2"), FLAT)["flat"]
    images, labels = features(12)
    answers = apply_head(drawn, network.suffix(images), training=False).numpy()
    assert (answers.argmax(axis=-1) == labels).mean() < 1
    assert warmed == [1e-9]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_block_trains_in_either_precision_and_stays_float32(
    precision: str, tiny_cut: TinyCut, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a head as it was drawn, since no warm start is asked for."""

    def not_asked_for(_: TrainingParams) -> TrainingParams:
        raise AssertionError("no head is to be fitted first")

    monkeypatch.setattr(training, "head_alone", not_asked_for)
    network = tiny_cut("block2")
    before = [weight.copy() for weight in network.suffix.get_weights()]
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 3

    def features() -> Taps:
        maps = {n: rng.normal(size=(24, *s.shape)) for n, s in network.features.items()}
        name = "map_block2"
        maps[name][np.arange(24), :, :, labels] += 3
        return {n: v.astype(network.features[n].dtype) for n, v in maps.items()}

    trained = train(
        network,
        _params(
            boundary="block2",
            precision=precision,
            warm_start=False,
            learning_rate=1e-3,
            epochs=3,
        ),
        FLAT,
        train_files=store("train", features(), labels),
        eval_files=store("eval", features(), labels),
        seed=0,
    )
    assert trained.history["loss"][-1] < trained.history["loss"][0]
    after = network.suffix.get_weights()
    assert all(weight.dtype == np.float32 for weight in after)
    changed = [(one != two).any() for one, two in zip(before, after, strict=True)]
    assert all(changed)
    assert {str(layer.compute_dtype) for layer in network.suffix.layers} == {"float32"}


def test_a_copy_in_bfloat16_computes_nearly_the_same(tiny_cut: TinyCut) -> None:
    suffix = tiny_cut("block2").suffix
    copy = in_precision(suffix, "mixed_bfloat16")
    rng = np.random.default_rng(0)
    inputs = {n: rng.normal(size=(2, *t.shape[1:])).astype("f") for n, t in suffix.input.items()}
    expected, taps = suffix(inputs), copy(inputs)
    for name, values in expected.items():
        assert taps[name].dtype == "float32"
        largest = np.abs(values).max()
        difference = np.abs(values - taps[name]).max()
        assert difference < 0.02 * largest
    last = np.abs(expected["last"] - taps["last"]).max()
    assert last > 0, "else it was float32 all along"


def test_a_cosine_ends_at_nothing(overfitted: Trained) -> None:
    """With the rate gone, the last epochs no longer move the loss."""
    constant = overfitted.history["loss"]
    _, history = _fit_overfitted(epochs=20, early_stopping_patience=None, schedule="cosine")
    cosine = history["loss"]
    assert abs(cosine[-1] - cosine[-2]) < 0.1 * abs(constant[1] - constant[0])
    assert cosine != constant


def _lopsided(count: int) -> np.ndarray:
    """Images that no flip and no zoom leaves as it was: uint8 [count, 256, 256, 1]."""
    rows, columns = np.mgrid[0:256, 0:256]
    levels = np.arange(1, count + 1)[:, None, None]
    bright = (rows < 30 + 10 * levels) & (columns < 60)
    return np.where(bright, 255, columns // 3).astype(np.uint8)[..., None]


@pytest.mark.parametrize(
    ("augmentation", "head_params", "rate"),
    [
        (None, HeadParams(kind="paper", width=16), 0.01),
        (PAPER_AUGMENTATION, HeadParams(l2=0.0), 1e-6),
    ],
    ids=["plain", "augmented"],
)
def test_pixels_train_with_the_papers_augmentation_and_validate_without(
    augmentation: RandomAugmentation | None,
    head_params: HeadParams,
    rate: float,
    tiny_cut: TinyCut,
    store: Store,
) -> None:
    """One step on the validation images, whose loss before it is known without the training."""
    network = tiny_cut("input")
    before = [weight.copy() for weight in network.suffix.get_weights()]
    labels = np.arange(6) % 3
    images = {"map_input": _lopsided(6)}
    pixels = {"map_input": images["map_input"].astype(np.float32)}
    params = _params(
        boundary="input",
        augmentations=("identity",),
        head=head_params,
        warm_start=False,
        learning_rate=rate,
        batch_size=6,
        epochs=1,
        random_augmentation=augmentation,
    )
    taps = {name: tensor.numpy() for name, tensor in network.suffix(pixels).items()}
    moments = TapData((taps, labels), (taps, labels)).moments()
    head = build_head(params.head, CHANNELS, 3, moments, 0)
    first = apply_head(head, taps, training=False).numpy()
    expected = -np.log(first[np.arange(6), labels]).mean()
    files = store("images", images, labels)
    trained = train(network, params, FLAT, train_files=files, eval_files=files, seed=0)

    difference = abs(trained.history["loss"][0] - expected)
    assert difference > 1e-2 if augmentation else difference < 1e-4
    # Ours is computed without the augmenting layers, `val_loss` by Keras with them.
    ours = _loss(trained, pixels, labels)
    assert ours == pytest.approx(trained.history["val_loss"][0], rel=1e-5)
    augmented = {"map_input": _augmented(pixels["map_input"], training=True)}
    still = _probabilities(trained, pixels)
    assert np.abs(_probabilities(trained, augmented) - still).max() > 1e-3
    changed = zip(before, network.suffix.get_weights(), strict=True)
    assert all((one != two).any() for one, two in changed), "every layer must have trained"


def _augmented(
    images: np.ndarray,
    params: RandomAugmentation = PAPER_AUGMENTATION,
    *,
    training: bool,
    seed: int = 0,
) -> np.ndarray:
    inputs = keras.Input((256, 256, 1))
    model = keras.Model(inputs, augment(inputs, params, seed))
    return np.asarray(model(images, training=training))


def test_augmentation_is_the_seeds_and_off_outside_training() -> None:
    images = _lopsided(4).astype(np.float32)
    np.testing.assert_array_equal(_augmented(images, training=False), images)
    first = _augmented(images, training=True)
    np.testing.assert_array_equal(_augmented(images, training=True), first)
    assert (first != images).any(axis=(1, 2, 3)).all()
    assert (_augmented(images, training=True, seed=1) != first).any()
    assert (first.min(), first.max()) >= (0, 0)
    assert first.max() <= 255


@pytest.mark.parametrize(
    ("flips", "count"), [((True, True), 4), ((True, False), 2), ((False, True), 2)]
)
def test_flips_of_both_axes_are_drawn_apart(flips: tuple[bool, bool], count: int) -> None:
    image = _lopsided(1).astype(np.float32)
    params = RandomAugmentation(horizontal_flip=flips[0], vertical_flip=flips[1])
    flipped = _augmented(np.repeat(image, 64, axis=0), params, training=True)
    known = {
        image[0, ::down, ::across].tobytes(): 0
        for down in ((1, -1) if flips[1] else (1,))
        for across in ((1, -1) if flips[0] else (1,))
    }
    assert len(known) == count
    for one in flipped:
        known[one.tobytes()] += 1
    assert len(known) == count
    # 64 draws: fewer than an eighth of a fair share has a probability below 1e-4.
    assert min(known.values()) >= 64 / count / 8


def test_zoom_changes_the_size_by_at_most_its_factor_and_says_nothing_of_the_flips() -> None:
    rows, columns = np.mgrid[0:256, 0:256] - 127.5
    square = ((np.abs(rows) < 50) & (np.abs(columns) < 50)).astype(np.float32) * 255
    # A darker half tells which way is up; bright enough to count as the square.
    square[128:] *= 0.8
    batch = np.repeat(square[None, ..., None], 64, axis=0)
    params = RandomAugmentation(zoom=0.2, vertical_flip=True)
    zoomed = _augmented(batch, params, training=True)[..., 0]
    inside = zoomed > 100
    heights, widths = (inside.any(axis=axis).sum(axis=1) for axis in (2, 1))
    flipped = zoomed[:, 110, 128] < zoomed[:, 145, 128]
    for sizes in (heights, widths):
        assert sizes.min() >= 100 / 1.2 - 2
        assert sizes.max() <= 100 / 0.8 + 2
        assert np.ptp(sizes) > 20
        assert abs(np.corrcoef(sizes, flipped)[0, 1]) < 0.5
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.5


def test_shear_is_in_degrees_and_goes_both_ways() -> None:
    columns = np.broadcast_to(np.arange(256), (256, 256))
    bar = (columns >= 128).astype(np.float32) * 255
    batch = np.repeat(bar[None, ..., None], 32, axis=0)
    params = RandomAugmentation(shear_degrees=10.0)
    edges = (_augmented(batch, params, training=True)[..., 0] < 127).sum(axis=2)
    drift = (edges[:, 200] - edges[:, 0]) / 200
    assert np.abs(drift).max() <= math.tan(math.radians(10)) + 0.01
    assert drift.min() < -0.12
    assert drift.max() > 0.12
