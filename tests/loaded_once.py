"""SavedModels that tests load once, however often they ask."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Load = Callable[[str | Path], Any]


def loader() -> Load:
    """Return what loads a SavedModel; each once, by whatever link and from whatever copy.

    TensorFlow takes seconds to make a graph's functions. A caller may only ask what it gets.
    """
    import tensorflow as tf

    from serving.networks.store import version_key

    load, loaded = tf.saved_model.load, dict[str, Any]()

    def call(folder: str | Path) -> Any:
        key = version_key(Path(folder))
        if key not in loaded:
            loaded[key] = load(str(folder))
        return loaded[key]

    return call


@contextlib.contextmanager
def everybody_loads_by(load: Load) -> Iterator[None]:
    """Whoever loads a whole SavedModel gets what `load` returns."""
    import tensorflow as tf

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.saved_model, "load", load)
        yield


@pytest.fixture(scope="module")
def loaded_once() -> Iterator[None]:
    """Whoever loads a SavedModel gets the one that a test of the file has loaded."""
    with everybody_loads_by(loader()):
        yield
