"""Prepares the process before TensorFlow or TFX is imported."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from common.beam_batches import bound_batches
from common.beam_gzip import quick_gzip
from common.beam_signatures import remember_signatures
from common.compat import keep_start_quiet
from common.errors import InputError
from common.keras_home import OWN_KERAS_HOME, keras_cache
from common.own_files import own_file
from common.stderr import stderr_to

# What TFX imports and nothing here uses. Vertex AI's and BigQuery's components: with Google's
# client libraries beneath them they are 40 % of what importing TFX costs. And Kubernetes' client
# of all kinds, which checks what it sends: it reads a grammar for that, which takes a second.
_UNUSED: Final = ("tfx.v1.extensions", "kubernetes.dynamic")
# What imports Matplotlib with Keras, in case Keras is asked for a picture: half a second,
# and folders in the user's home.
_PICTURES: Final = (
    "keras.src.visualization",
    "keras.visualization",
    "keras._tf_keras.keras.visualization",
)
# New objects until the collector looks at them, and how many of its rounds until it looks at the
# older ones. Of Python's own 700, 10 and 10 two processes of a run spent 5 CPU seconds on it.
_GARBAGE: Final = (50_000, 20, 20)
# A scratch folder's name begins so; in it lies a file that its process holds.
_SCRATCH: Final = ".tmp-"
_OWNER: Final = ".in-use"


def prepare_environment() -> None:
    """Set what TensorFlow reads at import; calling it later has no effect.

    tensorflow_transform sets TF_USE_LEGACY_KERAS=1 where it is unset, and tf.keras then
    is another library than `keras`: say no before it can.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "0"
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in _PICTURES:
        defer_import(name)
    keep_start_quiet()
    # Google's libraries announce the end of Python 3.10, once each, at every start.
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")


def defer_import(name: str) -> None:
    """Put off a module's import until something asks for one of its attributes.

    Does nothing where the module is imported already.

    Args:
        name: absolute; its parents are imported when it is.
    """
    if name in sys.modules:
        return
    placeholder = ModuleType(name)

    def load(attribute: str) -> Any:
        # `inspect` looks for such names in all modules there are. Only __path__ is a sign
        # that the module is wanted: Python asks for it to import what lies below.
        if attribute.startswith("__") and attribute != "__path__":
            raise AttributeError(attribute)
        if sys.modules.get(name) is placeholder:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    placeholder.__getattr__ = load  # type: ignore[method-assign]
    sys.modules[name] = placeholder


def defer_unused() -> None:
    """Put off what TFX imports and nothing here uses, until something asks for it after all."""
    for name in _UNUSED:
        defer_import(name)


@contextlib.contextmanager
def quick_tfx_import() -> Iterator[None]:
    """Make the first import of TFX in this process, inside the block, cost less than half.

    What is unused is put off, and the garbage collector rests meanwhile: the imports
    leave a million objects, next to none of them garbage, which it would go through again
    and again. Frozen, they aren't gone through later either, be it in the nodes or when
    Python shuts down. What is made later it goes through more seldom than Python would: networks
    and Beam's graphs are traced in many objects, which stay.
    """
    if "tfx" in sys.modules:
        yield
        return
    defer_unused()
    resting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*_GARBAGE)
        if resting:
            gc.enable()
    # Here, since whatever has TFX has its Beam nodes, too.
    remember_signatures()
    bound_batches()
    quick_gzip()


@contextlib.contextmanager
def scratch_below(root: Path) -> Iterator[None]:
    """Send temporary files of this process and its children into a folder of its own.

    Keras' home goes there, too: Keras writes a settings file into it when it is imported.
    `models.weights.keras_cache` still knows where Keras' downloads are.

    Args:
        root: the new folder is made below it, and removed at the end.
    """
    _remove_abandoned(root)
    # Absolute, since a child process may work in another folder.
    folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=root.resolve()))
    changed = {
        "TMPDIR": str(folder),
        OWN_KERAS_HOME: str(keras_cache().parent),
        "KERAS_HOME": str(folder / "keras"),
    }
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    tempfile.tempdir = None  # Makes tempfile look at TMPDIR again.
    try:
        with (folder / _OWNER).open("w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            with own_file(owner.fileno()):
                yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(root: Path) -> None:
    """Remove scratch folders whose process was killed: none holds the file in them any more."""
    for file in root.glob(f"{_SCRATCH}*/{_OWNER}"):
        with contextlib.suppress(OSError), file.open("r+") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(file.parent, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder to write into, and those above it.

    Raises:
        InputError: it can't be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"output: {folder} can't be made ({error.strerror}); give a folder that you may "
            "write to as --output."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"output: {folder} can't be written to; give another folder as --output.")


@contextlib.contextmanager
def logs_to(path: Path, *, verbose: bool) -> Iterator[None]:
    """Send what the libraries write to standard error into a file.

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
    make_folder(path.parent)
    with path.open("wb") as log, stderr_to(log):
        yield
