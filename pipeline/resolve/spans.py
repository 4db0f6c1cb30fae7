"""Decides, before the DAG is built, which folders the spans of a run are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError
from components.radiograph_example_gen.settings import SpanFolder
from pipeline.config.data import SPAN, DataConfig

_SHOWN: Final = 5


@dataclass(frozen=True)
class ResolvedSpans:
    """The spans of a run.

    Attributes:
        root: the folder that all of them are below.
        folders: of the first span that there is to the last that is taken, in order; those
            before the window say only which place their images have.
    """

    root: Path
    folders: tuple[SpanFolder, ...]


def resolve_spans(data: DataConfig) -> ResolvedSpans | None:
    """Look which spans there are, and take those of the window.

    Args:
        data: where the images are, and which spans are wanted.

    Returns:
        None where `data.dir` has no `{SPAN}`.

    Raises:
        InputError: no span is there, or not the one asked for, or one twice.
    """
    if not data.in_spans:
        return None
    pattern = data.dir.absolute()
    place = next(i for i, part in enumerate(pattern.parts) if SPAN in part)
    root = Path(*pattern.parts[:place]).resolve()
    part, below = pattern.parts[place], pattern.parts[place + 1 :]
    found = _find(root, part, below)
    if not found:
        raise InputError(
            f"data.dir: no folder is there for {data.dir}; {_what_is_in(root)}. Name the folders "
            f"with a number where {SPAN} is."
        )
    numbers = _until(data, sorted(found))
    taken = numbers if data.window is None else numbers[-data.window :]
    return ResolvedSpans(
        root,
        tuple(
            SpanFolder(
                number,
                Path(*_with(found[number], part, below)).as_posix(),
                _metadata(data, found[number]),
                number in taken,
            )
            for number in numbers
        ),
    )


def names_of_spans(part: str) -> re.Pattern[str]:
    """Give the pattern that a span's folder matches in whole; its group 1 is the number.

    Args:
        part: the part of `data.dir` that has `{SPAN}` in it.
    """
    before, after = part.split(SPAN)
    return re.compile(f"{re.escape(before)}([0-9]+){re.escape(after)}")


def _find(root: Path, part: str, below: Sequence[str]) -> dict[int, str]:
    """Map each number to its digits, as the folder's name has them."""
    name = names_of_spans(part)
    try:
        entries = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
    except OSError as error:
        raise InputError(f"data.dir: {root} can't be read: {error.strerror}.") from error
    found: dict[int, str] = {}
    for match in filter(None, map(name.fullmatch, entries)):
        digits = match[1]
        if not root.joinpath(*_with(digits, part, below)).is_dir():
            continue
        other = found.setdefault(int(digits), digits)
        if other != digits:
            one, two = (part.replace(SPAN, each) for each in (other, digits))
            raise InputError(
                f"data.dir: {one} and {two} in {root} are both span {int(digits)}: rename one, "
                "or put their images together."
            )
    return found


def _with(digits: str, part: str, below: Sequence[str]) -> tuple[str, ...]:
    return (part.replace(SPAN, digits), *below)


def _until(data: DataConfig, numbers: list[int]) -> list[int]:
    if data.span is None:
        return numbers
    if data.span not in numbers:
        raise InputError(
            f"data.span: there is no span {data.span} for {data.dir}; there are "
            f"{', '.join(map(str, numbers))}."
        )
    return [number for number in numbers if number <= data.span]


def _metadata(data: DataConfig, digits: str) -> str | None:
    """Return the span's own table; one for all spans is no span's own."""
    if data.metadata is None or SPAN not in str(data.metadata):
        return None
    return str(Path(str(data.metadata).replace(SPAN, digits)).resolve())


def _what_is_in(root: Path) -> str:
    if not root.is_dir():
        return f"{root} is no folder"
    names = sorted(entry.name for entry in root.iterdir())
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{root} has {', '.join(names[:_SHOWN]) or 'nothing'}{more}"
