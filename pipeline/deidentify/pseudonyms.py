"""Salted names in place of those of patients, studies and objects.

The same salt gives the same pseudonyms, over folders and runs. Without the salt nobody can tell
by trying all IDs of a hospital whose a pseudonym is.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from pydicom.uid import UID_dictionary

# Letters of a pseudonym: 80 bits, and short enough for all of DICOM's short strings (16 letters).
_LETTERS: Final = 16
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Days that a patient's dates are moved back: never into the future, and too far to be guessed.
_LEAST_DAYS: Final = 366
_MOST_DAYS: Final = 3653


class Pseudonyms:
    """Pseudonyms that depend on a salt."""

    def __init__(self, salt: bytes) -> None:
        """Keep the salt.

        Args:
            salt: secret, 16 bytes or more.
        """
        self._salt = salt

    def _digest(self, kind: str, value: str) -> int:
        message = f"{kind}\0{value}".encode("utf-8", "surrogateescape")
        return int.from_bytes(hmac.digest(self._salt, message, hashlib.sha256)[:16], "big")

    def of(self, kind: str, value: str) -> str:
        """Return a pseudonym of 16 letters and digits; different for each kind of identifier."""
        number = self._digest(kind, value.strip())
        letters = [_ALPHABET[number >> 5 * place & 31] for place in range(_LETTERS)]
        return "".join(letters)

    def uid(self, value: str) -> str:
        """Return another UID; one that DICOM itself registered (a class, a syntax) stays.

        The new one is below 2.25, where a UID is a number of 128 bits (PS3.5, B.2).
        """
        value = value.strip(" \0")
        if not value or value in UID_dictionary:
            return value
        return f"2.25.{self._digest('uid', value)}"

    def days_back(self, patient: str) -> int:
        """Return by how many days a patient's dates are moved back: 366 to 3,653."""
        span = _MOST_DAYS - _LEAST_DAYS + 1
        return _LEAST_DAYS + self._digest("days", patient.strip()) % span
