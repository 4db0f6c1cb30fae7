"""Cached features come back as they were written, in the promised order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.boundary import FeatureSpec
from models.feature_records import read, serialize
from schema import contract

Store = Callable[..., list[str]]
NUMBER = {"number": FeatureSpec((1,), "float32")}


def _serialize(
    features: dict[str, np.ndarray], label: int = 1, augmentation: str = "identity"
) -> bytes:
    return serialize(
        features,
        augmentation=augmentation,
        label=label,
        class_name=b"Normal",
        sha256=b"ab",
        group=b"aa",
    )


@settings(max_examples=15)
@given(
    st.sampled_from(["float32", "float16", "uint8"]),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.integers(1, 4),
    st.integers(0, 1 << 16),
)
def test_any_tensor_comes_back_bit_for_bit(
    dtype: str, shape: list[int], count: int, seed: int
) -> None:
    size = count * int(np.prod(shape)) * np.dtype(dtype).itemsize
    # Random bits, so that subnormal numbers, infinity and NaN are among them.
    bits = np.random.default_rng(seed).bytes(size)
    values = np.frombuffer(bits, dtype).reshape(count, *shape)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "features-00000-of-00001")
        with tf.io.TFRecordWriter(path) as writer:
            for row in range(count):
                writer.write(_serialize({"map": values[row]}, label=row))
        ((features, labels),) = read(
            [path], {"map": FeatureSpec(tuple(shape), dtype)}, batch_size=count
        )
    assert features["map"].dtype == dtype
    assert features["map"].shape == (count, *shape)
    assert features["map"].numpy().tobytes() == values.tobytes()
    assert labels.dtype == tf.int64
    assert labels.numpy().tolist() == list(range(count))


def test_an_array_that_is_not_contiguous_comes_back_as_it_looks() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    turned = array.transpose(2, 0, 1)[:, ::-1]
    assert _serialize({"map": turned}) == _serialize({"map": turned.copy()})


def test_a_record_holds_what_the_contract_names() -> None:
    record = serialize(
        {"last": np.array([1, 2], np.float32)},
        augmentation="mirror",
        label=2,
        class_name=b"Normal",
        sha256=b"0f",
        group=b"0a",
    )
    fields = tf.train.Example.FromString(record).features.feature
    assert {name: list(f.bytes_list.value or f.int64_list.value) for name, f in fields.items()} == {
        "features/last": [b"\x00\x00\x80\x3f\x00\x00\x00\x40"],
        contract.AUGMENTATION_NAME: [b"mirror"],
        contract.LABEL: [2],
        contract.LABEL_TEXT: [b"Normal"],
        contract.SHA256: [b"0f"],
        contract.GROUP: [b"0a"],
    }


def test_the_same_features_are_the_same_bytes_whatever_their_order() -> None:
    taps = {f"tap{i}": np.full(3, i, np.float32) for i in range(8)}
    backwards = dict(reversed(taps.items()))
    assert list(backwards) != list(taps)
    assert _serialize(taps) == _serialize(backwards)
    assert _serialize(taps) != _serialize(taps, label=0)


def _numbers(count: int) -> dict[str, np.ndarray]:
    return {"number": np.arange(count, dtype=np.float32)[:, None]}


def _order(data: tf.data.Dataset) -> list[int]:
    """Numbers of one epoch; each must have come with its own label."""
    numbers, labels = [], []
    for features, label in data:
        numbers += [int(value) for value in features["number"].numpy()[:, 0]]
        labels += label.numpy().tolist()
    assert numbers == labels
    return numbers


def _shuffled(pattern: Sequence[str], seed: int | None) -> tf.data.Dataset:
    return read(pattern, NUMBER, batch_size=7, shuffle_seed=seed)


def test_without_shuffling_the_order_is_that_of_the_files(store: Store) -> None:
    late = store("b", {"number": np.array([[2], [3]], np.float32)}, [2, 3])
    early = store("a", {"number": np.array([[0], [1]], np.float32)}, [0, 1])
    data = read([*late, *early], NUMBER, batch_size=3)
    assert _order(data) == _order(data) == [0, 1, 2, 3]


def test_all_records_come_and_the_last_batch_is_what_is_left(store: Store) -> None:
    data = _shuffled(store("train", _numbers(20), range(20)), None)
    assert [len(labels) for _, labels in data] == [7, 7, 6]


def test_shuffling_is_the_same_each_run_and_new_each_epoch(store: Store) -> None:
    pattern = store("train", _numbers(40), range(40))
    runs = []
    for seed in (5, 5, 6):
        data = _shuffled(pattern, seed)
        runs.append([_order(data) for _ in range(3)])
    first, again, other = runs
    assert first == again
    assert len({tuple(epoch) for epoch in (*first, *other)}) == 6
    assert all(sorted(epoch) == list(range(40)) for epoch in (*first, *other))
    assert list(range(40)) not in first


def test_the_shuffle_window_holds_all_records_but_not_many_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow sets up each place of the window at every epoch, used or not."""
    windows = []
    shuffle = tf.data.Dataset.shuffle

    def remembering(data: tf.data.Dataset, window: int, **options: Any) -> tf.data.Dataset:
        windows.append(window)
        return shuffle(data, window, **options)

    monkeypatch.setattr(tf.data.Dataset, "shuffle", remembering)
    pattern = store("train", _numbers(40), range(40))
    _shuffled(pattern, 1)
    monkeypatch.setattr("models.feature_records._MEMORY_BYTES", 40)
    _shuffled(pattern, 1)
    whole, bounded = windows
    assert 40 <= whole <= 40 * 100
    assert bounded == 10


