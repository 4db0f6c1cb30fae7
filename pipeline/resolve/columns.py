"""Decides, before the DAG is built, by which further columns of the metadata a run slices."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from common.errors import InputError
from components.radiograph_example_gen.discovery import find_metadata
from components.radiograph_example_gen.metadata import (
    further_columns,
    parse_metadata,
    read_metadata_file,
)
from pipeline.config.data import SPAN
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.resolve.spans import ResolvedSpans
from schema import contract

# One value tells no groups apart, and so many more hold a handful of test images each.
_VALUES: Final = range(2, 21)


def resolve_columns(config: PipelineConfig, spans: ResolvedSpans | None = None) -> PipelineConfig:
    """Says which columns there are to slice by.

    Args:
        config: where `data.slice_columns` is null, each further column with 2 to 20 different
            values is taken, empty cells being a value as well.
        spans: of the run; a column has to be in the metadata of each that is taken.

    Returns:
        The configuration with `data.slice_columns`, in lower case; where they weren't named, in
        the order of the file.

    Raises:
        InputError: the metadata are malformed, or lack a column that is named; or the gate asks
            for something on slices that there won't be.
    """
    columns = _columns(config, spans)
    if problems := config.gate.unknown_features(columns):
        raise InputError("configuration is wrong:\n  " + "\n  ".join(problems))
    data = config.data.model_copy(update={"slice_columns": columns})
    return config.model_copy(update={"data": data})


def _columns(config: PipelineConfig, spans: ResolvedSpans | None) -> tuple[str, ...]:
    named = config.data.slice_columns
    tables = _tables(config, spans)
    if not tables:
        missing = [name for name in named or () if name not in contract.HEADER_COLUMNS]
        if missing:
            folder = str(spans.root if spans else config.data.dir.resolve())
            raise InputError(
                f"data.slice_columns names {missing[0]!r}, but there is no metadata.csv in "
                f"{folder!r}: put it there, or name it in data.metadata."
            )
        return named or ()
    contents = {str(table): read_metadata_file(table) for table in tables}
    if named is not None:
        for name, content in contents.items():
            parse_metadata(content, name, named, config.data.columns)
        return named
    # One more than are taken is enough to know that there are too many.
    found = [
        further_columns(content, name, config.data.columns, _VALUES.stop)
        for name, content in contents.items()
    ]
    values = {
        column: frozenset().union(*(each[column] for each in found))
        for column in found[0]
        if all(column in each for each in found)
    }
    return tuple(column for column, of_column in values.items() if len(of_column) in _VALUES)


def _tables(config: PipelineConfig, spans: ResolvedSpans | None) -> list[Path]:
    """List the metadata files that there are, by the names that RadiographExampleGen is told."""
    data = config.data
    if spans is None:
        folder = str(data.dir.resolve())
        places = [(folder, str(data.metadata.resolve()) if data.metadata else None)]
    elif data.metadata and SPAN not in str(data.metadata):
        places = [(str(spans.root), str(data.metadata.resolve()))]
    else:
        places = [
            (str(spans.root / span.folder), span.metadata_csv)
            for span in spans.folders
            if span.taken
        ]
    found = (find_metadata(folder, metadata) for folder, metadata in places)
    return [table for table in found if table is not None]
