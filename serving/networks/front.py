"""The ends of a SavedModel, around its network: bytes -> pixels, and probabilities -> outputs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from models.saved_functions import load_functions

# What a conversion calls (`serving.networks.conversion`), of a model and of a combination.
_ENDS: Final = ("preprocess", "answer", "screen")
_CONVERTED: Final = (*_ENDS, "network", "members/*/network")
# What these functions hold on to.
_HELD: Final = ("transform", "class_names", "abstain_below")
_LOADING: Final = threading.Lock()


def load_saved_model(folder: Path) -> Any:
    """Load a SavedModel; one at a time, whoever asks.

    TensorFlow makes a graph's functions in Python, so that two at once only wait for each other.

    Raises:
        Exception: it can't be loaded; TensorFlow says that in many ways.
    """
    with _LOADING:
        return tf.saved_model.load(str(folder))


def load_convertible(folder: Path) -> Any:
    """Load what of a SavedModel a conversion calls; one at a time, as `load_saved_model`.

    Raises:
        Exception: it can't be loaded; TensorFlow says that in many ways.
    """
    with _LOADING:
        return load_functions(str(folder), _CONVERTED)


def load_network(folder: Path) -> Any:
    """Load the network in one piece, a combination's, too, and the ends, in the same way."""
    with _LOADING:
        return load_functions(str(folder), (*_ENDS, "network"))


def load_ends(folder: Path) -> Any:
    """Load `preprocess`, `answer` and `screen` alone, in the same way."""
    with _LOADING:
        return load_functions(str(folder), _ENDS)


class _Front(tf.Module):
    """These functions of a loaded SavedModel, and what they need of it."""

    def __init__(self, loaded: Any) -> None:
        super().__init__(name="cxr_front")
        for name in _HELD:
            if hasattr(loaded, name):
                setattr(self, name, getattr(loaded, name))
        self.preprocess = loaded.preprocess
        self.answer = loaded.answer
        # Only a model that has an input gate.
        if hasattr(loaded, "screen"):
            self.screen = loaded.screen


def write_front(loaded: Any, folder: Path) -> None:
    """Write the ends of a loaded SavedModel as one of their own.

    Raises:
        OSError: it can't be written, or they need more of it than is known here.
    """
    try:
        tf.saved_model.save(_Front(loaded), str(folder))
    # An asset or a table that a later Transform may bring; a disk that is full.
    except (AssertionError, KeyError, ValueError, tf.errors.OpError) as error:
        raise OSError(f"{folder}: {str(error)[:300]}") from error


def load_front(folder: Path) -> Any:
    """Load what `write_front` wrote: an object with `preprocess`, `answer` and maybe `screen`.

    Raises:
        OSError: it can't be loaded.
    """
    try:
        return load_saved_model(folder)
    # A damaged graph fails in many ways.
    except Exception as error:
        raise OSError(f"{folder}: {error}") from error
