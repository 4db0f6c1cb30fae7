"""The rows of the table: what each measures, and what has to be measured before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.side_by_side.bench import Bench
from benchmarks.side_by_side.record import Figure, Record
from benchmarks.side_by_side.sides import NEW, OLD, Side, SideName
from common.errors import InputError
from schema import contract

COLD: Final = "cold"
_PREDICTS: Final = "predict"
_SERVES: Final = "serve"
_DELIVERY: Final = "delivery"
_FIRST_SPAN: Final = "first-span"

Measure = Callable[[Bench, Side, int, Record], Figure | None]


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        name: in the file of figures.
        group: by which `--only` names it.
        title: in the table.
        measure: of a side, in a round; None where the side has no such thing.
        needs: the rows whose results it starts from.
        sides: those that have it.
        once: whether all rounds start from the one.
        share: whether it is shown as a share of the side's own cold run, too.
    """

    name: str
    group: str
    title: str
    measure: Measure
    needs: tuple[str, ...] = (COLD,)
    sides: tuple[SideName, ...] = (OLD, NEW)
    once: bool = False
    share: bool = False


def _plain(method: Callable[[Bench, Side, int], Figure]) -> Measure:
    def measure(bench: Bench, side: Side, number: int, _: Record) -> Figure:
        return method(bench, side, number)

    return measure


def _serve(bench: Bench, side: Side, number: int, record: Record, *, again: bool) -> Figure | None:
    first = record.get(_SERVES, side.name, number)
    return bench.serve(side, number, again=again, first=first)


def _predict(
    bench: Bench, side: Side, number: int, record: Record, *, model: str, again: bool
) -> Figure | None:
    first = record.get(_predicts(model), side.name, number)
    return bench.predict(side, number, model=model, again=again, first=first)


def _predicts(model: str) -> str:
    return f"{_PREDICTS}-{model}"


def _predictions(model: str, sides: tuple[SideName, ...] = (OLD, NEW)) -> tuple[Row, Row]:
    name = _predicts(model)
    return (
        Row(
            name,
            _PREDICTS,
            f"`cxr predict` of a folder by the {model}, no networks kept",
            partial(_predict, model=model, again=False),
            sides=sides,
        ),
        Row(
            f"{name}-again",
            _PREDICTS,
            f"`cxr predict` of a folder by the {model}, once more",
            partial(_predict, model=model, again=True),
            needs=(COLD, name),
            sides=sides,
        ),
    )


# In the order in which they are measured.
ROWS: Final = (
    Row(COLD, COLD, "cold run", _plain(Bench.cold_run), needs=()),
    Row(
        "penalty",
        "penalty",
        "again, with another penalty of the heads",
        _plain(Bench.other_penalty),
        share=True,
    ),
    Row(
        "seed",
        "seed",
        "again, with another seed",
        _plain(Bench.other_seed),
        sides=(NEW,),
        share=True,
    ),
    Row(
        "without-fusion",
        "without-fusion",
        "cold run without fusion",
        _plain(Bench.without_fusion),
        sides=(NEW,),
        share=True,
    ),
    Row("make-run", "make-run", "`make run` after the set-up", _plain(Bench.make_run), needs=()),
    *_predictions(contract.ENSEMBLE),
    *_predictions(contract.FUSION, sides=(NEW,)),
    Row(
        _SERVES,
        _SERVES,
        "`cxr serve` to `/readyz`, no networks kept",
        partial(_serve, again=False),
    ),
    Row(
        f"{_SERVES}-again",
        _SERVES,
        "`cxr serve` to `/readyz`, once more",
        partial(_serve, again=True),
        needs=(COLD, _SERVES),
    ),
    Row(
        _FIRST_SPAN,
        _DELIVERY,
        "cold run of nine tenths of the images, as a first span",
        _plain(Bench.first_span),
        needs=(),
        once=True,
    ),
    Row(
        _DELIVERY,
        _DELIVERY,
        "a tenth delivered after that",
        _plain(Bench.delivery),
        needs=(COLD, _FIRST_SPAN),
        share=True,
    ),
)
GROUPS: Final = tuple(dict.fromkeys(row.group for row in ROWS))


def selected(only: Iterable[str]) -> list[Row]:
    """Choose rows, with those that they need.

    Args:
        only: groups; all rows where there are none.

    Raises:
        InputError: there is no such group.
    """
    groups = set(only) or set(GROUPS)
    if unknown := groups - set(GROUPS):
        raise InputError(
            f"only: {', '.join(sorted(unknown))} is no row; rows are {', '.join(GROUPS)}."
        )
    names = {row.name for row in ROWS if row.group in groups}
    for row in reversed(ROWS):
        if row.name in names:
            names.update(row.needs)
    return [row for row in ROWS if row.name in names]


def turns(row: Row, rounds: int) -> list[tuple[int, SideName]]:
    """List a row's measurements in their order: the sides in turns, each first as often.

    Args:
        row: to measure.
        rounds: how many.

    Returns:
        Round and side.
    """
    found = []
    for number in range(1 if row.once else rounds):
        sides = row.sides if number % 2 == 0 else tuple(reversed(row.sides))
        found += [(number, side) for side in sides]
    return found
