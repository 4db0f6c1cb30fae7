"""Errors that are the user's to mend, told apart from defects of this program."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input or configuration.

    The message names the file, field or image at fault and says what to do. The
    command line prints it without a traceback and exits with 2.
    """
