"""The part of a model behind the cached features, saved by itself: what evaluation asks.

A network runs once an image, in Featurizer. What a model makes of the features (trained blocks,
heads, their calibration; of a combination all members' and its rule) is small, and lies beside
the SavedModel that is served. Both are written from the same weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
import tensorflow as tf

from models import feature_records
from models.boundary import FeatureSpec
from models.classifier import Classifier
from models.combination import answer_tensors
from models.input_gate import PixelGate, pixel_gate_from_json
from models.rule import Rule
from models.signatures import traced
from models.table_parts import names_of, of_every_class
from schema import contract

# Beside the SavedModel.
_MEMBERS_FILE: Final = "members.json"
_GATE_FILE: Final = "input_gate.json"
_PARTS_FILE: Final = "parts.json"
# Pooled vectors at once; where blocks follow, as many images as their activations bear.
_VECTORS: Final = 256
_MAPS: Final = 16


@dataclass(frozen=True)
class Member:
    """A backbone in front of which the model stands.

    Attributes:
        digest: of all that its features depend on, but boundary and taps (see
            `pipeline.dag.backbone`). Features of the same digest, by whomever they are
            computed, mean the same.
        features: name -> what is read.
    """

    digest: str
    features: Mapping[str, FeatureSpec]


class HeadsOfClassifier(tf.Module):
    """The answers of a classifier to features: of one network, or of several."""

    def __init__(
        self,
        classifier: Classifier,
        digests: Mapping[str, str],
        straight: Mapping[str, Mapping[str, FeatureSpec]] | None = None,
    ) -> None:
        """Take the trained parts behind the cut.

        Args:
            classifier: network and heads.
            digests: backbone -> see `Member`.
            straight: backbone -> what is read of its records besides its network's features, to
                go straight to the heads.
        """
        super().__init__(name="heads")
        networks = classifier.network.parts
        further = straight or {}
        self.members = {
            name: Member(
                digests[name],
                {
                    **(networks[name].features if name in networks else {}),
                    **further.get(name, {}),
                },
            )
            for name in dict.fromkeys((*networks, *further))
        }
        self._classifier = classifier
        gate = classifier.gate
        self.gate = None if gate is None else gate.pixels
        suffixes = [part.suffix for part in networks.values()]
        parts = (*suffixes, *(head.model for head in classifier.heads.values()))
        # Only of a model that takes columns of the table.
        self.parts = names_of(classifier.heads[contract.FLAT].model) if further else []
        self.weights = [variable.value for part in parts for variable in part.variables]
        if classifier.gate is not None:
            self.weights += classifier.gate.look.variables
        self.answers = traced(self._answers, _signature(self.members))

    def _answers(self, features: Mapping[str, Mapping[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
        """{backbone: {feature: [batch, ...]}} -> see `Classifier.of_taps`."""
        given = {
            backbone: {name: tf.cast(value, tf.float32) for name, value in values.items()}
            for backbone, values in features.items()
        }
        taps = self._classifier.network.taps(given)
        found = self._classifier.of_taps(taps)
        if not self.parts:
            return found
        head, n = self._classifier.heads[contract.FLAT], found[contract.FLAT].shape[-1]
        return found | {contract.PARTS: of_every_class(head.model, head.temperature, taps, n)}


class HeadsOfCombination(tf.Module):
    """The answers of a combination to its members' features."""

    def __init__(self, rule: Rule, directories: Mapping[str, str]) -> None:
        """Load what the members wrote.

        Args:
            rule: how their answers become one.
            directories: member -> folder that `write` wrote.
        """
        super().__init__(name="heads")
        self.members = {name: read_members(directories[name])[name] for name in rule.members}
        self._rule = rule
        self.parts: list[str] = []
        gates = [read_gate(directories[name]) for name in rule.members]
        # As in `models.combined_model.CombinedModel`.
        self.gate = gates[0] if all(gates) else None
        loaded = {name: tf.saved_model.load(directories[name]) for name in rule.members}
        self._functions = {name: member.answers for name, member in loaded.items()}
        self.weights = [member.weights for member in loaded.values()]
        self.answers = traced(self._answers, _signature(self.members))

    def _answers(self, features: Mapping[str, Mapping[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
        answers = [self._functions[name]({name: features[name]}) for name in self._rule.members]
        # All is computed already: a member "asked" about rows only picks them.
        rows = tf.range(tf.shape(answers[0][contract.FLAT])[0])
        members = [_picks(answer) for answer in answers]
        return answer_tensors(self._rule, members, rows)


class Heads(Protocol):
    """The tf.Module that `write` writes."""

    members: Mapping[str, Member]
    gate: PixelGate | None
    parts: Sequence[str]
    answers: Any


def write(heads: Heads, directory: str) -> None:
    """Write the SavedModel, and beside it what it stands on.

    Args:
        heads: of a backbone or a combination.
        directory: to make.
    """
    # Its one function is called by its name: TensorFlow would make it a signature, too.
    tf.saved_model.save(heads, directory, signatures={})
    content = {
        name: {
            "digest": member.digest,
            "features": {n: [list(s.shape), s.dtype] for n, s in member.features.items()},
        }
        for name, member in heads.members.items()
    }
    with tf.io.gfile.GFile(os.path.join(directory, _MEMBERS_FILE), "w") as file:
        json.dump(content, file, indent=1)
    if heads.gate is not None:
        with tf.io.gfile.GFile(os.path.join(directory, _GATE_FILE), "w") as file:
            file.write(heads.gate.to_json())
    if heads.parts:
        with tf.io.gfile.GFile(os.path.join(directory, _PARTS_FILE), "w") as file:
            json.dump(list(heads.parts), file)


def read_parts(directory: str) -> list[str]:
    """Read the names of the parts whose shares a model tells; none where it takes no table.

    Args:
        directory: that `write` wrote.
    """
    path = os.path.join(directory, _PARTS_FILE)
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        names: list[str] = json.load(file)
    return names


def read_gate(directory: str) -> PixelGate | None:
    """Read the half of the input gate that sees pixels; None where there is no gate.

    Args:
        directory: that `write` wrote.
    """
    path = os.path.join(directory, _GATE_FILE)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return pixel_gate_from_json(file.read())


def is_there(directory: str) -> bool:
    """Return whether `write` wrote into a folder, local or remote; it need not exist."""
    return bool(tf.io.gfile.exists(os.path.join(directory, _MEMBERS_FILE)))


def read_members(directory: str) -> dict[str, Member]:
    """Say what a model stands on.

    Args:
        directory: that `write` wrote.
    """
    with tf.io.gfile.GFile(os.path.join(directory, _MEMBERS_FILE)) as file:
        content = json.load(file)
    return {
        name: Member(
            member["digest"],
            {n: FeatureSpec(tuple(s), dtype) for n, (s, dtype) in member["features"].items()},
        )
        for name, member in content.items()
    }


def holds(patterns: Sequence[str], wanted: Mapping[str, FeatureSpec]) -> bool:
    """Return whether feature records hold all that a model reads.

    Args:
        patterns: of the records.
        wanted: features of a `Member`.

    Raises:
        FileNotFoundError: the patterns match nothing.
    """
    return feature_records.names(patterns) >= set(wanted)


def answer(directory: str, sources: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Asks a model about the images whose features are there.

    Args:
        directory: that `write` wrote.
        sources: member -> patterns of its feature records, of one split, in the same order of
            images for all; further members are passed over.

    Returns:
        SHA-256 of the image -> probabilities, float32 [n], of the head `contract.FLAT`.

    Raises:
        FileNotFoundError: patterns match nothing.
        ValueError: the members' records aren't of the same images.
    """
    found = answer_all(directory, sources)
    return {digest: answers[contract.FLAT] for digest, answers in found.items()}


def answer_all(
    directory: str, sources: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, np.ndarray]]:
    """Ask as `answer` does, and return all that the model knows; see `LoadedHeads.ask`."""
    return LoadedHeads(directory).ask(sources)


class LoadedHeads:
    """Heads that `write` wrote, loaded once, to be asked about several sets of records."""

    def __init__(self, directory: str) -> None:
        """Load it.

        Args:
            directory: that `write` wrote.
        """
        self._members = read_members(directory)
        self._heads = tf.saved_model.load(directory)
        self._directory = directory

    @cached_property
    def gate(self) -> PixelGate | None:
        """The model's gate, as `read_gate` reads it."""
        return read_gate(self._directory)

    def ask(self, sources: Mapping[str, Sequence[str]]) -> dict[str, dict[str, np.ndarray]]:
        """Ask about the images whose features are there, as `answer` does.

        Args:
            sources: see `answer`.

        Returns:
            SHA-256 of the image -> head, or `contract.DISTANCE`, -> float32 [n], or [1]; of a model
            that takes the table also `contract.PARTS` -> float32 [n, parts].
        """
        members = self._members.values()
        ranks = [len(spec.shape) for member in members for spec in member.features.values()]
        size = _VECTORS if max(ranks) == 1 else _MAPS
        streams = {
            name: feature_records.read_images(sources[name], member.features, batch_size=size)
            for name, member in self._members.items()
        }
        found: dict[str, dict[str, np.ndarray]] = {}
        for digests, features in _together(streams):
            told = self._heads.answers(features)
            answers = {name: values.numpy() for name, values in told.items()}
            for row, digest in enumerate(digests):
                found[digest] = {name: values[row] for name, values in answers.items()}
        return found


def _together(
    streams: Mapping[str, Any],
) -> Iterator[tuple[list[str], dict[str, Mapping[str, tf.Tensor]]]]:
    for batches in zip(*streams.values(), strict=True):
        digests = [[digest.decode() for digest in hashes.numpy()] for hashes, _ in batches]
        if any(other != digests[0] for other in digests):
            raise ValueError(f"the features of {', '.join(streams)} are of different images")
        yield digests[0], {n: f for n, (_, f) in zip(streams, batches, strict=True)}


def _signature(members: Mapping[str, Member]) -> dict[str, dict[str, tf.TensorSpec]]:
    return {
        name: {
            feature: tf.TensorSpec([None, *spec.shape], spec.dtype, f"{name}_{feature}")
            for feature, spec in member.features.items()
        }
        for name, member in members.items()
    }


def _picks(answers: Mapping[str, tf.Tensor]) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    return lambda rows: {head: tf.gather(values, rows) for head, values in answers.items()}
