"""What several folders share: threads, order, the golden run, phantoms, images, a tiny backbone."""

from __future__ import annotations

import atexit
import functools
import gc
import io
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# ruff: noqa: E402 - what follows is read by what is imported behind it.
# One thread a worker: more of them than cores only wait for each other. Read at import, by BLAS and
# TensorFlow, also in the processes that tests start.
for _name in (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
):
    os.environ.setdefault(_name, "1")

if "PYTEST_XDIST_WORKER" in os.environ:
    # A worker frees millions of objects one by one when it ends, which nobody needs, and the
    # command waits for it. What is registered first comes last: all else has been done then.
    _worker = os.getpid()
    atexit.register(lambda: os._exit(0) if os.getpid() == _worker else None)

# What tests import leaves half a million objects, none of them garbage, which the collector would
# go through again and again: of 139 s of two files, 11 were its. It is back from
# `pytest_collection_finish` on.
gc.disable()

import hypothesis
import numpy as np
import pytest
from PIL import Image

from common.beam_signatures import remember_signatures
from common.runtime import defer_unused
from tests import golden_run as golden_runs

if TYPE_CHECKING:
    from models.boundary import CutNetwork
    from tests.golden_run import GoldenRun

TINY = "tiny"

# As each run of the product does: 6 of the 23 CPU seconds of a worker's imports are theirs.
defer_unused()

# The same examples in every run, and no verdict that depends on how busy the machine is. Where a
# test doesn't say how many, half as many as Hypothesis would: nine CPU seconds of `make test`.
hypothesis.settings.register_profile(
    "cxr",
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("cxr")


def _tiny_application(
    include_top: bool,
    weights: str | None,
    input_tensor: Any = None,
) -> Any:
    """Two strided convolutions, with the signature of a `keras.applications` class."""
    import keras

    assert not include_top
    assert weights is None
    layers = keras.layers
    x = layers.Conv2D(12, 5, strides=4, activation="relu", name="block1_conv")(input_tensor)
    x = layers.Conv2D(24, 5, strides=4, activation="relu", name="block2_conv")(x)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x)


def _untrained(name: str, *_: Any, **__: Any) -> str:
    raise OSError(f"no {name}: nobody trained this backbone")


@pytest.fixture(scope="module")
def tiny_backbone() -> Iterator[str]:
    """Adds a fourth backbone: a row in the table, and nothing else.

    Gone again at the module's end, since other tests go through the whole table.

    Returns:
        Its name.
    """
    from common.runtime import prepare_environment

    prepare_environment()
    import keras

    from models import backbones

    row = backbones.Backbone(
        name=TINY,
        application="Tiny",
        parameters=0,
        imagenet_file="tiny_imagenet_notop.h5",
        imagenet_folder="tiny",
        imagenet_md5="",
        scaling="tf",
        blocks={"block2": "block2_conv"},
        taps={"block1": backbones.Tap("block2_conv")},
        head_taps=("block1", backbones.TAP_LAST),
        head_l2=0.007,
        fused_taps={"block1": 0.25, backbones.TAP_LAST: 0.5},
        paper=backbones.PaperRecipe(learning_rate=1e-3, batch_size=8, epochs=2),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.applications, "Tiny", _tiny_application, raising=False)
        patch.setattr(keras.utils, "get_file", _untrained)
        patch.setitem(backbones._TABLE, TINY, row)
        yield TINY


@pytest.fixture(scope="session", autouse=True)
def network_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what this process and its children convert out of the user's own folder."""
    folder = tmp_path_factory.mktemp("networks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_NETWORK_CACHE", str(folder))
        yield folder


