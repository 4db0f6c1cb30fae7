"""Indivisible groups of images → splits, with exact counts wherever that is possible.

Pure. A group is a patient with several images; images that stand alone are not seen
here, they fill what is left. So a placement is exact if and only if no split receives
more images of a class from groups than the class wants there.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schema import contract

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

TRAIN, EVAL, TEST = (contract.SPLITS.index(name) for name in contract.SPLITS)
# Cells of boolean tables, about a byte each.
DEFAULT_BUDGET = 200_000_000
# Single images go where they are missing; train can best do without.
FILL_ORDER = (TEST, EVAL, TRAIN)
_ORDERS = tuple(itertools.permutations(range(len(contract.SPLITS))))
# A class that gets no image at all in a split is worse than any wrong count.
_EMPTY_PENALTY = 1_000_000


@dataclass(frozen=True)
class Group:
    """Images of one patient: the smallest rank among them, and how many a class."""

    rank: str
    counts: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of images."""
        return sum(self.counts)


@dataclass(frozen=True)
class Packing:
    """Group rank → index into `contract.SPLITS`; `note` says why counts may be missed."""

    placement: dict[str, int]
    note: str = ""


class _BudgetError(Exception):
    """The tables would be larger than the budget."""


def draw(below: int, *key: object) -> int:
    """Draw a number in [0, below) that depends on `key` alone (sha256, modulo bias < 2⁻²⁰⁰)."""
    text = ":".join(str(part) for part in key)
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % below


def pack(
    groups: Sequence[Group], targets: IntArray, seed: int, budget: int = DEFAULT_BUDGET
) -> Packing:
    """Place every group in one split.

    First greedily: larger groups first, each in a split drawn with probability
    proportional to the room left, among those where it fits in every class. If one
    fits nowhere, exact dynamic programming over the numbers of images that the groups
    can put into test and eval (subset sums, after Bellman 1957); if that proves that
    there is no exact placement, the nearest is taken. Where the tables would be too
    large, only a part of the groups is moved, and if that does not help the note says so.

    Args:
        groups: with distinct ranks.
        targets: int [classes, 3], wanted images a class and split, `contract.SPLITS` order.
        seed: changes the draws.
        budget: cells that the tables may have, all together.
    """
    ordered = sorted(groups, key=lambda group: (-group.size, group.rank))
    placed, stuck = _greedy(ordered, targets, seed)
    if not stuck:
        return Packing(dict(placed))
    try:
        return _exact_or_nearest(ordered, targets, seed, budget)
    except _BudgetError:
        pass
    mended = _mend(placed, stuck, ordered, targets, seed, budget)
    if mended is not None:
        return Packing(mended)
    return Packing(
        _overflow(placed, stuck, targets),
        "the search for an exact split stopped at its budget, so this one may not be the nearest",
    )


def _mend(
    placed: Sequence[tuple[str, int]],
    stuck: Sequence[Group],
    ordered: Sequence[Group],
    targets: IntArray,
    seed: int,
    budget: int,
) -> dict[str, int] | None:
    """Search a part of the groups exactly; the others keep the place greed gave them."""
    by_rank = {group.rank: group for group in ordered}
    step = 2
    while step <= len(placed):
        # Every step-th group by size: small groups alone may all be of one size, and
        # then cannot mend a count that differs from theirs in parity.
        released = {rank for rank, _ in placed[step - 1 :: step]}
        fixed = {rank: split for rank, split in placed if rank not in released}
        room = targets - _used([by_rank[rank] for rank in fixed], fixed, targets.shape)
        free = [by_rank[rank] for rank, _ in placed if rank in released]
        try:
            found = _Search([*free, *stuck], room, seed, budget, wide=False).best()
        except _BudgetError:
            found = None
        if found is not None and found.cost == 0:
            return {**fixed, **found.placement}
        step *= 2
    return None


def _exact_or_nearest(
    groups: Sequence[Group], targets: IntArray, seed: int, budget: int
) -> Packing:
    found = _Search(groups, targets, seed, budget, wide=False).best()
    if found is not None and found.cost == 0:
        return Packing(found.placement)
    note = "no split that keeps every patient's images together has the exact counts"
    try:
        nearest = _Search(groups, targets, seed, budget, wide=True).best()
    except _BudgetError:
        placed, stuck = _greedy(groups, targets, seed)
        note += "; the search for the nearest one stopped at its budget"
        return Packing(_overflow(placed, stuck, targets), note)
    assert nearest is not None  # wide tables hold every placement
    return Packing(nearest.placement, note)


