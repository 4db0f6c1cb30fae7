"""A signature in a session answers as the whole SavedModel does, with what it needs alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from models import served_signature as module
from models.served_signature import served_signature

WORDS = ("cough", "fever", "pain")


class Counts(tf.Module):
    """A module with a variable, and a table that a file fills."""

    def __init__(self, vocabulary: Path) -> None:
        super().__init__()
        self.weights = tf.Variable([2.0, 3.0, 5.0, 7.0])
        self.file = tf.saved_model.Asset(str(vocabulary))
        filled = tf.lookup.TextFileInitializer(
            self.file,
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        self.table = tf.lookup.StaticVocabularyTable(filled, 1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def weigh(self, words: tf.Tensor) -> dict[str, tf.Tensor]:
        """Look words up, and their weights."""
        return {"weights": self._weights_of(self.table.lookup(words))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def double(self, values: tf.Tensor) -> dict[str, tf.Tensor]:
        """Do what needs neither table nor variable."""
        return {"doubled": self._doubled(values)}

    @tf.function
    def _weights_of(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.weights, rows)

    @tf.function
    def _doubled(self, values: tf.Tensor) -> tf.Tensor:
        return values + values


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Such a SavedModel, whose vocabulary is no longer where it was made from."""
    root = tmp_path_factory.mktemp("saved")
    vocabulary = root / "words.txt"
    vocabulary.write_text("\n".join(WORDS))
    counts = Counts(vocabulary)
    signatures = {"weigh": counts.weigh, "double": counts.double}
    tf.saved_model.save(counts, str(root / "model"), signatures=signatures)
    vocabulary.unlink()
    return str(root / "model")


def test_tables_and_variables_are_filled(saved: str) -> None:
    with served_signature(saved, "weigh") as ask:
        found = ask({"words": np.array([b"pain", b"cough", b"rash"], object)})
    np.testing.assert_array_equal(found["weights"], [5.0, 2.0, 7.0])


def test_what_the_signature_does_not_lead_to_is_left_out(
    saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[graph_pb2.GraphDef] = []
    keep_below = module._keep_below

    def noted(graph: graph_pb2.GraphDef, names: Iterable[str]) -> None:
        keep_below(graph, names)
        kept.append(graph)

    monkeypatch.setattr(module, "_keep_below", noted)
    with served_signature(saved, "double") as ask:
        np.testing.assert_array_equal(ask({"values": [1.5]})["doubled"], [3.0])
    names = [function.signature.name for function in kept[0].library.function]
    assert any("doubled" in name for name in names)
    assert not any("weights_of" in name or "weigh_" in name for name in names)


def test_a_signature_that_is_not_there_is_named(saved: str) -> None:
    with (
        pytest.raises(KeyError, match="has no signature explain"),
        served_signature(saved, "explain"),
    ):
        pass
