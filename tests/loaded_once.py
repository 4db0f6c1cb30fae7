"""SavedModels that a test file loads once, however often it asks."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def loaded_once() -> Iterator[None]:
    """Whoever loads a whole SavedModel gets the one that is there, by whatever link.

    TensorFlow takes seconds to make a graph's functions. A caller may only ask what it gets.
    """
    import tensorflow as tf

    load = functools.cache(tf.saved_model.load)

    def once(folder: str | Path) -> Any:
        return load(str(Path(folder).resolve()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.saved_model, "load", once)
        yield