def _greedy(
    ordered: Sequence[Group], targets: IntArray, seed: int
) -> tuple[list[tuple[str, int]], list[Group]]:
    room = targets.copy()
    placed: list[tuple[str, int]] = []
    stuck: list[Group] = []
    for group in ordered:
        counts = np.array(group.counts)
        fits = [s for s in range(len(contract.SPLITS)) if (counts <= room[:, s]).all()]
        if not fits:
            stuck.append(group)
            continue
        weights = [int(room[counts > 0, s].sum()) for s in fits]
        mark = draw(sum(weights), seed, "place", group.rank)
        choice = next(
            s for s, end in zip(fits, itertools.accumulate(weights), strict=True) if mark < end
        )
        room[:, choice] -= counts
        placed.append((group.rank, choice))
    return placed, stuck


def _overflow(
    placed: Sequence[tuple[str, int]], stuck: Sequence[Group], targets: IntArray
) -> dict[str, int]:
    # Too many images do the least harm in train.
    return {**dict(placed), **{group.rank: TRAIN for group in stuck}}


def _used(groups: Sequence[Group], placement: dict[str, int], shape: tuple[int, ...]) -> IntArray:
    used = np.zeros(shape, np.int64)
    for group in groups:
        used[:, placement[group.rank]] += group.counts
    return used


@dataclass(frozen=True)
class _Found:
    placement: dict[str, int]
    cost: int


