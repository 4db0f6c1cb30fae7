"""The salt of the tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def salt() -> bytes:
    return b"a secret of more than 16 bytes"
