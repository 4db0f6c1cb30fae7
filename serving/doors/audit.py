"""A line a request: who asked which model what, and what came of it. Nothing of any patient.

Requests and answers are told by their SHA-256 alone. A path isn't written, since a client may put
anything there; nor is the name of a model that isn't served.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from common.errors import InputError

LOGGER: Final = logging.getLogger("cxr.audit")
REQUEST_ID: Final = "X-Request-ID"
_ID: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def request_id(given: str | None) -> str:
    """Return a request's id: the client's, or a new one where it has none that can be logged."""
    return given if given and _ID.fullmatch(given) else uuid.uuid4().hex


@dataclass(frozen=True)
class Entry:
    """A request, as it is written down.

    Attributes:
        id: of the request.
        who: token's name or certificate's subject, with what it is; `-` where nobody was asked.
        client: address.
        api: `rest` or `grpc`.
        asked: such as `predict`.
        model: that was asked; empty where there is none of that name.
        version: that answered; None where none did.
        status: of HTTP, or gRPC's code.
        request_sha256: of the body as it came, or of the message; None where it wasn't read.
        answer_sha256: of the body, or of the message; None where there is none.
        seconds: that it took.
    """

    id: str
    who: str
    client: str
    api: str
    asked: str
    model: str
    version: int | None
    status: str
    request_sha256: str | None
    answer_sha256: str | None
    seconds: float


class Audit:
    """Writes entries as lines of JSON, to a file or to the log."""

    def __init__(self, file: Path | None = None) -> None:
        """Open the file, which is only ever added to.

        Args:
            file: to write to; None for the log.

        Raises:
            InputError: it can't be written.
        """
        self._file = file
        self._lock = threading.Lock()
        if file is not None:
            try:
                file.open("a", encoding="utf-8").close()
            except OSError as error:
                raise InputError(f"audit-file: {file} can't be written ({error}).") from error

    def write(self, entry: Entry) -> None:
        """Write an entry. Where the file can't be written any more, the log gets it."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, **asdict(entry), "seconds": round(entry.seconds, 4)})
        if self._file is None:
            LOGGER.info("%s", line)
            return
        try:
            # Opened each time: whoever rotates it moves it away.
            with self._lock, self._file.open("a", encoding="utf-8") as sink:
                sink.write(f"{line}\n")
        except OSError as error:
            LOGGER.error("%s can't be written (%s): %s", self._file, error, line)
