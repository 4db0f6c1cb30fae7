"""The console that a person looks at."""

from __future__ import annotations

from typing import Final, TextIO

import rich.console

# A table written to a file or a pipe needn't fold.
_WIDTH_OF_FILES: Final = 160


def open_console(file: TextIO | None = None) -> rich.console.Console:
    """Open a console that colours and folds on a terminal only.

    Without markup and emoji codes: names and paths are printed as they are.

    Args:
        file: standard output where None.
    """
    console = rich.console.Console(
        file=file, highlight=False, soft_wrap=True, markup=False, emoji=False
    )
    if not console.is_terminal:
        console.width = _WIDTH_OF_FILES
    return console
