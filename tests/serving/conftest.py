"""Servers over the conformance models, in a process or a thread; tiny models of this project."""

from __future__ import annotations

import functools
import socketserver
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from common.runtime import prepare_environment
from schema import contract
from serving.local_client import latest_version
from serving.process import Server, free_port, running_server, stop
from serving.settings import Limits
from tests.loaded_once import everybody_loads_by, loader
from tests.serving.in_thread import ThreadServer, server_in_thread

if TYPE_CHECKING:
    import tensorflow as tf

    from serving.servables.servable import Servable
    from serving.servables.tensorflow_servable import TensorFlowServable
    from tests.golden_run import GoldenRun

prepare_environment()

CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]

# Small, so that the tests reach them.
LIMITS = Limits(body_bytes=300_000, batch_size=64, pixels=1_000_000, read_seconds=1.0)


Cxr = Callable[..., int]


@pytest.fixture
def cxr(monkeypatch: pytest.MonkeyPatch) -> Cxr:
    """`cxr` in this process: words -> exit status."""
    from pipeline import cli

    def call(*arguments: str | Path) -> int:
        monkeypatch.setattr("sys.argv", ["cxr", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stopped:
            return int(stopped.code or 0)
        return 0

    return call


@pytest.fixture(scope="session", autouse=True)
def _servers_end_at_once() -> Iterator[None]:
    """The library's servers look every hundredth of a second whether they were told to end.

    By themselves they look twice a second, which each test of the DICOM node would wait for.
    """
    serve: Any = socketserver.BaseServer.serve_forever
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            socketserver.BaseServer, "serve_forever", lambda self, *_, **__: serve(self, 0.01)
        )
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the conformance models with its models.config."""
    from serving.conformance.models import write_models

    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.fixture(scope="session")
def server_process(models: Path) -> Iterator[Server]:
    """`cxr serve` in a process of its own. Nothing may be changed in it."""
    with running_server("--model-config-file", str(models / "models.config")) as running:
        yield running
        # SIGTERM is how it is asked to end.
        assert stop(running) == 0
        assert running.log.read_text().count("stopped") == 1


@pytest.fixture(scope="session")
def conformance_servable() -> Callable[[Path], Servable]:
    """Loads a conformance model, once for all files."""
    from serving.servables.loading import load_servable

    return functools.cache(load_servable)


@pytest.fixture(scope="module")
def server(
    models: Path, conformance_servable: Callable[[Path], Servable]
) -> Iterator[ThreadServer]:
    """A server in a thread, with limits that tests can reach. Nothing may be changed in it."""
    with server_in_thread(
        conformance_servable,
        config_file=models / "models.config",
        grpc_port=free_port(),
        limits=LIMITS,
    ) as running:
        yield running


def _transform(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    import tensorflow as tf

    from models.preprocessing import decode_and_resize

    def one(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.io.encode_png(decode_and_resize(image_bytes), compression=0)

    pngs = tf.map_fn(one, inputs[contract.IMAGE], fn_output_signature=tf.string)
    return {contract.TRANSFORMED_IMAGE: pngs}


@pytest.fixture(scope="session")
def images(golden: GoldenRun) -> list[bytes]:
    """Eight phantoms, of all classes."""
    files = sorted(golden.data.rglob("*.png"))
    return [file.read_bytes() for file in files[:: len(files) // 7]]


@pytest.fixture(scope="session")
def versions(
    golden: GoldenRun, images: Sequence[bytes], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Name -> SavedModel: the backbones, and what is put together from them."""
    import tensorflow as tf

    from models.combined_model import CombinedModel
    from models.preprocessing import decode_and_resize
    from models.rule import Rule
    from models.saved_functions import load_functions
    from models.signatures import export

    own = ("vgg16", "xception", "densenet121", "ensemble", "fusion", contract.CHAMPION)
    served = {"a": "xception", "b": "densenet121"} | {name: name for name in own}
    found = {name: latest_version(golden.layout.serving, model) for name, model in served.items()}
    # The golden run's passes on all images or none. This one asks the second model about half
    # of them. Held by a name: its functions don't keep its variables alive.
    first = load_functions(str(found["a"]), ("network",))
    pixels = tf.stack([tf.cast(decode_and_resize(data), tf.float32) for data in images])
    sure = first.network(pixels)[contract.HIERARCHICAL].numpy().max(axis=-1)
    rule = Rule("cascade", ("a", "b"), float(np.median(sure)), 0.9)
    members = {name: str(found[name]) for name in rule.members}
    found["cascade"] = tmp_path_factory.mktemp("versions") / "cascade"
    export(CombinedModel(_transform, rule, members, CLASSES, 0.4), str(found["cascade"]))
    return found


@pytest.fixture(scope="session")
def load_once() -> Callable[[str | Path], Any]:
    """Loads a SavedModel; each once for all files, by whatever name and from whatever copy."""
    return loader()


@pytest.fixture(scope="module")
def loaded_once(load_once: Callable[[str | Path], Any]) -> Iterator[None]:
    """Whoever loads a SavedModel gets it by `load_once`."""
    with everybody_loads_by(load_once):
        yield


Load = Callable[[str, Literal["tensorflow", "openvino"]], "TensorFlowServable"]


@pytest.fixture(scope="session")
def loaded(
    versions: dict[str, Path],
    load_once: Callable[[str | Path], Any],
    network_cache: Path,
) -> Load:
    """(name, engine) -> one of the versions, in memory, loaded once. OpenVINO's with float32.

    What is converted for them is in the network cache, where `cxr predict` finds it.
    """
    import tensorflow as tf

    from serving.networks.store import Store
    from serving.networks.versions import Networks
    from serving.servables.openvino_servable import OpenVinoServable
    from serving.servables.tensorflow_servable import TensorFlowServable

    networks = Networks(Store(network_cache))

    @functools.cache
    def call(name: str, engine: Literal["tensorflow", "openvino"]) -> TensorFlowServable:
        if engine == "openvino":
            return OpenVinoServable(versions[name], "f32", networks)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tf.saved_model, "load", load_once)
            return TensorFlowServable(versions[name])

    return call


def answers_of(version: Path, images: Sequence[bytes]) -> dict[str, np.ndarray]:
    """What TensorFlow answers by the SavedModel's graph, as TensorFlow Serving runs it."""
    from models.served_signature import served_signature

    with served_signature(str(version), contract.SIGNATURE_DEFAULT) as ask:
        return ask({contract.INPUT_IMAGES: np.array(images, object)})


@pytest.fixture(scope="session")
def expected(
    versions: dict[str, Path], images: Sequence[bytes]
) -> Callable[[str], dict[str, np.ndarray]]:
    """Name of a version -> what TensorFlow answers to `images`; the champion is a copy."""
    from serving.networks.store import version_key

    of_key: dict[str, dict[str, np.ndarray]] = {}

    def call(name: str) -> dict[str, np.ndarray]:
        key = version_key(versions[name])
        if key not in of_key:
            of_key[key] = answers_of(versions[name], images)
        return of_key[key]

    return call
