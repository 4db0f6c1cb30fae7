"""Int8 beside what would serve otherwise, on the validation images: how far off, how fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.engines import OPENVINO_F32, Features
from schema import contract
from serving.networks.int8_choice import Figures
from serving.networks.plan import network_of
from serving.networks.running import Network, Trunks
from serving.networks.versions import RunningVersion
from serving.servables.careful_engine import ALLOWED, CarefulEngine, largest_logit_difference

# Below, int8 isn't worth a third set of networks in memory.
LEAST_GAIN: Final = 1.15
# Images in a request to the networks; more in flight are no faster.
_BATCH: Final = 16
_TIMED_IMAGES: Final = 48
# Each engine runs the timed images so often, in turns: others may be busy on the machine.
_ROUNDS: Final = 3
_SEED: Final = 0


@dataclass(frozen=True)
class Judgement:
    """The outcome of a comparison.

    Attributes:
        chosen: whether int8 keeps all answers, and is faster.
        reason: a sentence.
        difference: see `Int8Choice`.
        figures: of the comparison.
    """

    chosen: bool
    reason: str
    difference: float
    figures: Figures


def judge(
    version: RunningVersion,
    fast: Network,
    images: np.ndarray,
    trunks: Trunks,
    *,
    difference: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Judgement:
    """Compare int8 with float32's answers and with the speed of what would serve otherwise.

    Args:
        version: as it would be served otherwise.
        fast: its network in int8.
        images: of the validation split, uint8 [n, 256, 256, 1].
        trunks: those in memory.
        difference: of the log-odds; the largest of these images where None.
        clock: seconds.
    """
    exact = network_of(version.plan, OPENVINO_F32, version.read, trunks)
    expected, every = answers_of(exact, images), all_answers_of(fast, images)
    found = every[contract.FLAT]
    if difference is None:
        difference = largest_logit_difference(found, expected)
    careful = CarefulEngine(fast, version.engine, difference)
    unsure = careful.is_unsure(found, every.get(contract.DISTANCE))
    answers = found.copy()
    if unsure.any():
        answers[unsure] = answers_of(version.engine, images[unsure])
    timed = images[_timed(unsure)]
    seconds = best_seconds({"int8": careful, "otherwise": version.engine}, timed, clock)
    figures = Figures(
        images=len(images),
        classes_changed=int((answers.argmax(-1) != expected.argmax(-1)).sum()),
        largest_move=float(np.abs(answers - expected).max()),
        classes_changed_alone=int((found.argmax(-1) != expected.argmax(-1)).sum()),
        largest_move_alone=float(np.abs(found - expected).max()),
        asked_again=float(unsure.mean()),
        timed_images=len(timed),
        images_per_second=len(timed) / seconds["int8"],
        images_per_second_otherwise=len(timed) / seconds["otherwise"],
    )
    return Judgement(*verdict(figures), difference, figures)


def verdict(figures: Figures) -> tuple[bool, str]:
    """Say whether int8 is chosen, and why; what isn't a number is no reason to choose it."""
    if figures.classes_changed:
        return False, f"the class of {figures.classes_changed} validation images changes"
    if not figures.largest_move <= ALLOWED:
        return False, f"a probability moves by {figures.largest_move:.3f} (allowed {ALLOWED})"
    gain = f"{figures.gain:.2f} times as fast, with {figures.asked_again:.0%} asked again"
    if not figures.gain >= LEAST_GAIN:
        return False, f"it is {gain}, and {LEAST_GAIN} is asked for"
    return True, f"no class changes, and it is {gain}"


def _timed(unsure: np.ndarray) -> np.ndarray:
    """Choose the images whose time is taken, with as large a share of unsure ones as there are."""
    rng = np.random.default_rng(_SEED)
    kinds = [rng.permutation(np.flatnonzero(kind)) for kind in (unsure, ~unsure)]
    wanted = min(_TIMED_IMAGES, len(unsure))
    first = round(wanted * len(kinds[0]) / len(unsure))
    chosen: np.ndarray = np.concatenate([kinds[0][:first], kinds[1][: wanted - first]])
    return np.sort(chosen)


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images), _BATCH):
        yield images[start : start + _BATCH]


def answers_of(engine: Network, images: np.ndarray) -> np.ndarray:
    """Run a split's images, a few at a time.

    Args:
        engine: what runs.
        images: uint8 [n, 256, 256, 1].

    Returns:
        Probabilities [n, classes].
    """
    return all_answers_of(engine, images)[contract.FLAT]


def all_answers_of(engine: Network, images: np.ndarray) -> Features:
    """Run a split's images as `answers_of` does, and return all that the network says."""
    parts = [engine(batch) for batch in _batches(images)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def best_seconds(
    engines: Mapping[str, Network],
    images: np.ndarray,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Take each engine's best time for all images; by the second round all are compiled.

    Args:
        engines: name -> what runs.
        images: uint8 [n, 256, 256, 1].
        clock: seconds.
    """
    best = dict.fromkeys(engines, float("inf"))
    for _ in range(_ROUNDS):
        for name, engine in engines.items():
            started = clock()
            answers_of(engine, images)
            best[name] = min(best[name], clock() - started)
    return best
