"""The installation's salt: without it, no hash of a patient's id can be traced back or compared.

It is a file of its own, and in no configuration, cache key, artifact or log. Of the cache key a
digest of it is a part: with another salt, patients have other names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from common.salt import make_salt, own_file, read_salt
from components.radiograph_example_gen.readers import suffixes
from models.conversion import dicom
from schema.image_names import is_image

ENVIRONMENT: Final = "CXR_PATIENT_SALT_FILE"
_NAME: Final = "patient-salt"
_WHAT: Final = f"the salt for patients' ids ({ENVIRONMENT} names another)"


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
        InputError: see `common.salt`.
    """
    if not any(may_be_dicom(path.rpartition("/")[2]) for path in paths):
        return Salt(b"")
    named = os.environ.get(ENVIRONMENT)
    file = Path(named) if named else own_file(_NAME)
    if not named:
        make_salt(file, _WHAT)
    value = read_salt(file, _WHAT)
    return Salt(value, hashlib.sha256(b"name of salt:" + value).hexdigest()[:16])


def may_be_dicom(name: str) -> bool:
    """Return whether a file may be a DICOM by its name.

    Args:
        name: of the file. Without a suffix, which a table may name, its content shows it later.
    """
    return is_image(name, dicom.SUFFIXES) or not is_image(name, suffixes())
