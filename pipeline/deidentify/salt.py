"""The installation's secret, on which all pseudonyms depend."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from common.errors import InputError

# Bytes of a salt that is made here, and the fewest of one that is given.
_MADE: Final = 32
_LEAST: Final = 16


def default_file() -> Path:
    """Return where the salt lies if nobody says otherwise: in the user's own configuration."""
    given = os.environ.get("XDG_CONFIG_HOME")
    folder = Path(given) if given else Path.home() / ".config"
    return folder / "cxr-tfx" / "deidentification.salt"


def make_salt(file: Path) -> bytes:
    """Make a salt that nobody else may read; what is there is left alone.

    Raises:
        InputError: the file can't be written, or is there.
    """
    salt = secrets.token_hex(_MADE).encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            output.write(salt + b"\n")
            output.flush()
            # Pseudonyms that nobody can make again are worth nothing.
            os.fsync(output.fileno())
    except OSError as error:
        raise InputError(f"salt-file: {file} can't be made: {error.strerror}.") from error
    return salt


def read_salt(file: Path) -> bytes:
    """Read a salt; white space around it is none of it.

    Raises:
        InputError: there is none, others may read it, or it is too short.
    """
    try:
        mode = file.stat().st_mode
        salt = file.read_bytes().strip()
    except OSError as error:
        raise InputError(
            f"salt-file: {file} can't be read: {error.strerror}; leave it out to use your own "
            f"({default_file()}, made at the first run)."
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise InputError(f"salt-file: others may read {file}; chmod 600 it.")
    if len(salt) < _LEAST:
        raise InputError(
            f"salt-file: {file} holds {len(salt)} bytes; {_LEAST} or more are needed, of chance "
            "(openssl rand -hex 32)."
        )
    return salt
