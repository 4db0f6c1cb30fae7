"""Prepares the process before TensorFlow or TFX is imported."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path


def prepare_environment() -> None:
    """Sets what TensorFlow reads at import; calling it later has no effect.

    tensorflow_transform sets TF_USE_LEGACY_KERAS=1 where it is unset, and tf.keras then
    is another library than `keras`: say no before it can.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "0"
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Google's libraries announce the end of Python 3.10, once each, at every start.
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")


@contextlib.contextmanager
def scratch_below(folder: Path) -> Iterator[None]:
    """Sends temporary files of this process and its children into a folder.

    Args:
        folder: made, and removed at the end with all that is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # Makes tempfile look at TMPDIR again.
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def logs_to(path: Path, *, verbose: bool) -> Iterator[None]:
    """Sends what the libraries write to standard error into a file.

    The file descriptor itself is redirected, since TensorFlow's and MLMD's C++ code and
    Beam's worker processes write there without asking Python.

    Args:
        path: overwritten; its folder is made.
        verbose: leave standard error as it is.

    Yields:
        Nothing. Code inside writes to the user through standard output.
    """
    if verbose:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept = os.dup(2)
    with path.open("wb") as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
