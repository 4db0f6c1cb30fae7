"""The plan of a version whose networks were converted: its parts, its rule, its engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.combination import combine
from models.engines import OPENVINO_BF16, OPENVINO_F32, EngineName, Features
from models.rule import Rule, parse_rule, write_rule
from schema import contract
from serving.networks.folders import KEY
from serving.networks.running import (
    CombinedNetwork,
    FindsTrunks,
    Network,
    PartedNetwork,
)
from serving.servables.careful_engine import CarefulEngine


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

    @property
    def trunks(self) -> dict[str, PartName]:
        """The trunks of all networks, each once, by their keys."""
        return {part.key: part for network in self.networks for part in network.trunks}


@dataclass(frozen=True)
class KnownNetwork:
    """A network that was converted.

    Attributes:
        plan: its parts.
        answers: to the probes, of OpenVINO in float32; TensorFlow's agree (`conversion`).
    """

    plan: NetworkPlan
    answers: Features

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        head = self.plan.head
        return {
            "trunks": [[part.key, list(part.outputs)] for part in self.plan.trunks],
            "head": head and [head.key, list(head.outputs)],
            "answers": {name: found.tolist() for name, found in self.answers.items()},
        }


def network_from_json(content: Mapping[str, Any]) -> KnownNetwork:
    """Read what `KnownNetwork.to_json` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        plan = NetworkPlan(
            tuple(_part_name(part) for part in content["trunks"]),
            content["head"] and _part_name(content["head"]),
        )
        answers = {
            str(name): np.array(found, np.float32) for name, found in content["answers"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"is no network: {error!r}") from error
    if not plan.trunks or any(found.ndim != 2 for found in answers.values()):
        raise ValueError(f"is no network: {json.dumps(dict(content))[:200]}")
    return KnownNetwork(plan, answers)


@dataclass(frozen=True)
class ConvertedVersion:
    """A version's networks, whatever machine is to run them.

    Attributes:
        networks: one, or a combination's members.
        rule: by which their answers become one; None where there is one.
    """

    networks: tuple[KnownNetwork, ...]
    rule: Rule | None

    @property
    def expected(self) -> np.ndarray:
        """The answers to the probes, `contract.FLAT`."""
        given = [network.answers for network in self.networks]
        return given[0][contract.FLAT] if self.rule is None else combine(self.rule, given)

    @property
    def trunks(self) -> list[PartName]:
        """The trunks of all networks, in order; one that several stand on comes several times."""
        return [trunk for network in self.networks for trunk in network.plan.trunks]

    def plan(self, choice: Choice) -> Plan:
        """Say how they run on a machine."""
        networks = tuple(network.plan for network in self.networks)
        return Plan(networks, self.rule, choice.engine, choice.difference)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        networks = [network.to_json() for network in self.networks]
        return {"networks": networks, "rule": self.rule and write_rule(self.rule)}


def version_from_json(content: Mapping[str, Any]) -> ConvertedVersion:
    """Read what `ConvertedVersion.to_json` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        rule = content["rule"] and parse_rule(content["rule"])
        version = ConvertedVersion(tuple(map(network_from_json, content["networks"])), rule)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"is no version: {error!r}") from error
    if len(version.networks) != (len(rule.members) if rule else 1):
        raise ValueError(f"is no version: {json.dumps(dict(content))[:200]}")
    return version


@dataclass(frozen=True)
class Choice:
    """The engine of a version on a machine.

    Attributes:
        engine: the fastest whose answers are close enough to TensorFlow's.
        difference: how far its log-odds are off on the probes (see `CarefulEngine`).
    """

    engine: EngineName
    difference: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"engine": self.engine, "difference": self.difference}


def choice_from_json(content: Mapping[str, Any]) -> Choice:
    """Read what `Choice.to_json` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        choice = Choice(content["engine"], float(content["difference"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"is no choice: {error!r}") from error
    if choice.engine not in (OPENVINO_BF16, OPENVINO_F32):
        raise ValueError(f"is no choice: {choice.engine!r}")
    return choice


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
        trunks: those in memory, and heads.
    """
    networks = [_parted(network, engine, read, trunks) for network in plan.networks]
    return networks[0] if plan.rule is None else CombinedNetwork(plan.rule, networks)


def engine_of(plan: Plan, read: Callable[[PartName], Any], trunks: FindsTrunks) -> Network:
    """Put together what a plan has found to be the fastest engine, and compile it.

    Args:
        plan: of the version.
        read: a part -> its `openvino.Model`.
        trunks: those in memory, and heads.
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
    named = network.head
    head = None if named is None else trunks.head(named.key, named.outputs, lambda: read(named))
    return PartedNetwork(loaded, head, engine)
