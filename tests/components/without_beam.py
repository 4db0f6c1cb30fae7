"""RadiographExampleGen's executor, whose two passes run in this process instead of under Beam."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from components.radiograph_example_gen.executor import RadiographExampleGenExecutor


def map_to_lines(
    _: RadiographExampleGenExecutor,
    elements: Sequence[Any],
    function: beam.DoFn,
    scratch: str,
    name: str,
) -> list[str]:
    """What the executor's own pass returns; the elements travel as text, as they do there."""
    assert scratch and name
    return [
        line for element in elements for line in function.process(json.loads(json.dumps(element)))
    ]


class InProcess(RadiographExampleGenExecutor):
    """The executor, without Beam."""

    _map_to_lines = map_to_lines
