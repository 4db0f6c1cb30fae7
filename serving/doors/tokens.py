"""Bearer tokens from a file, which is read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import threading
from pathlib import Path
from typing import Final

from common.errors import InputError

LOGGER: Final = logging.getLogger("cxr.serving")
# A token that can be guessed is none: 128 bits in hexadecimal are 32 characters.
LEAST_CHARACTERS: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_BEARER: Final = "bearer "


class Tokens:
    """The tokens of a file: a line each, `NAME TOKEN`; lines that begin with # don't count.

    A name may have several: the new one is handed out before the old one goes. Another thread may
    ask at any time.
    """

    def __init__(self, file: Path) -> None:
        """Read the file.

        Raises:
            InputError: it can't be read, has no token, or a line of it is wrong.
        """
        self._file = file
        self._lock = threading.Lock()
        self._state = _state_of(file)
        self._digests = _read(file)

    def name_of(self, authorization: str) -> str | None:
        """Say who has a token.

        Args:
            authorization: the header; empty where there is none.

        Returns:
            The token's name; None where it is none that is known.
        """
        if authorization[: len(_BEARER)].lower() != _BEARER:
            return None
        given = _digest(authorization[len(_BEARER) :].strip())
        found = None
        # All are compared, each in the same time: how long it takes tells nothing of a token.
        for name, digest in self._current():
            if hmac.compare_digest(digest, given):
                found = name
        return found

    def _current(self) -> list[tuple[str, bytes]]:
        with self._lock:
            state = _state_of(self._file)
            if state != self._state:
                self._state = state
                try:
                    self._digests = _read(self._file)
                    LOGGER.info("%s: %d tokens", self._file, len(self._digests))
                except InputError as error:
                    LOGGER.error("the old tokens stay: %s", error)
            return self._digests


def _state_of(file: Path) -> object:
    try:
        stat = file.stat()
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _read(file: Path) -> list[tuple[str, bytes]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"token-file: {file} can't be read ({error}).") from error
    digests = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        where = f"token-file: {file}, line {number}"
        if len(words) != 2 or not _NAME.fullmatch(words[0]):
            raise InputError(f"{where}: write a name, a blank and a token.")
        name, token = words
        if len(token) < LEAST_CHARACTERS:
            raise InputError(
                f"{where}: the token of {name} has less than {LEAST_CHARACTERS} characters; make "
                "one by `openssl rand -hex 32`."
            )
        digests.append((name, _digest(token)))
    if not digests:
        raise InputError(f"token-file: {file} has no token.")
    return digests


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", errors="surrogateescape")).digest()
