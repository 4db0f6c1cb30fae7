"""Functions loaded from a SavedModel do what they do in the whole of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from models.saved_functions import load_functions

_NUMBERS = tf.TensorSpec([None], tf.float32)
_WORDS = tf.TensorSpec([None], tf.string)


class _Module(tf.Module):
    """Functions with variables, a constant, a table from a file, and each other in them."""

    def __init__(self, words: Path) -> None:
        super().__init__()
        self.weight = tf.Variable(3.0)
        self.unused = tf.Variable([7.0, 8.0])
        # One that `outer` reads, and one that nothing but `other` does.
        self.weights = [self.weight, tf.Variable([9.0])]
        self._constant = tf.constant(range(1000), tf.float32)
        lines = tf.lookup.TextFileInitializer(
            str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
        )  # fmt: skip
        self.table = tf.lookup.StaticHashTable(lines, -1)

    @tf.function(input_signature=[_NUMBERS])
    def inner(self, x: tf.Tensor) -> tf.Tensor:
        return x * self.weight + self._constant[5]

    @tf.function(input_signature=[_NUMBERS])
    def outer(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"twice": tf.while_loop(lambda _: False, lambda y: [y], [self.inner(x)])[0] * 2}

    @tf.function(input_signature=[_WORDS])
    def place(self, words: tf.Tensor) -> tf.Tensor:
        return self.table.lookup(words)

    @tf.function(input_signature=[_NUMBERS])
    def other(self, x: tf.Tensor) -> tf.Tensor:
        return x * self.unused[0] * self.weights[1]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module's SavedModel; the file that it was made from is gone."""
    folder = tmp_path_factory.mktemp("saved")
    words = folder / "words.txt"
    words.write_text("lung\nheart\n")
    module = _Module(words)
    signatures = {"answer": module.outer, "place": module.place}
    tf.saved_model.save(module, str(folder / "model"), signatures=signatures)
    words.unlink()
    return folder / "model"


def _functions(loaded: Any) -> set[str]:
    names = ("inner", "outer", "place", "other")
    return {name for name in names if callable(getattr(loaded, name, None))}


def test_they_answer_as_in_the_whole_and_no_other_is_there(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    loaded = load_functions(str(directory), ("outer", "place"))
    assert _functions(loaded) == {"outer", "place"}
    assert not callable(loaded.signatures["answer"])
    assert loaded.outer(tf.constant([1.0, 2.0]))["twice"].numpy().tolist() == [16.0, 22.0]
    assert loaded.place(tf.constant(["heart", "rib"])).numpy().tolist() == [1, -1]
    assert loaded.unused.numpy().tolist() == [7.0, 8.0]
    assert loaded.weights[0].numpy() == 3.0
    assert not isinstance(loaded.weights[1], tf.Variable)
    assert not list(tmp_path.iterdir())
    assert before == {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


def test_a_signature_answers_as_in_the_whole_and_no_other_is_there(directory: Path) -> None:
    loaded = load_functions(str(directory), signatures=("answer",))
    assert _functions(loaded) == set()
    assert not callable(loaded.signatures["place"])
    signature = loaded.signatures["answer"]
    x = tf.constant([1.0, 2.5])
    whole = tf.saved_model.load(str(directory)).signatures["answer"]
    assert signature(x=x)["twice"].numpy().tolist() == whole(x=x)["twice"].numpy().tolist()
    assert signature.structured_input_signature == whole.structured_input_signature
    looked_up = load_functions(str(directory), signatures=("place",)).signatures["place"]
    (found,) = looked_up(words=tf.constant(["heart"])).values()
    assert found.numpy().tolist() == [1]


def test_from_elsewhere_the_whole_is_loaded(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, asked = tf.saved_model.load, []

    def remote(place: str) -> Any:
        asked.append(place)
        return load(str(directory))

    monkeypatch.setattr(tf.saved_model, "load", remote)
    loaded = load_functions("gs://bucket/model", ("outer",))
    assert asked == ["gs://bucket/model"]
    assert _functions(loaded) == {"inner", "outer", "place", "other"}


def test_functions_of_a_lists_objects_are_found_by_their_place(tmp_path: Path) -> None:
    class Member(tf.Module):
        def __init__(self, number: float) -> None:
            super().__init__()
            self.number = tf.Variable(number)

        @tf.function(input_signature=[_NUMBERS])
        def network(self, x: tf.Tensor) -> tf.Tensor:
            return x * self.number

        @tf.function(input_signature=[_NUMBERS])
        def other(self, x: tf.Tensor) -> tf.Tensor:
            return x

    combined = tf.Module()
    combined.members = [Member(2.0), Member(3.0)]
    tf.saved_model.save(combined, str(tmp_path / "model"))
    loaded = load_functions(str(tmp_path / "model"), ("members/*/network", "nothing/at/all"))
    answers = [member.network(tf.constant([5.0])).numpy().tolist() for member in loaded.members]
    assert answers == [[10.0], [15.0]]
    assert not any(callable(member.other) for member in loaded.members)
