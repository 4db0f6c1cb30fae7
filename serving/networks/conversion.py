"""A loaded SavedModel of this project -> its networks in parts, and the plan by which they run."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from absl import logging

from models.combination import combine
from models.engines import OPENVINO_BF16, OPENVINO_F32, EngineName, Features
from models.openvino_runtime import convert, has_bf16
from models.rule import rule_of
from schema import contract
from serving.networks.parts import Part, Parted, take_apart
from serving.networks.plan import NetworkPlan, PartName, Plan, network_of
from serving.networks.probes import Answers, ProbedTrunks, log_odds_difference, probe_pixels
from serving.networks.running import Trunks
from serving.servables.careful_engine import ALLOWED, largest_logit_difference

# How far float32's log-odds may be from TensorFlow's, on average over the probes. A
# probability p moves by at most a quarter of what its log-odds move by (p (1 - p) <= 1/4), so
# this is 0.02. Not the probabilities themselves: where they are all but 0 or 1, nothing moves
# them.
TOLERANCE: Final = 4 * ALLOWED
# And bfloat16's at most, where float32 takes over what it is unsure of: beyond, that is nearly all.
_BF16_TOLERANCES: Final = 6
_NEEDED: Final = ("preprocess", "network", "answer")

Engine = Callable[[np.ndarray], dict[str, np.ndarray]]


class NotConvertibleError(Exception):
    """OpenVINO can't run this SavedModel, or not well enough."""


@dataclass(frozen=True)
class Converted:
    """A version's networks.

    Attributes:
        plan: how they run.
        models: part's key -> `openvino.Model`.
    """

    plan: Plan
    models: dict[str, Any]

    def read(self, part: PartName) -> Any:
        """Return a part's model."""
        return self.models[part.key]


def convert_version(
    loaded: Any, directory: Path, precision: str, trunks: Trunks, answers: Answers
) -> Converted:
    """Convert a version's networks, and compare a few answers with TensorFlow's.

    Args:
        loaded: the SavedModel.
        directory: its folder, for messages.
        precision: `bf16`, `f32`, or `auto`, which takes bf16 where the CPU has it and its
            answers are close enough.
        trunks: those in memory.
        answers: to the probes, found before; new ones are put in. Members and trunks that several
            models share are so asked once.

    Raises:
        NotConvertibleError: it is none of this project's, or OpenVINO can't take it.
    """
    check_parts(loaded, directory)
    try:
        rule = rule_of(loaded)
        sources = [loaded] if rule is None else list(loaded.members)
        parted = [_parted(source.network) for source in sources]
    # OpenVINO has no class of its own for what goes wrong.
    except Exception as error:
        raise NotConvertibleError(f"{directory}: {error}") from error
    models = {part.key: part.model for network in parted for part in _parts(network)}
    networks = tuple(map(_planned, parted))
    probed = ProbedTrunks(trunks, answers)

    def make(name: EngineName) -> Engine:
        # What is known of it is found out with it.
        unknown = Plan(networks, rule, name, 0.0)
        return network_of(unknown, name, lambda part: models[part.key], probed)

    for source, network in zip(sources, networks, strict=True):
        if network.key not in answers.tensorflow:
            answers.tensorflow[network.key] = _answers_of(source.network)
    given = [answers.tensorflow[network.key] for network in networks]
    expected = given[0][contract.FLAT] if rule is None else combine(rule, given)
    _, name, difference = choose_engine(expected, make, directory, precision)
    return Converted(Plan(networks, rule, name, difference), models)


def _parted(network: Any) -> Parted:
    # One of which nothing can be told is like no other, not even like itself some time ago.
    return take_apart(_converted(network), secrets.token_hex(32))


def _answers_of(network: Any) -> Features:
    answers = network(tf.cast(probe_pixels(), tf.float32))
    return {head: probabilities.numpy() for head, probabilities in answers.items()}


def _converted(network: Any) -> Any:
    model = convert(network.concrete_functions[0])
    model.reshape([1, contract.IMAGE_SIZE, contract.IMAGE_SIZE, 1])
    return model


def _parts(parted: Parted) -> list[Part]:
    return [*parted.trunks, *([] if parted.head is None else [parted.head])]


def _planned(parted: Parted) -> NetworkPlan:
    def named(part: Part) -> PartName:
        return PartName(part.key, part.outputs)

    return NetworkPlan(
        tuple(map(named, parted.trunks)), None if parted.head is None else named(parted.head)
    )


def check_parts(loaded: Any, directory: Path) -> None:
    """Check that a loaded SavedModel is one of this project's.

    Raises:
        NotConvertibleError: it isn't.
    """
    missing = [part for part in _NEEDED if not hasattr(loaded, part)]
    if missing or not signature_names() <= set(loaded.signatures):
        raise NotConvertibleError(f"{directory} is no model of this pipeline")


def convert_network(loaded: Any, directory: Path) -> Any:
    """Convert the network of one of this project's SavedModels for OpenVINO, in one piece.

    Args:
        loaded: the SavedModel.
        directory: its folder, for messages.

    Returns:
        An `openvino.Model`, `pixels` float32 [1, 256, 256, 1] -> each head's probabilities,
        float32 [1, n], under the head's name.

    Raises:
        NotConvertibleError: it is none of this project's, or OpenVINO can't take it.
    """
    check_parts(loaded, directory)
    try:
        return _converted(loaded.network)
    # OpenVINO has no class of its own for what goes wrong.
    except Exception as error:
        raise NotConvertibleError(f"{directory}: {error}") from error


def choose_engine(
    expected: np.ndarray, make: Callable[[EngineName], Engine], directory: Path, precision: str
) -> tuple[Engine, EngineName, float]:
    """Choose the fastest engine whose answers to a few images are close to TensorFlow's.

    Args:
        expected: TensorFlow's answers to the probes.
        make: makes an engine of the network.
        directory: its folder, for messages.
        precision: `bf16`, `f32`, or `auto` for bf16 where the CPU has it, else f32.

    Returns:
        The engine, its name, and how far its log-odds are off.

    Raises:
        NotConvertibleError: OpenVINO can't compile the network, or no answers are close enough.
    """
    pixels = probe_pixels()
    for name in _engines(precision):
        try:
            engine = make(name)
            found = engine(pixels)[contract.FLAT]
        except Exception as error:
            raise NotConvertibleError(f"{directory}: {error}") from error
        if name == OPENVINO_F32:
            difference, allowed = log_odds_difference(found, expected), TOLERANCE
        else:
            difference = largest_logit_difference(found, expected)
            allowed = _BF16_TOLERANCES * TOLERANCE
        if difference <= allowed:
            return engine, name, difference
        logging.warning("%s: %s is %.3f log-odds off TensorFlow", directory, name, difference)
    raise NotConvertibleError(f"{directory}: OpenVINO's answers are off TensorFlow's")


def expected_answers(loaded: Any) -> np.ndarray:
    """Compute TensorFlow's answers to the probes, for `choose_engine`.

    Args:
        loaded: the SavedModel.
    """
    return _answers_of(loaded.network)[contract.FLAT]


def signature_names() -> set[str]:
    """Name the signatures whose network OpenVINO runs."""
    return {contract.SIGNATURE_DEFAULT, contract.SIGNATURE_EXAMPLES}


def _engines(precision: str) -> list[EngineName]:
    if precision == "auto":
        return [OPENVINO_BF16, OPENVINO_F32] if has_bf16() else [OPENVINO_F32]
    return [OPENVINO_BF16 if precision == "bf16" else OPENVINO_F32]