@functools.cache
def _has_long(file: Path) -> bool:
    return "mark.long" in file.read_text(encoding="utf-8")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files unread where only long tests are asked for, and there is none.

    What the others import takes 10 CPU seconds a worker, and `make test-long` has three of them.
    """
    asked = config.option.markexpr.split(" and ")
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if "long" in asked and is_test and not _has_long(collection_path) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refuse a long test that `make test-long` would not find."""
    if item.get_closest_marker("long") and not _has_long(item.path):
        raise pytest.UsageError(f"{item.nodeid} is long: its file has to say mark.long")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests, and have the golden run made meanwhile where any of them reads it.

    What reads the golden run comes last, since making it takes a minute or more. A worker of its
    own isn't taken for it: the first one starts a process. Meanwhile comes what waits more than it
    computes, and leaves the cores to it, with a file between two of them that computes: else all
    workers may wait at once. What takes long comes before what doesn't, so that no worker is left
    alone with it.
    """

    def place(item: pytest.Item) -> tuple[bool, ...]:
        unmarked = (item.get_closest_marker(name) is None for name in ("waits", "slow"))
        return _reads_golden(item), *unmarked

    # By file, as files stay together; the order within one stays.
    files: dict[Path, tuple[bool, ...]] = {}
    for item in items:
        files[item.path] = max(files.get(item.path, ()), place(item))
    ordered = sorted(files, key=lambda file: files[file])
    waiting = [file for file in ordered if files[file][:2] == (False, False)]
    between = ordered[len(waiting) :]
    pairs = itertools.zip_longest(waiting, between[: len(waiting)])
    ordered = [*itertools.chain.from_iterable(pairs), *between[len(waiting) :]]
    place_of = {file: number for number, file in enumerate(ordered)}
    items.sort(key=lambda item: place_of[item.path])
    wanted = any(_reads_golden(item) for item in items) and not config.option.collectonly
    if wanted and os.environ.get("PYTEST_XDIST_WORKER") == "gw0" and not golden_runs.is_there():
        subprocess.Popen(
            [sys.executable, "-m", golden_runs.__name__],
            cwd=golden_runs.ROOT,
            stdout=subprocess.DEVNULL,
            # Who waits for it makes it anew where it failed, and then says why.
            stderr=subprocess.DEVNULL,
        )


def pytest_collection_finish() -> None:
    """Collect garbage from here on, but seldom, and only what tests leave; have Beam remember."""
    if "apache_beam" in sys.modules:
        # As each run of the product does.
        remember_signatures()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Save what `make coverage` counted here, and end without looking for garbage.

    A worker whose interpreter takes longer than ten seconds to end is killed by xdist, and what it
    counted would be lost: that of a half of all tests.
    """
    if "coverage" in sys.modules and (counting := sys.modules["coverage"].Coverage.current()):
        counting.save()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # pytest collects garbage once more when all is over: a second and a half, for a process
        # that ends at once.
        gc.freeze()


def _reads_golden(item: pytest.Item) -> bool:
    return "golden" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def golden() -> GoldenRun:
    """One run of the whole DAG (tests/golden_run.py). Nobody may write into it."""
    return golden_runs.golden_run()


@pytest.fixture(scope="session")
def phantom_folder() -> Path:
    """The golden run's phantoms: 30, 36 and 33 of 128 pixels. Nobody may write into it."""
    return golden_runs.drawn_phantoms()


@pytest.fixture(scope="module")
def tiny_cut(tiny_backbone: str) -> Callable[..., CutNetwork]:
    """Boundary -> a new tiny network cut there, with the same weights at each call."""

    def call(boundary: str = "head") -> CutNetwork:
        import keras

        from models.backbones import build_network, get_backbone
        from models.boundary import cut

        keras.utils.set_random_seed(0)
        row = get_backbone(tiny_backbone)
        return cut(build_network(row), row, boundary)

    return call


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each batch through a network had, in this process."""
    from models.prefix import Prefix

    sizes: list[int] = []
    stream = Prefix.stream

    def counted(self: Prefix, batches: Iterable[np.ndarray]) -> Iterator[Any]:
        def each() -> Iterator[np.ndarray]:
            for batch in batches:
                sizes.append(len(batch))
                yield batch

        return stream(self, each())

    monkeypatch.setattr(Prefix, "stream", counted)
    return sizes


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """(Pillow image or array, format, Pillow's options) -> bytes of the file."""

    def call(image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return call