class _Search:
    """Dynamic programming over the groups.

    Groups inside one class touch that class only: one table a class, [test, eval] →
    reachable. Groups that span classes are few; their sums are enumerated, and each
    sum is combined with every class's table on its own.
    """

    def __init__(
        self, groups: Sequence[Group], room: IntArray, seed: int, budget: int, wide: bool
    ) -> None:
        self._room = room
        self._seed = seed
        self._budget = budget
        self._spanning = [group for group in groups if np.count_nonzero(group.counts) > 1]
        inside = [group for group in groups if np.count_nonzero(group.counts) == 1]
        n_classes = room.shape[0]
        self._inside = [[g for g in inside if g.counts[c]] for c in range(n_classes)]
        self._sums = [sum(g.counts[c] for g in self._inside[c]) for c in range(n_classes)]
        self._alone = [
            int(room[c].sum()) - sum(g.counts[c] for g in groups) for c in range(n_classes)
        ]
        self._shapes = [self._shape(c, wide) for c in range(n_classes)]
        levels = [len(self._inside[c]) + 1 for c in range(n_classes)]
        self._spend(sum(n * a * b for n, (a, b) in zip(levels, self._shapes, strict=True)))
        self._levels = [self._reach(c) for c in range(n_classes)]

    def best(self) -> _Found | None:
        """Find the cheapest placement, the first of cost 0 in seeded order; None without any."""
        levels = self._spanning_levels()
        states = sorted(levels[-1], key=lambda state: draw(1 << 64, self._seed, "span", state))
        self._spend(len(states) * sum(a * b for a, b in self._shapes))
        memo: dict[tuple[int, ...], tuple[int, tuple[int, int]] | None] = {}
        best: tuple[int, tuple[int, ...], list[tuple[int, int]]] | None = None
        for state in states:
            total = 0
            cells = []
            for c in range(len(self._levels)):
                key = (c, *state[3 * c : 3 * c + 3])
                if key not in memo:
                    memo[key] = self._cheapest(c, np.array(key[1:]))
                entry = memo[key]
                if entry is None:
                    break
                total += entry[0]
                cells.append(entry[1])
            else:
                if best is None or total < best[0]:
                    best = (total, state, cells)
                if total == 0:
                    break
        if best is None:
            return None
        placement = self._trace_spanning(levels, best[1])
        for c, cell in enumerate(best[2]):
            placement |= self._trace(c, cell)
        return _Found(placement, best[0])

    def _spend(self, cells: int) -> None:
        self._budget -= cells
        if self._budget < 0:
            raise _BudgetError

    def _shape(self, c: int, wide: bool) -> tuple[int, int]:
        # Without overflow, no sum beyond the room is of interest.
        most = [self._sums[c] if wide else int(self._room[c, s]) for s in (TEST, EVAL)]
        return min(self._sums[c], most[0]) + 1, min(self._sums[c], most[1]) + 1

    def _reach(self, c: int) -> list[BoolArray]:
        table = np.zeros(self._shapes[c], bool)
        table[0, 0] = True
        levels = [table]
        for group in self._inside[c]:
            size = group.counts[c]
            following = table.copy()
            tests, evals = table.shape
            following[size:, :] |= table[: max(tests - size, 0), :]
            following[:, size:] |= table[:, : max(evals - size, 0)]
            levels.append(following)
            table = following
        return levels

    def _cheapest(self, c: int, span: IntArray) -> tuple[int, tuple[int, int]] | None:
        table = self._levels[c][-1]
        if not table.any():
            return None
        test, evaluation = np.nonzero(table)
        used = np.empty((3, test.size), np.int64)
        used[TEST] = test + span[TEST]
        used[EVAL] = evaluation + span[EVAL]
        used[TRAIN] = self._sums[c] - test - evaluation + span[TRAIN]
        cost = np.maximum(used - self._room[c][:, None], 0).sum(axis=0)
        if cost.min() > 0:
            cost += _EMPTY_PENALTY * self._empty_splits(c, used)
        ties = np.flatnonzero(cost == cost.min())
        pick = ties[draw(ties.size, self._seed, "cell", c, *span.tolist())]
        return int(cost[pick]), (int(test[pick]), int(evaluation[pick]))

    def _empty_splits(self, c: int, used: IntArray) -> IntArray:
        alone = np.full(used.shape[1], self._alone[c])
        empty = np.zeros(used.shape[1], np.int64)
        for split in FILL_ORDER:
            filled = np.minimum(np.maximum(self._room[c, split] - used[split], 0), alone)
            alone = alone - filled
            empty += (used[split] + filled) == 0
        return empty

    def _spanning_levels(self) -> list[dict[tuple[int, ...], tuple[tuple[int, ...], int]]]:
        start: tuple[int, ...] = (0,) * (3 * self._room.shape[0])
        levels: list[dict[tuple[int, ...], tuple[tuple[int, ...], int]]] = [{start: (start, -1)}]
        for group in self._spanning:
            following: dict[tuple[int, ...], tuple[tuple[int, ...], int]] = {}
            for state in levels[-1]:
                for split in _shuffled(self._seed, group.rank, state):
                    moved = np.array(state).reshape(-1, 3)
                    moved[:, split] += group.counts
                    following.setdefault(tuple(moved.reshape(-1).tolist()), (state, split))
            # A state of Python objects costs about as much as a thousand table cells.
            self._spend(1000 * len(following))
            levels.append(following)
        return levels

    def _trace_spanning(
        self,
        levels: Sequence[dict[tuple[int, ...], tuple[tuple[int, ...], int]]],
        state: tuple[int, ...],
    ) -> dict[str, int]:
        placement = {}
        for group, level in zip(reversed(self._spanning), reversed(levels), strict=False):
            state, placement[group.rank] = level[state]
        return placement

    def _trace(self, c: int, cell: tuple[int, int]) -> dict[str, int]:
        test, evaluation = cell
        placement = {}
        pairs = zip(reversed(self._inside[c]), reversed(self._levels[c][:-1]), strict=True)
        for group, level in pairs:
            size = group.counts[c]
            came_from = {
                TRAIN: (test, evaluation),
                EVAL: (test, evaluation - size),
                TEST: (test - size, evaluation),
            }
            split = next(
                s
                for s in _shuffled(self._seed, group.rank, cell)
                if min(came_from[s]) >= 0 and level[came_from[s]]
            )
            placement[group.rank] = split
            test, evaluation = came_from[split]
        return placement


def _shuffled(seed: int, rank: str, state: object) -> tuple[int, ...]:
    return _ORDERS[draw(len(_ORDERS), seed, "trace", rank, state)]
