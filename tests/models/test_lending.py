"""Functions that a model borrows are, once they are linked, the functions of their lenders."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.lending import Lender, weight_keys
from models.linking import link
from models.served_signature import served_signature
from models.signatures import traced

ROW = tf.TensorSpec([None, 3], tf.float32, name="rows")
# TensorFlow puts smaller constants into the graph, and hands larger ones over like variables.
LARGE = 200
LENDERS = {"parts/0/weights": "one", "parts/1/weights": "two"}


class _Network(tf.Module):
    """A function that calls another in a loop; it reads variables, and a constant by capture."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        kernels = rng.normal(size=(3, 3, 3)).astype(np.float32)
        # The first is read last, and the last never.
        self.weights = [tf.Variable(kernel) for kernel in kernels]
        self._shift = tf.constant(rng.normal(size=LARGE).astype(np.float32))
        self.step = traced(self._step, ROW)
        self.answer = traced(self._answer, ROW)
        self.other = traced(self._other, ROW)

    def _step(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.tanh(rows @ self.weights[1])

    def _answer(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        _, rows = tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, self.step(x)), (0, rows))
        return {"sum": rows @ self.weights[0] + tf.reduce_sum(self._shift), "rows": rows}

    def _other(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": rows @ self.weights[0]}


class _Part(tf.Module):
    """What a model has of a lender."""

    def __init__(self, lender: Lender) -> None:
        super().__init__()
        self.stand_in = lender.stand_in
        self.weights: list[Any] = []
        self.call = lender.borrow("answer")


class _Model(tf.Module):
    """Asks its lenders in all ways in which the linker has to hand their variables on."""

    def __init__(self, lenders: Sequence[Lender]) -> None:
        super().__init__()
        self.parts = [_Part(lender) for lender in lenders]
        self.factor = tf.Variable(2.0)
        self.together = traced(self._together, ROW)

    def _together(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        one, two = (part.call for part in self.parts)

        def step(index: tf.Tensor, x: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return index + 1, one(x)["rows"], count + 1.0

        # What a loop returns lies behind, and before, what it hands round.
        index, looped, count = tf.while_loop(lambda i, *_: i < 2, step, (0, rows, self.factor))
        chosen = tf.cond(index > 1, lambda: two(looped)["sum"], lambda: one(looped)["sum"])
        return {
            "sum": chosen * self.factor + one(rows)["sum"],
            "count": count + tf.cast(index, tf.float32),
        }


def _expected(networks: Sequence[Any], rows: tf.Tensor) -> dict[str, tf.Tensor]:
    one, two = (network.answer for network in networks)
    looped = one(one(rows)["rows"])["rows"]
    return {"sum": two(looped)["sum"] * 2.0 + one(rows)["sum"], "count": tf.constant(6.0)}


@pytest.fixture(scope="module")
def rows() -> tf.Tensor:
    return tf.constant(np.random.default_rng(9).normal(size=(5, 3)), tf.float32)


@pytest.fixture(scope="module")
def networks() -> list[_Network]:
    return [_Network(seed) for seed in range(2)]


@pytest.fixture(scope="module")
def saved(networks: Sequence[_Network], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The networks as SavedModels. Their functions have the same names but for a number."""
    folder = tmp_path_factory.mktemp("saved")
    for number, network in enumerate(networks):
        tf.saved_model.save(network, str(folder / str(number)))
    return [folder / str(number) for number in range(len(networks))]


def _linked(folder: Path, lenders: Sequence[Lender]) -> Path:
    model = _Model(lenders)
    signature = model.together.get_concrete_function()
    tf.saved_model.save(model, str(folder), signatures={"together": signature})
    link(str(folder), dict(zip(LENDERS, lenders, strict=True)))
    return folder


@pytest.fixture(scope="module")
def linked(saved: Sequence[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of both, whose lenders are gone."""
    folder = tmp_path_factory.mktemp("linked")
    copies = [shutil.copytree(path, folder / path.name) for path in saved]
    names = LENDERS.values()
    lenders = [
        Lender.of_saved_model(n, str(p), ["answer"]) for n, p in zip(names, copies, strict=True)
    ]
    found = _linked(folder / "model", lenders)
    for path in copies:
        shutil.rmtree(path)
    return found


def _assert_equal(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_linked_model_answers_as_its_lenders_do_to_the_last_bit(
    linked: Path, networks: Sequence[_Network], rows: tf.Tensor
) -> None:
    loaded = tf.saved_model.load(str(linked))
    expected = _expected(networks, rows)
    assert np.abs(expected["sum"] - _expected(networks[::-1], rows)["sum"]).max() > 1e-3
    _assert_equal(loaded.together(rows), expected)
    _assert_equal(loaded.signatures["together"](rows=rows), expected)
    shape = loaded.together.concrete_functions[0].output_shapes["sum"]
    assert shape.as_list() == [None, 3]


def test_a_server_that_reads_the_graph_alone_gets_the_same(
    linked: Path, networks: Sequence[_Network], rows: tf.Tensor
) -> None:
    """TensorFlow Serving runs the file's restoring operation and feeds a signature."""
    with served_signature(str(linked), "together") as ask:
        found = ask({"rows": rows.numpy()})
    _assert_equal(found, _expected(networks, rows))


def test_it_has_its_lenders_variables_in_their_order(
    linked: Path, networks: Sequence[_Network]
) -> None:
    loaded = tf.saved_model.load(str(linked))
    for part, network in zip(loaded.parts, networks, strict=True):
        for mine, theirs in zip(part.weights, network.weights, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert loaded.factor.numpy() == 2.0


def test_a_network_in_memory_lends_as_well(
    networks: Sequence[_Network], rows: tf.Tensor, tmp_path: Path
) -> None:
    lenders = [
        Lender.of_network(name, {"answer": network.answer}, network.weights)
        for name, network in zip(LENDERS.values(), networks, strict=True)
    ]
    loaded = tf.saved_model.load(str(_linked(tmp_path / "model", lenders)))
    _assert_equal(loaded.together(rows), _expected(networks, rows))


def test_a_linked_model_can_lend(rows: tf.Tensor, saved: Sequence[Path], tmp_path: Path) -> None:
    """As a backbone's model does, whose network was linked into it."""

    class Middle(tf.Module):
        def __init__(self, lender: Lender) -> None:
            super().__init__()
            self.stand_in = lender.stand_in
            self.weights = [tf.Variable(3.0)]
            self.inner = lender.borrow("answer")
            self.answer = traced(self._answer, ROW)

        def _answer(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
            return {n: v * self.weights[0] for n, v in self.inner(rows).items()}

    folders, middles = [], []
    for number, path in enumerate(saved):
        lender = Lender.of_saved_model("network", str(path), ["answer"])
        folder = tmp_path / str(number)
        tf.saved_model.save(Middle(lender), str(folder))
        link(str(folder), {"weights": lender})
        folders.append(folder)
        middles.append(tf.saved_model.load(str(folder)))
        assert middles[-1].weights[3].numpy() == 3.0
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        values = [reader.get_tensor(key) for key in weight_keys(reader)]
        _assert_equal(
            *({str(n): v for n, v in enumerate(x)} for x in (values, middles[-1].weights))
        )
    lenders = [
        Lender.of_saved_model(name, str(folder), ["answer"])
        for name, folder in zip(LENDERS.values(), folders, strict=True)
    ]
    loaded = tf.saved_model.load(str(_linked(tmp_path / "model", lenders)))
    _assert_equal(loaded.together(rows), _expected(middles, rows))


def test_several_functions_of_one_lender(
    networks: Sequence[_Network], rows: tf.Tensor, saved: Sequence[Path], tmp_path: Path
) -> None:
    lender = Lender.of_saved_model("one", str(saved[0]), ["answer", "other"])
    model = _Part(lender)
    model.other = lender.borrow("other")
    model.both = traced(lambda x: model.call(x)["sum"] + model.other(x)["sum"], ROW)
    tf.saved_model.save(model, str(tmp_path / "model"))
    link(str(tmp_path / "model"), {"weights": lender})
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    network = networks[0]
    expected = network.answer(rows)["sum"] + network.other(rows)["sum"]
    np.testing.assert_array_equal(loaded.both(rows), expected)


def test_a_stand_in_does_not_answer(saved: Sequence[Path], rows: tf.Tensor) -> None:
    part = _Part(Lender.of_saved_model("one", str(saved[0]), ["answer"]))
    with pytest.raises(tf.errors.InvalidArgumentError):
        part.call(rows)


def test_a_function_that_is_not_there_is_told(saved: Sequence[Path]) -> None:
    with pytest.raises(ValueError, match=r"can't lend: it has no function question$"):
        Lender.of_saved_model("one", str(saved[0]), ["question"])


def test_a_function_that_stands_on_more_is_told(tmp_path: Path) -> None:
    network = tf.Module()
    network.weights = [tf.Variable([2.0])]
    network.elsewhere = tf.Variable([3.0])
    network.answer = traced(
        lambda rows: {"sum": rows * network.weights[0] * network.elsewhere}, ROW
    )
    tf.saved_model.save(network, str(tmp_path))
    with pytest.raises(ValueError, match="answer stands on more than weights and constants"):
        Lender.of_saved_model("one", str(tmp_path), ["answer"])


def test_a_network_that_reads_more_than_is_given_is_told() -> None:
    network = _Network(0)
    with pytest.raises(ValueError, match="reads a variable that isn't given"):
        Lender.of_network("one", {"answer": network.answer}, network.weights[:1])


def test_a_place_that_is_not_there_is_told(saved: Sequence[Path], tmp_path: Path) -> None:
    lender = Lender.of_saved_model("one", str(saved[0]), ["answer"])
    tf.saved_model.save(_Part(lender), str(tmp_path))
    with pytest.raises(ValueError, match="has no list elsewhere/weights"):
        link(str(tmp_path), {"elsewhere/weights": lender})
