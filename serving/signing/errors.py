"""The error of whatever can't be proven. Imports nothing heavy."""

from __future__ import annotations


class SignatureError(ValueError):
    """A version isn't what somebody trusted has signed; says which file, and why."""