def test_what_does_not_fit_memory_is_read_anew_at_each_epoch(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def epochs_without_the_files(limit: int) -> int:
        monkeypatch.setattr("models.feature_records._MEMORY_BYTES", limit)
        pattern = store(f"limit{limit}", _numbers(4), range(4))
        data = read(pattern, NUMBER, batch_size=2)
        assert _order(data) == [0, 1, 2, 3]
        for file in tf.io.gfile.glob(pattern):
            tf.io.gfile.remove(file)
        try:
            return len(_order(data))
        except tf.errors.NotFoundError:
            return 0

    assert epochs_without_the_files(1 << 20) == 4
    assert epochs_without_the_files(1) == 0


def test_no_records_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Split-eval"):
        read([str(tmp_path / "Split-eval" / "*")], NUMBER, batch_size=1)


def test_only_the_wanted_augmentations_are_read(store: Store) -> None:
    augmentations = ["identity", "mirror", "mirror", "identity", "upside_down"]
    pattern = store("train", _numbers(5), range(5), augmentations)

    def wanted(*names: str) -> list[int]:
        return _order(read(pattern, NUMBER, batch_size=2, augmentations=names))

    assert wanted("identity") == [0, 3]
    assert wanted("mirror") == [1, 2]
    assert wanted("mirror", "identity") == [0, 1, 2, 3]
    assert wanted("none") == []
    assert _order(read(pattern, NUMBER, batch_size=2)) == [0, 1, 2, 3, 4]


def test_augmentations_are_chosen_before_shuffling(store: Store) -> None:
    augmentations = ["identity", "mirror"] * 10
    pattern = store("train", _numbers(20), range(20), augmentations)
    data = read(pattern, NUMBER, batch_size=20, augmentations=["mirror"], shuffle_seed=1)
    assert sorted(_order(data)) == list(range(1, 20, 2))
    (labels,) = (labels for _, labels in data)
    assert labels.shape == (10,)


@pytest.mark.parametrize(
    "spec", [FeatureSpec((2,), "float32"), FeatureSpec((1,), "float16")], ids=["shape", "dtype"]
)
def test_a_spec_that_does_not_fit_the_record_is_an_error(spec: FeatureSpec, store: Store) -> None:
    pattern = store("train", _numbers(1), [0])
    with pytest.raises(tf.errors.InvalidArgumentError):
        list(read(pattern, {"number": spec}, batch_size=1))


def test_a_feature_that_was_not_written_is_an_error(store: Store) -> None:
    pattern = store("train", _numbers(1), [0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="features/last"):
        list(read(pattern, {"last": FeatureSpec((1,), "float32")}, batch_size=1))
