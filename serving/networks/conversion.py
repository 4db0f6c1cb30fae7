"""A SavedModel of this project -> its networks in parts, and the engine on which they run."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
from absl import logging

from models.engines import OPENVINO_BF16, OPENVINO_F32, EngineName, Features
from models.frozen_function import FrozenFunction, SavedFile
from models.openvino_runtime import convert, convert_graph, gains_by_bf16
from models.rule import Rule, rule_of
from schema import contract
from serving.networks.folders import DamagedError
from serving.networks.front import load_convertible, load_ends
from serving.networks.parts import Part, Parted, take_apart
from serving.networks.plan import (
    Choice,
    ConvertedVersion,
    KnownNetwork,
    NetworkPlan,
    PartName,
    Plan,
    network_of,
)
from serving.networks.probes import (
    CONFIRMED,
    Answers,
    ProbedTrunks,
    log_odds_difference,
    probe_pixels,
)
from serving.networks.running import FindsTrunks
from serving.servables.careful_engine import ALLOWED, largest_logit_difference

if TYPE_CHECKING:
    from serving.networks.store import Store

# How far float32's log-odds may be from TensorFlow's, on average over the probes. A
# probability p moves by at most a quarter of what its log-odds move by (p (1 - p) <= 1/4), so
# this is 0.02. Not the probabilities themselves: where they are all but 0 or 1, nothing moves
# them.
TOLERANCE: Final = 4 * ALLOWED
# And its distance from the training images (`models.input_gate`), of itself.
DISTANCE_TOLERANCE: Final = 0.01
# And bfloat16's at most, where float32 takes over what it is unsure of: beyond, that is nearly all.
_BF16_TOLERANCES: Final = 6
_NETWORK: Final = "network"
_NEEDED: Final = ("preprocess", _NETWORK, "answer")
_FOREIGN: Final = "is no model of this pipeline"
_OFF: Final = "OpenVINO's answers are off TensorFlow's"

Engine = Callable[[np.ndarray], dict[str, np.ndarray]]


class NotConvertibleError(Exception):
    """OpenVINO can't run this SavedModel, or not well enough."""


@dataclass(frozen=True)
class Converted:
    """A version's networks, for any machine.

    Attributes:
        version: what is told of them.
        sources: for each, what it was made from; None where that can't be told.
        models: part's key -> `openvino.Model`, but for the networks that were known.
        front: has the SavedModel's `preprocess` and `answer`.
    """

    version: ConvertedVersion
    sources: tuple[str | None, ...]
    models: dict[str, Any]
    front: Any

    def reader(self, kept: Store | None) -> Callable[[PartName], Any]:
        """Return what finds a part: here, or where the networks were known from."""

        def read(part: PartName) -> Any:
            if part.key in self.models or kept is None:
                return self.models[part.key]
            return kept.read(part)

        return read


@dataclass(frozen=True)
class _Source:
    """A network of a SavedModel.

    Attributes:
        key: of what it is made from; None where that can't be told.
        convert: makes the `openvino.Model`.
        ask: TensorFlow's answers.
    """

    key: str | None
    convert: Callable[[], Any]
    ask: Callable[[np.ndarray], Features]


def convert_version(
    directory: Path, trunks: FindsTrunks, answers: Answers, kept: Store | None
) -> Converted:
    """Convert a version's networks, and compare a few answers with TensorFlow's.

    Of the SavedModel the file is read. TensorFlow loads it whole only where that isn't enough.

    Args:
        directory: of the SavedModel.
        trunks: those in memory.
        answers: to the probes, found before; new ones are put in.
        kept: networks that were converted before, such as a combination's members: they are
            known by what they are made from, and need no conversion, nor TensorFlow.

    Raises:
        NotConvertibleError: it is none of this project's, can't be loaded, or OpenVINO can't take
            it.
    """
    try:
        rule, sources, front = _sources(directory)
        models: dict[str, Any] = {}
        networks = []
        for source in sources:
            known = kept.network(source.key) if kept and source.key else None
            networks.append(known or _network(source, models, trunks, answers, kept))
        version = ConvertedVersion(tuple(networks), rule)
        return Converted(version, tuple(source.key for source in sources), models, front)
    except NotConvertibleError as error:
        raise NotConvertibleError(f"{directory}: {error}") from error
    # Neither TensorFlow nor OpenVINO has a class of its own for what goes wrong.
    except Exception as error:
        raise NotConvertibleError(f"{directory}: {error}") from error


def _sources(directory: Path) -> tuple[Rule | None, list[_Source], Any]:
    """Find a SavedModel's networks, and its ends."""
    try:
        saved = SavedFile(str(directory))
        rule = saved.rule()
        frozen = [saved.freeze(path) for path in _paths(rule)]
    # A file of another kind, or a network that does more than is known of.
    except Exception as error:
        logging.info("%s is loaded whole, to be converted: %s", directory, error)
        loaded = load_convertible(directory)
        check_parts(loaded, directory)
        rule = rule_of(loaded)
        of = [loaded] if rule is None else list(loaded.members)
        return rule, [_loaded(each.network) for each in of], loaded
    if not all(map(saved.has, _NEEDED)) or not signature_names() <= saved.signatures:
        raise NotConvertibleError(_FOREIGN)
    return rule, [_frozen(each) for each in frozen], load_ends(directory)


def _paths(rule: Rule | None) -> list[str]:
    return (
        [_NETWORK]
        if rule is None
        else [f"members/{n}/{_NETWORK}" for n, _ in enumerate(rule.members)]
    )


