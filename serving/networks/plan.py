"""The plan of a version whose networks were converted: its parts, its rule, its engine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from models.engines import OPENVINO_BF16, OPENVINO_F32, EngineName
from models.rule import Rule, parse_rule, write_rule
from serving.networks.running import (
    CombinedNetwork,
    FindsTrunks,
    Head,
    Network,
    PartedNetwork,
)
from serving.servables.careful_engine import CarefulEngine

KEY: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PartName:
    """A part, by which it is found.

    Attributes:
        key: see `parts.Part`.
        outputs: their names.
    """

    key: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class NetworkPlan:
    """The parts of one network, as in `parts.Parted`."""

    trunks: tuple[PartName, ...]
    head: PartName | None

    @property
    def parts(self) -> tuple[PartName, ...]:
        """All of them."""
        return self.trunks if self.head is None else (*self.trunks, self.head)

    @property
    def key(self) -> str:
        """The key of what the whole of it computes."""
        return self.parts[-1].key


@dataclass(frozen=True)
class Plan:
    """A version on OpenVINO.

    Attributes:
        networks: one, or a combination's members.
        rule: by which their answers become one; None where there is one.
        engine: the fastest whose answers are close enough to TensorFlow's.
        difference: how far its log-odds are off on the probes (see `CarefulEngine`).
    """

    networks: tuple[NetworkPlan, ...]
    rule: Rule | None
    engine: EngineName
    difference: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "networks": [
                {
                    "trunks": [[part.key, list(part.outputs)] for part in network.trunks],
                    "head": network.head and [network.head.key, list(network.head.outputs)],
                }
                for network in self.networks
            ],
            "rule": self.rule and write_rule(self.rule),
            "engine": self.engine,
            "difference": self.difference,
        }


def plan_from_json(content: Mapping[str, Any]) -> Plan:
    """Read what `Plan.to_json` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        rule, engine = content["rule"], content["engine"]
        networks = tuple(
            NetworkPlan(
                tuple(_part_name(part) for part in network["trunks"]),
                network["head"] and _part_name(network["head"]),
            )
            for network in content["networks"]
        )
        plan = Plan(networks, rule and parse_rule(rule), engine, float(content["difference"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"is no plan: {error!r}") from error
    members = len(plan.rule.members) if plan.rule else 1
    if engine not in (OPENVINO_BF16, OPENVINO_F32) or len(networks) != members:
        raise ValueError(f"is no plan: {json.dumps(dict(content))[:200]}")
    return plan


def _part_name(value: Any) -> PartName:
    key, outputs = value
    # It becomes the name of a folder.
    if not KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no part's name")
    return PartName(key, tuple(map(str, outputs)))


def network_of(
    plan: Plan, engine: EngineName, read: Callable[[PartName], Any], trunks: FindsTrunks
) -> Network:
    """Put a version's network together, in one precision.

    Args:
        plan: of the version.
        engine: the precision.
        read: a part -> its `openvino.Model`.
        trunks: those in memory.
    """
    networks = [_parted(network, engine, read, trunks) for network in plan.networks]
    return networks[0] if plan.rule is None else CombinedNetwork(plan.rule, networks)


def engine_of(plan: Plan, read: Callable[[PartName], Any], trunks: FindsTrunks) -> Network:
    """Put together what a plan has found to be the fastest engine, and compile it.

    Args:
        plan: of the version.
        read: a part -> its `openvino.Model`.
        trunks: those in memory.
    """
    fast = network_of(plan, plan.engine, read, trunks)
    fast.compile()
    if plan.engine == OPENVINO_F32:
        return fast
    # Compiled once there is an image that bf16 is unsure of.
    exact = network_of(plan, OPENVINO_F32, read, trunks)
    return CarefulEngine(fast, exact, plan.difference)


def _parted(
    network: NetworkPlan, engine: EngineName, read: Callable[[PartName], Any], trunks: FindsTrunks
) -> PartedNetwork:
    loaded = [
        trunks.get(part.key, part.outputs, lambda part=part: read(part))  # type: ignore[misc]
        for part in network.trunks
    ]
    head = None if network.head is None else Head(read(network.head), network.head.outputs)
    return PartedNetwork(loaded, head, engine)
