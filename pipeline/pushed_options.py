"""Options of commands on what was pushed, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Pushed = Annotated[
    Path | None,
    typer.Option(
        help="What the run kept of pushed versions.", show_default="`pushed` beside --model-dir"
    ),
]
