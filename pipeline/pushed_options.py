"""Options of commands on what was pushed, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

SERVING: Final = Path("output/serving")
ModelDir = Annotated[Path, typer.Option(help="The run's serving folder.")]
Pushed = Annotated[
    Path | None,
    typer.Option(
        help="What the run kept of pushed versions.", show_default="`pushed` beside --model-dir"
    ),
]
