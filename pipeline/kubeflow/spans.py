"""Spans as a step sees them: the folders that `{SPAN}` stands for.

A local run looks for the folders before the DAG is built. A compiled pipeline looks for
nothing, so RadiographExampleGen's step does it as it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from components.radiograph_example_gen.settings import spans_to_json
from pipeline.config.data import SPAN, DataConfig
from pipeline.kubeflow.names import (
    ALL_SPANS,
    DATA_DIR,
    EDIT,
    LATEST_SPAN,
    METADATA_CSV,
    SPAN_NUMBER,
    SPANS,
    WINDOW,
)
from pipeline.kubeflow.places import copy_if_any, is_remote, names_in
from pipeline.resolve.spans import names_of_spans, resolve_spans

_WINDOW: Final = EDIT + WINDOW
_SPAN_NUMBER: Final = EDIT + SPAN_NUMBER


def with_spans(values: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """Return RadiographExampleGen's properties, with folders in place of `{SPAN}`.

    Args:
        values: a step's properties; any other node's come back as they are.
        scratch: empty folder for copies of what lies in an object store.

    Raises:
        InputError: the pipeline was compiled for a folder and is given spans, or the other
            way round; there is no such span; or something can't be read.
    """
    pattern = str(values.get(DATA_DIR, ""))
    if (SPAN in pattern) != (_WINDOW in values):
        kind = f"spans, so {SPAN} must be in it" if _WINDOW in values else f"no {SPAN}"
        raise InputError(f"data: {pattern} can't be taken: the pipeline was compiled for {kind}.")
    if SPAN not in pattern:
        return dict(values)
    last, window = _last(values), _window(values)
    metadata = str(values.get(METADATA_CSV) or "")
    of_spans = SPAN in metadata
    for name, place in (("data", pattern), ("metadata", metadata)):
        if place.count(SPAN) > 1:
            raise InputError(f"{name}: {SPAN} can stand once in it, and not as in {place}.")
    spans = resolve_spans(
        DataConfig(
            dir=_here(pattern, scratch / "data", "data", last),
            metadata=_here(metadata, scratch / "tables", "metadata", last) if of_spans else None,
            window=window,
            span=last,
        )
    )
    assert spans is not None  # `dir` has the pattern in it.
    found = {**values, DATA_DIR: str(spans.root), SPANS: spans_to_json(spans.folders)}
    if of_spans:
        found[METADATA_CSV] = ""
    return found


def _last(values: Mapping[str, Any]) -> int | None:
    last = int(values[_SPAN_NUMBER])
    if last < 0 and last != LATEST_SPAN:
        raise InputError(f"span: {last} is no span's number; {LATEST_SPAN} is the latest.")
    return None if last == LATEST_SPAN else last


def _window(values: Mapping[str, Any]) -> int | None:
    window = int(values[_WINDOW])
    if window < 0:
        raise InputError(f"window: {window} is no number of spans; {ALL_SPANS} is all.")
    return None if window == ALL_SPANS else window


def _here(pattern: str, folder: Path, name: str, last: int | None) -> Path:
    """Return the pattern on this machine; of a URI, copy all spans up to `last` first."""
    if not is_remote(pattern):
        return Path(pattern)
    parts = pattern.split("/")
    place = next(index for index, part in enumerate(parts) if SPAN in part)
    root, part, below = "/".join(parts[:place]), parts[place], parts[place + 1 :]
    spans = names_of_spans(part)
    for entry in names_in(root, name):
        match = spans.fullmatch(entry)
        if match and (last is None or int(match[1]) <= last):
            copy_if_any("/".join((root, entry, *below)), folder.joinpath(entry, *below), name)
    if not folder.exists():
        raise InputError(f"{name}: no span is there for {pattern}.")
    return folder.joinpath(part, *below)