def _frozen(network: FrozenFunction) -> _Source:
    def convert_it() -> Any:
        model = convert_graph(network.graph(with_weights=True))
        # OpenVINO names each by all that TensorFlow calls it.
        for port in model.outputs:
            named = {name.partition(":")[0] for name in port.get_names()}
            port.get_tensor().set_names(named & set(network.outputs))
        return _reshaped(model)

    return _Source(network.digest(), convert_it, network)


def _loaded(network: Any) -> _Source:
    return _Source(None, partial(_converted, network), partial(_answers_of, network))


def _network(
    source: _Source,
    models: dict[str, Any],
    trunks: FindsTrunks,
    answers: Answers,
    kept: Store | None,
) -> KnownNetwork:
    """Convert a network; put its parts into `models`."""
    # One of which nothing can be told is like no other, not even like itself some time ago.
    parted = take_apart(source.convert(), secrets.token_hex(32))
    models |= {part.key: part.model for part in _parts(parted)}
    plan = _planned(parted)
    if kept:
        for trunk in plan.trunks:
            answers.take(kept, trunk.key, trunk.outputs, OPENVINO_F32, anywhere=True)
    # What is known of the engine is found out with it.
    unknown = Plan((plan,), None, OPENVINO_F32, 0.0)
    probed = ProbedTrunks(trunks, answers)
    pixels = probe_pixels()
    found = network_of(unknown, OPENVINO_F32, lambda part: models[part.key], probed)(pixels)
    rows = list(CONFIRMED)
    expected = source.ask(pixels[rows])
    for name, answer in found.items():
        if name == contract.DISTANCE:
            off = float(np.abs(answer[rows] / expected[name] - 1).max())
            if not off <= DISTANCE_TOLERANCE:
                raise NotConvertibleError(f"{_OFF} ({name}: {off:.1%})")
            continue
        difference = log_odds_difference(answer[rows], expected[name])
        if not difference <= TOLERANCE:
            raise NotConvertibleError(f"{_OFF} ({name}: {difference:.3f} log-odds)")
    if kept:
        for trunk in plan.trunks:
            answers.keep(kept, trunk.key, trunk.outputs, OPENVINO_F32, anywhere=True)
    return KnownNetwork(plan, found)


def choose(
    version: ConvertedVersion,
    read: Callable[[PartName], Any],
    trunks: FindsTrunks,
    answers: Answers,
    directory: Path,
    precision: str,
) -> Choice:
    """Choose a version's engine on this machine, as `choose_engine` does.

    Args:
        version: that was converted, here or elsewhere.
        read: a part -> its `openvino.Model`.
        trunks: those in memory.
        answers: to the probes, found before; new ones are put in.
        directory: its folder, for messages.
        precision: as there.

    Raises:
        NotConvertibleError: as there.
    """
    probed = ProbedTrunks(trunks, answers)

    def make(name: EngineName) -> Engine:
        return network_of(version.plan(Choice(name, 0.0)), name, read, probed)

    _, name, difference = choose_engine(version.expected, make, directory, precision)
    return Choice(name, difference)


def _answers_of(network: Any, pixels: np.ndarray) -> Features:
    answers = network(tf.cast(pixels, tf.float32))
    return {head: probabilities.numpy() for head, probabilities in answers.items()}


def _converted(network: Any) -> Any:
    return _reshaped(convert(network.concrete_functions[0]))


def _reshaped(model: Any) -> Any:
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
        raise NotConvertibleError(f"{directory}: {_FOREIGN}")


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
        expected: TensorFlow's answers to the probes, or some that agree with them.
        make: makes an engine of the network.
        directory: its folder, for messages.
        precision: `bf16`, `f32`, or `auto` for bf16 where the CPU gains by it, else f32.

    Returns:
        The engine, its name, and how far its log-odds are off.

    Raises:
        NotConvertibleError: OpenVINO can't compile the network, or no answers are close enough.
    """
    for name in engines_for(precision):
        rows = list(CONFIRMED) if name == OPENVINO_F32 else slice(None)
        try:
            engine = make(name)
            found = engine(probe_pixels()[rows])[contract.FLAT]
        # Not OpenVINO's fault: it can be made again.
        except DamagedError:
            raise
        except Exception as error:
            raise NotConvertibleError(f"{directory}: {error}") from error
        if name == OPENVINO_F32:
            difference, allowed = log_odds_difference(found, expected[rows]), TOLERANCE
        else:
            difference = largest_logit_difference(found, expected[rows])
            allowed = _BF16_TOLERANCES * TOLERANCE
        if difference <= allowed:
            return engine, name, difference
        logging.warning("%s: %s is %.3f log-odds off TensorFlow", directory, name, difference)
    raise NotConvertibleError(f"{directory}: {_OFF}")


def check_answers(engine: Engine, loaded: Any, directory: Path) -> None:
    """Check that an engine in float32 answers as TensorFlow, on a few images.

    Args:
        engine: of the network.
        loaded: the SavedModel.
        directory: its folder, for messages.

    Raises:
        NotConvertibleError: it doesn't.
    """
    pixels = probe_pixels()[list(CONFIRMED)]
    expected = _answers_of(loaded.network, pixels)[contract.FLAT]
    difference = log_odds_difference(engine(pixels)[contract.FLAT], expected)
    if not difference <= TOLERANCE:
        raise NotConvertibleError(f"{directory}: {_OFF} ({difference:.3f} log-odds)")


def signature_names() -> set[str]:
    """Name the signatures whose network OpenVINO runs."""
    return {contract.SIGNATURE_DEFAULT, contract.SIGNATURE_EXAMPLES}


def engines_for(precision: str) -> list[EngineName]:
    """List the engines that are tried, the fastest first."""
    if precision == "auto":
        return [OPENVINO_BF16, OPENVINO_F32] if gains_by_bf16() else [OPENVINO_F32]
    return [OPENVINO_BF16 if precision == "bf16" else OPENVINO_F32]
