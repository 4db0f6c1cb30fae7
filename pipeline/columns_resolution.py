"""Decides, before the DAG is built, by which further columns of the metadata a run slices."""

from __future__ import annotations

from typing import Final

from components.radiograph_example_gen.discovery import find_metadata
from components.radiograph_example_gen.metadata import (
    further_columns,
    parse_metadata,
    read_metadata_file,
)
from pipeline.config import PipelineConfig
from schema.errors import InputError

# One value tells no groups apart, and so many more hold a handful of test images each.
_VALUES: Final = range(2, 21)


def resolve_columns(config: PipelineConfig) -> PipelineConfig:
    """Says which columns there are to slice by.

    Args:
        config: where `data.slice_columns` is null, each further column with 2 to 20 different
            values is taken, empty cells being a value as well.

    Returns:
        The configuration with `data.slice_columns`, in lower case; where they weren't named, in
        the order of the file.

    Raises:
        InputError: the metadata are malformed, or lack a column that is named; or the gate asks
            for something on slices that there won't be.
    """
    columns = _columns(config)
    if problems := config.gate.unknown_features(columns):
        raise InputError("configuration is wrong:\n  " + "\n  ".join(problems))
    data = config.data.model_copy(update={"slice_columns": columns})
    return config.model_copy(update={"data": data})


def _columns(config: PipelineConfig) -> tuple[str, ...]:
    data, named = config.data, config.data.slice_columns
    # As RadiographExampleGen is told, so that a mistake in the file reads the same.
    folder = str(data.dir.resolve())
    table = find_metadata(folder, str(data.metadata.resolve()) if data.metadata else None)
    if table is None:
        if named:
            raise InputError(
                f"data.slice_columns names {named[0]!r}, but there is no metadata.csv in "
                f"{folder!r}: put it there, or name it in data.metadata."
            )
        return ()
    content, name = read_metadata_file(table), str(table)
    if named is not None:
        parse_metadata(content, name, named)
        return named
    found = further_columns(content, name)
    return tuple(column for column, values in found.items() if len(values) in _VALUES)
