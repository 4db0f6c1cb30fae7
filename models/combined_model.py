"""A combination as one SavedModel: a rule, and the models of the backbones behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import tensorflow as tf

from models.chunks import in_chunks
from models.combination import answer_tensors, combine_whole_batches, explain_tensors
from models.explanation import MAP_SHAPE
from models.frozen_function import read_gate
from models.lending import WEIGHTS, Lender
from models.preprocessing import decode_transformed
from models.rule import Rule, rule_variable
from models.signatures import ImageModel, Transform

# What of a member's SavedModel takes part.
_PARTS: Final = ("classify", "network", "evidence")


class _SavedMember(tf.Module):
    """The part of a saved model that takes part: not its own transform graph and signatures."""

    def __init__(self, lender: Lender) -> None:
        super().__init__()
        self.lender = lender
        self.stand_in = lender.stand_in
        self.weights: list[tf.Variable] = []
        self.classify, self.network, self._evidence = map(lender.borrow, _PARTS)

    def __call__(self, pngs: tf.Tensor) -> Mapping[str, tf.Tensor]:
        answers: Mapping[str, tf.Tensor] = self.classify(pngs)
        return answers

    def evidence(self, pngs: tf.Tensor, classes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Say what speaks for classes (see `models.classifier.BackboneModel`), in chunks."""
        names = list(self.lender.functions["evidence"].results)

        def explain(rows: slice) -> list[tf.Tensor]:
            pixels = tf.cast(decode_transformed(pngs[rows]), tf.float32)
            chosen = classes[rows]
            parts = self._evidence(pixels, tf.range(tf.size(chosen)), chosen)
            return [parts[name] for name in names]

        chunks = in_chunks(explain, tf.shape(pngs)[0], [MAP_SHAPE] * len(names))
        return dict(zip(names, chunks, strict=True))


class CombinedModel(ImageModel):
    """Saved models behind one transform graph, ready to be exported as one SavedModel.

    Until then it can't be called: it has stand-ins for its members (`models.lending`).
    """

    def __init__(
        self,
        transform: Transform,
        rule: Rule,
        directories: Mapping[str, str],
        classes: Sequence[str],
        abstain_below: float,
    ) -> None:
        """Load the members.

        Args:
            transform: what `load_transform` returned.
            rule: how their answers become one.
            directories: member -> folder of its SavedModel, a `BackboneModel`'s; not needed
                any more once this model is saved.
            classes: names in the order of the probabilities.
            abstain_below: see `ServedModel`.
        """
        gates = [read_gate(directories[name]) for name in rule.members]
        # Members that share images have the same; one that has none can't say how far an image is.
        gate = gates[0] if all(gates) else None
        super().__init__(transform, classes, abstain_below, gate=gate)
        self.rule = rule
        # So that a server can run the members by themselves, and once for all that have them.
        self.written_rule = rule_variable(rule)
        self.members = [
            _SavedMember(Lender.of_saved_model(name, directories[name], _PARTS))
            for name in rule.members
        ]

    @property
    def lenders(self) -> dict[str, Lender]:
        """The members: each one's variables go where it has none."""
        return {
            f"members/{number}/{WEIGHTS}": member.lender
            for number, member in enumerate(self.members)
        }

    def _classify(self, pngs: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer_tensors(self.rule, self.members, pngs)

    def _explained(self, pngs: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        return explain_tensors(self.rule, self.members, pngs)

    def _network(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        networks = [member.network for member in self.members]
        return combine_whole_batches(self.rule, networks, pixels)
