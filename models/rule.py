"""The rule by which several models' answers become one, and how it is kept in a SavedModel."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import tensorflow as tf

from schema import contract

Kind = Literal["ensemble", "cascade"]
_KINDS: Final = {contract.ENSEMBLE, contract.CASCADE}


@dataclass(frozen=True)
class Rule:
    """The rule by which the members' answers become one.

    Attributes:
        kind: `ensemble`: the members' flat probabilities, pooled. `cascade`: the first
            member's hierarchical probabilities where the highest is at least `threshold`,
            elsewhere all members' hierarchical ones, pooled; flat ones where no class is
            healthy.
        members: their names, in the order in which they are asked.
        threshold: of the cascade; not used by the ensemble.
        temperature: of the result (see `models.calibration`). What is pooled of calibrated
            probabilities is not calibrated: where members differ, it is less sure than it
            is right.
    """

    kind: Kind
    members: tuple[str, ...]
    threshold: float
    temperature: float


def write_rule(rule: Rule) -> str:
    """Write a rule as JSON."""
    return json.dumps(asdict(rule))


def rule_variable(rule: Rule) -> tf.Variable:
    """Make the variable that holds a rule in a SavedModel."""
    return tf.Variable(write_rule(rule), trainable=False, name="rule")


def parse_rule(text: str) -> Rule:
    """Read what `write_rule` wrote.

    Raises:
        ValueError: it is no rule.
    """
    try:
        fields = json.loads(text)
        rule = Rule(
            fields["kind"],
            tuple(map(str, fields["members"])),
            float(fields["threshold"]),
            float(fields["temperature"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{text[:200]!r} is no rule: {error!r}") from error
    if rule.kind not in _KINDS or len(rule.members) < 2 or rule.temperature <= 0:
        raise ValueError(f"{text[:200]!r} is no rule")
    return rule


def rule_of(loaded: Any) -> Rule | None:
    """Read the rule of a loaded SavedModel.

    Returns:
        None where it is no combination, or was exported before rules were kept.
    """
    if not hasattr(loaded, "written_rule"):
        return None
    return parse_rule(loaded.written_rule.numpy().decode())
