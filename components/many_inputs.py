"""Nodes with inputs for each of several models: their keys, and the specs that have them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from tfx.types import channel, component_spec

Spec = TypeVar("Spec", bound=component_spec.ComponentSpec)


def input_key(kind: str, name: str) -> str:
    """Return the input key of one artifact of one model or backbone."""
    return f"{kind}_{name}"


def with_inputs(
    spec: type[Spec],
    inputs: Mapping[str, channel.BaseChannel],
    optional: Collection[str] = (),
) -> type[Spec]:
    """Build a spec that has these inputs, too: TFX wants the keys on the class.

    Args:
        spec: with parameters, outputs, and the inputs that every such node has.
        inputs: key -> channel.
        optional: keys of inputs in which nothing need be.
    """
    further = {
        key: component_spec.ChannelParameter(type=given.type, optional=key in optional)
        for key, given in inputs.items()
        if key not in spec.INPUTS
    }
    return type(f"{spec.__name__}WithInputs", (spec,), {"INPUTS": spec.INPUTS | further})
