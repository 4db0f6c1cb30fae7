"""Functions that one SavedModel borrows from others are the functions that these have."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import function_pb2

from models.borrowed import Borrowed, give_bodies
from models.signatures import traced

ROW = tf.TensorSpec([None, 3], tf.float32)
# TensorFlow puts smaller constants into the graph, and hands larger ones over like variables.
LARGE = 200


class _Lender(tf.Module):
    """A function that calls another, with a loop, variables and a constant that it captures."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        self.weights = [tf.Variable(rng.normal(size=(3, 3)).astype(np.float32)) for _ in range(2)]
        self.unused = tf.Variable(1.0)
        self._shift = tf.constant(rng.normal(size=LARGE).astype(np.float32))
        self.step = traced(self._step, ROW)
        self.answer = traced(self._answer, ROW)

    def _step(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.tanh(rows @ self.weights[0])

    def _answer(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        _, rows = tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, self.step(x)), (0, rows))
        return {"sum": rows @ self.weights[1] + tf.reduce_sum(self._shift), "rows": rows}


class _Borrower(tf.Module):
    """Adds up what its lenders answer."""

    def __init__(self, lent: Sequence[Borrowed]) -> None:
        super().__init__()
        self.parts = [each.root.answer for each in lent]
        self.weights = [each.root.weights for each in lent]
        self.together = traced(self._together, ROW)

    def _together(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = [part(rows) for part in self.parts]
        return {name: tf.add_n([answer[name] for answer in answers]) for name in answers[0]}


@pytest.fixture(scope="module")
def lenders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two of the same code, so that their functions have the same names."""
    folders = [tmp_path_factory.mktemp("lender") for _ in range(2)]
    for seed, folder in enumerate(folders):
        tf.saved_model.save(_Lender(seed), str(folder))
    return folders


def _borrow(lenders: Sequence[Path], folder: Path) -> Path:
    """Save a borrower, and lose the lenders."""
    copies = [shutil.copytree(path, folder / f"lender-{n}") for n, path in enumerate(lenders)]
    lent = [Borrowed(str(p), ("answer", "weights"), p.name) for p in copies]
    model = folder / "model"
    tf.saved_model.save(_Borrower(lent), str(model))
    for path in copies:
        shutil.rmtree(path)
    give_bodies(str(model), lent)
    return model


@pytest.fixture(scope="module")
def rows() -> tf.Tensor:
    return tf.constant(np.random.default_rng(9).normal(size=(5, 3)), tf.float32)


def test_they_answer_as_they_did_to_the_last_bit(
    lenders: Sequence[Path], rows: tf.Tensor, tmp_path: Path
) -> None:
    loaded = tf.saved_model.load(str(_borrow(lenders, tmp_path)))
    found = loaded.together(rows)
    members = [tf.saved_model.load(str(path)) for path in lenders]
    answers = [member.answer(rows) for member in members]
    assert np.abs(answers[0]["sum"] - answers[1]["sum"]).min() > 1e-3
    for name in ("sum", "rows"):
        np.testing.assert_array_equal(found[name], answers[0][name] + answers[1][name])
    assert found["sum"].shape == (5, 3)
    assert loaded.together.concrete_functions[0].output_shapes["sum"].as_list() == [None, 3]


def test_what_borrowed_can_lend_again(
    lenders: Sequence[Path], rows: tf.Tensor, tmp_path: Path
) -> None:
    model = _borrow(lenders, tmp_path)
    loaded = tf.saved_model.load(str(model))
    expected = loaded.together(rows)
    lent = Borrowed(str(model), ("together", "weights"), "both")
    again = tf.Module()
    again.weights = lent.root.weights
    again.call = traced(lambda x: lent.root.together(x)["sum"] * 2.0, ROW)
    tf.saved_model.save(again, str(tmp_path / "again"))
    give_bodies(str(tmp_path / "again"), [lent])
    shutil.rmtree(model)
    found: Any = tf.saved_model.load(str(tmp_path / "again"))
    np.testing.assert_array_equal(found.call(rows), expected["sum"] * 2.0)


def test_only_what_is_asked_for_comes_with_them(lenders: Sequence[Path]) -> None:
    lent = Borrowed(str(lenders[0]), ("answer", "weights"), "one")
    assert len(lent.root.weights) == 2
    assert not hasattr(lent.root, "unused")
    assert not hasattr(lent.root, "step")
    for mine, saved in zip(lent.root.weights, _Lender(0).weights, strict=True):
        np.testing.assert_array_equal(mine, saved)


def test_without_its_body_a_function_does_not_answer(
    lenders: Sequence[Path], rows: tf.Tensor
) -> None:
    lent = Borrowed(str(lenders[0]), ("answer", "weights"), "one")
    with pytest.raises(tf.errors.InvalidArgumentError):
        lent.root.answer(rows)


def test_a_child_that_is_not_there_is_named(lenders: Sequence[Path]) -> None:
    with pytest.raises(ValueError, match=r"saved_model\.pb has no nothing, question$"):
        Borrowed(str(lenders[0]), ("question", "answer", "nothing"), "one")


def test_another_function_than_was_lent_is_told(
    lenders: Sequence[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lent = Borrowed(str(lenders[0]), ("answer", "weights"), "one")
    tf.saved_model.save(_Borrower([lent]), str(tmp_path / "model"))
    monkeypatch.setattr(lent, "body", lambda *_: [function_pb2.FunctionDef()])
    with pytest.raises(ValueError, match="takes or returns other than was lent"):
        give_bodies(str(tmp_path / "model"), [lent])
