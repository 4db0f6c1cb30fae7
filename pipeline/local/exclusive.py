"""One run at a time in an output folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import datetime

from common.errors import InputError
from common.own_files import own_file
from common.runtime import make_folder
from pipeline.config.layout import OutputLayout


@contextlib.contextmanager
def alone_in(layout: OutputLayout) -> Iterator[None]:
    """Hold a file as long as the block lasts; the system lets go of it when the process ends.

    A run that was killed therefore leaves nothing that the next one has to clear away. The file
    stays: it says which process was the last.

    Args:
        layout: of the output folder, which is made.

    Raises:
        InputError: another process holds it, with its number and since when; or the folder can't be
            written to.
    """
    make_folder(layout.lock.parent)
    with layout.lock.open("a+", encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.seek(0)
            who = held.read().strip() or "another process"
            raise InputError(
                f"output: {layout.root} is in use by {who}. Wait until it is done, or give "
                "another folder as --output."
            ) from None
        held.seek(0)
        held.truncate()
        now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        held.write(f"process {os.getpid()}, since {now}\n")
        held.flush()
        with own_file(held.fileno()):
            yield
