"""Salts: secrets of an installation, on which the names depend that patients get. One rule for all.

A salt is a file. The installation's own lies in its user's folder of settings, and is made there
once, for that user alone. A file that is named by somebody is never made. Nobody but its owner may
be able to write a salt. Nobody else may read one in that folder either; of one that lies elsewhere
that is said, and it is taken: Kubernetes mounts secrets so that all in the container can read them.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
from functools import cache
from pathlib import Path
from typing import Final

from common.errors import InputError

LOGGER: Final = logging.getLogger("cxr.salt")
_FOLDER: Final = "cxr-tfx"
# Of a salt that is made here, and the fewest of one that is given, white space not counted.
_MADE: Final = 32
_LEAST: Final = 16


def own_file(name: str) -> Path:
    """Return where the installation's own salt lies.

    Args:
        name: of the file.
    """
    # A relative path there doesn't count (XDG Base Directory Specification).
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".config") / _FOLDER / name


def make_salt(file: Path, what: str) -> bool:
    """Make a salt for its user alone; one that is there is left alone.

    Args:
        file: of the salt.
        what: how errors call it.

    Returns:
        Whether it was made now.

    Raises:
        InputError: it can't be.
    """
    if file.exists():
        return False
    # Under a drawn name first: who comes at the same time finds all of it, or nothing.
    drawn = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(drawn, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as output:
                output.write(secrets.token_hex(_MADE).encode() + b"\n")
                output.flush()
                # Names that nobody can make again are worth nothing.
                os.fsync(output.fileno())
            os.link(drawn, file)
        finally:
            drawn.unlink()
    except FileExistsError:
        return False
    except OSError as error:
        raise InputError(f"{what}: {file} can't be made: {error.strerror}.") from error
    return True


def read_salt(file: Path, what: str) -> bytes:
    """Read a salt; white space around it is none of it.

    Args:
        file: of the salt, or a link to it.
        what: how errors call it.

    Raises:
        InputError: there is none, it is too short, others may change it, or may read it in the
            installation's own folder.
    """
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        salt = file.read_bytes().strip()
    except OSError as error:
        raise InputError(
            f"{what}: {file} can't be read: {error.strerror}; put the salt there, or name another "
            "file."
        ) from error
    if mode & 0o022:
        raise InputError(f"{what}: others may write {file}, and so know the salt; chmod 600 it.")
    if mode & 0o044:
        if file.absolute().is_relative_to(own_file(file.name).parent):
            raise InputError(f"{what}: others may read {file}; chmod 600 it.")
        _say_readable(file, what)
    if len(salt) < _LEAST:
        raise InputError(
            f"{what}: {file} holds {len(salt)} bytes; {_LEAST} or more are needed, of chance "
            "(openssl rand -hex 32)."
        )
    return salt


@cache
def _say_readable(file: Path, what: str) -> None:
    LOGGER.warning("%s: others on this machine may read %s", what, file)
