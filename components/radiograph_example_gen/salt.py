"""The installation's salt: without it, no hash of a patient's id can be traced back or compared.

It is a file of its own, and in no configuration, cache key, artifact or log. Of the cache key a
digest of it is a part: with another salt, patients have other names.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from common.errors import InputError
from components.radiograph_example_gen.readers import suffixes
from models.conversion import dicom
from schema.image_names import is_image

ENVIRONMENT: Final = "CXR_PATIENT_SALT_FILE"
_DEFAULT: Final = Path("cxr-tfx", "patient-salt")
_BYTES: Final = 32


@dataclass(frozen=True)
class Salt:
    """The salt that hashes are made with.

    Attributes:
        value: secret bytes.
        name: for the cache key, which tells nothing of it; empty where there is none to be kept.
    """

    value: bytes = field(repr=False)
    name: str = ""


def salt_for(paths: Iterable[str]) -> Salt:
    """Load the installation's salt, or make it, if there is a DICOM by its name, or may be one.

    Args:
        paths: of the images.

    Returns:
        No salt where all names end as those of other images.

    Raises:
        InputError: the file can't be read or written, or is too short.
    """
    if not any(may_be_dicom(path.rpartition("/")[2]) for path in paths):
        return Salt(b"")
    file = salt_file()
    try:
        value = _loaded(file)
    except OSError as error:
        raise InputError(
            f"the salt for patients' ids, {str(file)!r}, can't be read or made "
            f"({error.strerror or error}): name a file in {ENVIRONMENT}."
        ) from error
    if len(value) < _BYTES:
        raise InputError(
            f"the salt for patients' ids, {str(file)!r}, has {len(value)} bytes: it needs "
            f"{_BYTES} at least, drawn by chance."
        )
    return Salt(value, hashlib.sha256(b"name of salt:" + value).hexdigest()[:16])


def may_be_dicom(name: str) -> bool:
    """Return whether a file may be a DICOM by its name.

    Args:
        name: of the file. Without a suffix, which a table may name, its content shows it later.
    """
    return is_image(name, dicom.SUFFIXES) or not is_image(name, suffixes())


def salt_file() -> Path:
    """Return where the salt lies: CXR_PATIENT_SALT_FILE, or in the user's folder of settings."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".config") / _DEFAULT


def _loaded(file: Path) -> bytes:
    if not file.exists() and ENVIRONMENT not in os.environ:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Under a drawn name first: who comes at the same time finds all of it, or nothing.
        drawn = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        drawn.touch(mode=0o600)
        drawn.write_text(secrets.token_hex(_BYTES) + "\n", encoding="ascii")
        try:
            os.link(drawn, file)
        except FileExistsError:
            pass
        finally:
            drawn.unlink()
    return file.read_bytes().strip()
