"""Which records Featurizer writes, what is in them, and that the files never differ."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import ml_metadata as mlmd
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.utils.shared import Shared
from tfx import v1 as tfx
from tfx.types import standard_artifacts

from components.featurizer import Featurizer, executor, spilling
from components.pretrained_backbone import PretrainedBackbone
from models import engines, prefix
from models.backbones import build_network, get_backbone
from models.boundary import load_frozen, load_network
from models.devices import Gpu
from models.engines import OPENVINO_BF16, OPENVINO_F32, TENSORFLOW
from models.feature_store import usage
from models.feature_store.store import point_to
from models.feature_store.stored_prefix import Source
from models.input_gate import facts_of
from models.planted import COUNT, digest_of, planted
from pipeline.config.beam import plan_beam
from schema import contract

CLASSES = (b"COVID-19", b"Normal", b"Viral Pneumonia")
SIDE = contract.IMAGE_SIZE
# Small enough that a few images make several shards.
FEW_IMAGES = 150_000

Splits = Mapping[str, Sequence[int]]
Records = dict[str, list[Any]]
Run = Callable[..., Path]


@pytest.fixture(autouse=True)
def nothing_planted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the images that are no radiographs, but where a test is about them."""
    if "planted" not in request.node.name:
        monkeypatch.setattr(executor, "_featurize_planted", lambda *_: None)


@pytest.fixture(scope="module", autouse=True)
def known_networks() -> Iterator[None]:
    """Build and convert a network once, however often it is loaded: it is in most tests the same.

    Each job compiles it anew. What counts loads, or forbids them, puts its own in their place.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix, "load_frozen", functools.cache(load_frozen))
        patch.setattr(engines, "converted", functools.cache(engines.converted))
        yield


def _pixels(number: int) -> np.ndarray:
    """Noise: unlike its mirror image, and its neighbours. -n is the mirror image of n."""
    noise = np.random.default_rng(abs(number)).integers(0, 256, (SIDE, SIDE, 1), np.uint8)
    return noise[:, ::-1] if number < 0 else noise


def _png(number: int) -> bytes:
    """Image `number` as Transform writes it."""
    png: bytes = tf.io.encode_png(_pixels(number), compression=0).numpy()
    return png


def _sha256(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).hexdigest().encode()


@functools.cache
def _record(number: int) -> bytes:
    """What Transform writes of image `number`."""
    label = abs(number) % len(CLASSES)
    fields = {
        contract.TRANSFORMED_IMAGE: _png(number),
        contract.LABEL_TEXT: CLASSES[label],
        contract.SHA256: _sha256(number),
        contract.GROUP: _sha256(abs(number)),
    }
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in fields.items()
    }
    features[contract.LABEL] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture(scope="module")
def backbone_dir(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: str) -> Path:
    """A Model artifact with weights."""
    root = tmp_path_factory.mktemp("backbone")
    folder = root / "Format-Serving"
    folder.mkdir()
    network = build_network(get_backbone(tiny_backbone))
    network.save_weights(folder / contract.BACKBONE_WEIGHTS_FILE)
    return root


def _write(root: Path, splits: Splits, files: int = 1) -> Any:
    """An Examples artifact with each split dealt to `files` files, as Transform writes it."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(root)
    artifact.split_names = json.dumps(list(splits))
    for split, numbers in splits.items():
        folder = root / f"Split-{split}"
        folder.mkdir(parents=True)
        for index in range(files):
            name = f"transformed_examples-{index:05d}-of-{files:05d}.gz"
            with tf.io.TFRecordWriter(str(folder / name), "GZIP") as writer:
                for number in numbers[index::files]:
                    writer.write(_record(number))
    return artifact


@pytest.fixture(scope="module")
def featurize(
    quick_beam: None,
    tmp_path_factory: pytest.TempPathFactory,
    backbone_dir: Path,
    tiny_backbone: str,
) -> Run:
    """(splits, settings…) → folder of the features; calls the executor by itself.

    `ran` is the engine that the artifact has to name.
    """

    def run(
        splits: Splits,
        *,
        files: int = 1,
        weights: Path = backbone_dir,
        boundary: str = "block2",
        ran: str = OPENVINO_F32,
        **properties: Any,
    ) -> Path:
        root = tmp_path_factory.mktemp("run")
        model, features = standard_artifacts.Model(), standard_artifacts.Examples()
        model.uri, features.uri = str(weights), str(root / "features")
        examples = _write(root / "examples", splits, files)
        executor.Executor().Do(
            {"examples": [examples], "model": [model]},
            {"features": [features]},
            {
                "backbone": tiny_backbone,
                "boundaries": json.dumps([boundary]),
                "taps": '["block1", "last"]',
                "augmentations": json.dumps(
                    {"train": ["identity", "mirror"], "eval": ["identity"], "test": ["identity"]}
                ),
                "engine": OPENVINO_F32,
                **properties,
            },
        )
        assert features.split_names == examples.split_names
        assert features.get_string_custom_property("engine") == ran
        return Path(features.uri)

    return run


def _files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def _leftovers(root: Path) -> list[str]:
    """What no reader should find: neither a dead worker's rest nor dealt records."""
    names = [path.name for path in root.iterdir()]
    return [n for n in names if not n.startswith("Split-") or "unfinished" in n]


def _read(root: Path, split: str) -> Iterator[Any]:
    files = sorted(map(str, (root / f"Split-{split}").iterdir()))
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        yield tf.train.Example.FromString(record).features.feature


def _by_key(root: Path, split: str) -> dict[tuple[bytes, str], Any]:
    """(sha256, augmentation) → record; fails where there are two."""
    found: dict[tuple[bytes, str], Any] = {}
    for fields in _read(root, split):
        augmentation = fields[contract.AUGMENTATION_NAME].bytes_list.value[0].decode()
        key = (fields[contract.SHA256].bytes_list.value[0], augmentation)
        assert key not in found
        found[key] = fields
    return found


def _array(fields: Any, name: str, dtype: str) -> np.ndarray:
    (raw,) = fields[contract.FEATURE_PREFIX + name].bytes_list.value
    return np.frombuffer(raw, dtype)


def _keys(numbers: Sequence[int], *augmentations: str) -> set[tuple[bytes, str]]:
    return {(_sha256(number), augmentation) for number in numbers for augmentation in augmentations}


def _features(root: Path, split: str) -> dict[tuple[bytes, str], dict[str, bytes]]:
    """(sha256, augmentation) → what is stored of its features."""
    return {
        key: {
            name: feature.bytes_list.value[0]
            for name, feature in fields.items()
            if name.startswith(contract.FEATURE_PREFIX)
        }
        for key, fields in _by_key(root, split).items()
    }


SPLITS: Splits = {"train": range(1, 11), "eval": range(11, 14), "test": range(14, 16)}


@dataclass(frozen=True)
class Sharded:
    """`SPLITS` at boundary `head`, in more shards than splits.

    Attributes:
        folder: of the features.
        loads: how often the prefix was loaded.
    """

    folder: Path
    loads: int


@pytest.fixture(scope="module")
def sharded(featurize: Run) -> Callable[[str], Sharded]:
    """Engine → what it made of `SPLITS`; each runs once."""
    done: dict[str, Sharded] = {}

    def call(engine: str) -> Sharded:
        if engine not in done:
            loaded = []

            def load(*job: Any) -> Any:
                loaded.append(job)
                return load_frozen(*job)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(prefix, "load_frozen", load)
                patch.setattr(executor, "_SHARD_BYTES", FEW_IMAGES)
                patch.setattr(engines, "has_bf16", lambda: True)
                folder = featurize(SPLITS, boundary="head", engine=engine, ran=engine)
            assert len(_files(folder)) > len(SPLITS), "one shard a split shows nothing"
            done[engine] = Sharded(folder, len(loaded))
        return done[engine]

    return call


@pytest.mark.slow
def test_the_node_writes_every_augmentation_of_train_and_the_image_alone_of_the_rest(
    tmp_path: Path, tiny_backbone: str, launch: Callable[..., Any]
) -> None:
    given_examples = _write(tmp_path / "examples", SPLITS, files=2)
    importer = tfx.dsl.Importer(
        source_uri=given_examples.uri,
        artifact_type=standard_artifacts.Examples,
        properties={"split_names": given_examples.split_names},
    ).with_id("Examples")
    backbone = PretrainedBackbone(
        backbone=tiny_backbone,
        weights_path=None,
        weights_label="random",
        weights_sha256="",
        seed=1,
        code_digest="",
    )
    featurizer = Featurizer(
        examples=importer.outputs["result"],
        model=backbone.outputs["model"],
        backbone=tiny_backbone,
        boundaries=["head"],
        taps=["block1", "last"],
        scaling=None,
        augmentations={
            "train": ["identity", "mirror"],
            "eval": ["identity", "mirror"],
            "test": ["identity"],
        },
        engine=OPENVINO_F32,
        engine_version="2026.4",
        code_digest="",
    )
    connection = launch(importer, backbone, featurizer)
    artifacts = mlmd.MetadataStore(connection).get_artifacts_by_type("Examples")
    (features,) = (a for a in artifacts if a.uri != given_examples.uri)
    assert json.loads(features.properties["split_names"].string_value) == list(SPLITS)
    assert features.custom_properties["engine"].string_value == OPENVINO_F32
    root = Path(features.uri)
    for split in ("train", "eval"):
        assert _by_key(root, split).keys() == _keys(SPLITS[split], "identity", "mirror")
    assert _by_key(root, "test").keys() == _keys(SPLITS["test"], "identity")
    assert _leftovers(root) == []


@pytest.mark.parametrize("engine", [OPENVINO_F32, TENSORFLOW])
def test_records_hold_the_features_and_whose_they_are(
    sharded: Callable[[str], Sharded], backbone_dir: Path, tiny_backbone: str, engine: str
) -> None:
    numbers = SPLITS["eval"]
    records = _by_key(sharded(engine).folder, "eval")
    network = load_network(tiny_backbone, None, "head", str(backbone_dir / "Format-Serving"))
    pixels = np.stack([_pixels(number) for number in numbers]).astype(np.float32)
    wanted = {name: tensor.numpy() for name, tensor in network.prefix(pixels).items()}
    assert wanted.keys() == {"block1", "last"}
    for row, number in enumerate(numbers):
        fields = records[_sha256(number), "identity"]
        label = number % len(CLASSES)
        assert set(fields) == {
            contract.AUGMENTATION_NAME, contract.LABEL, contract.LABEL_TEXT, contract.SHA256,
            contract.GROUP, *(contract.FEATURE_PREFIX + name for name in wanted),
            contract.FEATURE_PREFIX + contract.GATE_FACTS,
        }  # fmt: skip
        facts = _array(fields, contract.GATE_FACTS, "<f4")
        np.testing.assert_array_equal(facts, facts_of(_pixels(number)[np.newaxis])[0])
        assert fields[contract.LABEL].int64_list.value == [label]
        assert fields[contract.GROUP].bytes_list.value == [_sha256(abs(number))]
        assert fields[contract.LABEL_TEXT].bytes_list.value == [CLASSES[label]]
        for name, values in wanted.items():
            found = _array(fields, name, "<f4")
            np.testing.assert_allclose(found, values[row], rtol=1e-4, atol=1e-6)


def test_planted_images_stand_beside_the_splits(featurize: Run) -> None:
    root = featurize({"train": [1]}, boundary="head")
    (file,) = (root / contract.PLANTED).iterdir()
    kinds: dict[bytes, set[bytes]] = {}
    for record in tf.data.TFRecordDataset([str(file)]).as_numpy_iterator():
        fields = tf.train.Example.FromString(record).features.feature
        kind = fields[contract.LABEL_TEXT].bytes_list.value[0]
        kinds.setdefault(kind, set()).add(fields[contract.SHA256].bytes_list.value[0])
        assert len(_array(fields, "last", "<f4")) == 24
    expected = {
        kind.encode(): {digest_of(image).encode() for image in images}
        for kind, images in planted().items()
    }
    assert kinds == expected
    assert {len(digests) for digests in kinds.values()} == {COUNT}


def test_without_a_frozen_part_the_pixels_are_handed_on(featurize: Run) -> None:
    # There is nothing to compute, and so nothing for OpenVINO to do.
    root = featurize({"train": [1, 2]}, boundary="input", ran=TENSORFLOW)
    records = _by_key(root, "train")
    for number in (1, 2):
        for augmentation, turned in (("identity", number), ("mirror", -number)):
            found = _array(records[_sha256(number), augmentation], "map_input", "u1")
            np.testing.assert_array_equal(found.reshape(SIDE, SIDE, 1), _pixels(turned))


def test_the_mirror_augmentation_is_the_features_of_the_mirrored_image(featurize: Run) -> None:
    records = _by_key(featurize({"train": [3, -3]}), "train")

    def features(number: int, augmentation: str) -> np.ndarray:
        return _array(records[_sha256(number), augmentation], "map_block2", "<f2").astype(
            np.float32
        )

    np.testing.assert_allclose(features(3, "mirror"), features(-3, "identity"), atol=2e-3)
    np.testing.assert_allclose(features(3, "identity"), features(-3, "mirror"), atol=2e-3)
    assert np.abs(features(3, "mirror") - features(3, "identity")).max() > 0.1


def test_only_the_augmentations_asked_for(featurize: Run) -> None:
    root = featurize({"train": [1, 2]}, augmentations='{"train": ["identity"]}')
    assert _by_key(root, "train").keys() == _keys([1, 2], "identity")


def test_another_scaling_gives_other_features(
    featurize: Run, sharded: Callable[[str], Sharded]
) -> None:
    own = _features(sharded(OPENVINO_F32).folder, "eval")
    paper, same = (
        _features(featurize({"eval": SPLITS["eval"]}, boundary="head", scaling=scaling), "eval")
        for scaling in ("unit", "tf")
    )
    assert own == same
    assert all(own[key] != features for key, features in paper.items())


@pytest.mark.parametrize(
    "engine", [OPENVINO_F32, pytest.param(OPENVINO_BF16, marks=pytest.mark.long), TENSORFLOW]
)
def test_files_are_the_same_whatever_the_order_and_files_of_the_input(
    featurize: Run,
    sharded: Callable[[str], Sharded],
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = _files(sharded(engine).folder)
    monkeypatch.setattr(executor, "_SHARD_BYTES", FEW_IMAGES)
    monkeypatch.setattr(engines, "has_bf16", lambda: True)
    turned = {split: list(numbers)[::-1] for split, numbers in SPLITS.items()}
    again = featurize(turned, files=3, boundary="head", engine=engine, ran=engine)
    assert _files(again) == first


def test_with_openvino_neighbours_and_shards_leave_no_trace(
    featurize: Run, sharded: Callable[[str], Sharded]
) -> None:
    """The number of shards, and who is in one, follows from the size of the data."""
    alone = _features(featurize({"train": [7]}, boundary="head"), "train")
    together = _features(featurize({"train": SPLITS["train"]}, boundary="head"), "train")
    assert _features(sharded(OPENVINO_F32).folder, "train") == together
    assert alone.items() <= together.items()


def test_what_openvino_cannot_take_goes_through_tensorflow(
    featurize: Run, sharded: Callable[[str], Sharded], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("no translator found for op")

    wanted = _files(sharded(TENSORFLOW).folder)
    monkeypatch.setattr(engines, "converted", refuse)
    monkeypatch.setattr(executor, "_SHARD_BYTES", FEW_IMAGES)
    assert _files(featurize(SPLITS, boundary="head", ran=TENSORFLOW)) == wanted


def test_the_content_hash_decides_the_shard(sharded: Callable[[str], Sharded]) -> None:
    """Python's own hash would do within one process, but not on a cluster's workers."""
    seen = 0
    for path in sharded(OPENVINO_F32).folder.glob("Split-*/*"):
        _, index, _, shards = path.name.split("-")
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            fields = tf.train.Example.FromString(record).features.feature
            (digest,) = fields[contract.SHA256].bytes_list.value
            assert int(digest[:8], 16) % int(shards) == int(index)
            seen += 1
    assert seen == 2 * 10 + 3 + 2


@pytest.mark.parametrize(
    ("sizes", "shard_bytes"),
    [
        ((0, 0, 0), executor._SHARD_BYTES),
        ((2 * prefix.BATCH + 1, prefix.BATCH, 0), executor._SHARD_BYTES),
        ((20, 1, 9), FEW_IMAGES),
    ],
)
def test_no_image_is_lost(
    featurize: Run, sizes: tuple[int, ...], shard_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is none, no engine ran."""
    splits = {split: range(size) for split, size in zip(contract.SPLITS, sizes, strict=True)}
    monkeypatch.setattr(executor, "_SHARD_BYTES", shard_bytes)
    root = featurize(splits, boundary="head", ran=OPENVINO_F32 if any(sizes) else "none")
    for split, numbers in splits.items():
        augmentations = ("identity", "mirror") if split == contract.SPLIT_TRAIN else ("identity",)
        assert _by_key(root, split).keys() == _keys(numbers, *augmentations)
    assert _leftovers(root) == []


def test_the_prefix_is_loaded_once(sharded: Callable[[str], Sharded]) -> None:
    assert sharded(OPENVINO_F32).loads == 1


def test_records_that_are_dealt_in_many_portions_give_the_same_files(
    featurize: Run, sharded: Callable[[str], Sharded], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = _files(sharded(OPENVINO_F32).folder)
    monkeypatch.setattr(executor, "_SHARD_BYTES", FEW_IMAGES)
    monkeypatch.setattr(spilling, "_HELD_BYTES", FEW_IMAGES)
    assert _files(featurize(SPLITS, boundary="head")) == wanted


def test_a_gpu_takes_larger_batches(featurize: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    decode = executor.decode_transformed

    def noted(images: Sequence[Any]) -> tf.Tensor:
        sizes.append(len(images))
        return decode(images)

    monkeypatch.setattr(executor, "decode_transformed", noted)
    monkeypatch.setattr(prefix, "find_gpus", lambda: (Gpu("GPU:0", (9, 0)),))
    featurize({"eval": range(20)}, boundary="head", engine=TENSORFLOW, ran=TENSORFLOW)
    assert sizes == [20]
    # OpenVINO computes on the CPU.
    featurize({"eval": range(20)}, boundary="head", engine=OPENVINO_F32, ran=OPENVINO_F32)
    assert sizes == [20, 8, 8, 4]


def test_batches_become_as_small_as_the_devices_memory_asks_for(
    featurize: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some eight images a shard.
    monkeypatch.setattr(executor, "_SHARD_BYTES", 4 * FEW_IMAGES)
    wanted = featurize({"eval": range(24)}, boundary="head")
    assert len(_files(wanted)) > 2
    stream = prefix.Prefix.stream
    refused: list[int] = []
    taken: list[int] = []

    def little(self: prefix.Prefix, batches: Iterable[np.ndarray]) -> Iterator[Any]:
        def checked() -> Iterator[np.ndarray]:
            for batch in batches:
                if len(batch) > 3:
                    refused.append(len(batch))
                    raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
                taken.append(len(batch))
                yield batch

        return stream(self, checked())

    monkeypatch.setattr(prefix.Prefix, "stream", little)
    root = featurize({"eval": range(24)}, boundary="head")
    # Not once a shard: a worker remembers.
    assert len(refused) == 2
    assert max(taken) == 2
    assert _files(root) == _files(wanted)
    assert _leftovers(root) == []


def test_what_no_device_can_hold_is_an_error(
    featurize: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: prefix.Prefix, batches: Iterable[np.ndarray]) -> Iterator[Any]:
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

    monkeypatch.setattr(prefix.Prefix, "stream", none)
    with pytest.raises(Exception, match="out of memory"):
        featurize({"eval": range(9)}, boundary="head")


@dataclass(frozen=True)
class Filled:
    """A store with the features of `SPLITS` at boundary `head`; no test may change it.

    Attributes:
        store: its folder.
        files: what was written by the run that filled it.
    """

    store: Path
    files: dict[str, bytes]

    def copied(self, folder: Path) -> str:
        """Copy the store to a folder that isn't there, and return its name."""
        return str(shutil.copytree(self.store, folder))


@pytest.fixture(scope="module")
def filled(featurize: Run, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """Such a store."""
    store = tmp_path_factory.mktemp("filled") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "_featurize_planted", lambda *_: None)
        return Filled(store, _files(featurize(SPLITS, boundary="head", store=str(store))))


@pytest.mark.parametrize("boundary", ["head", "block2"])
def test_with_a_store_the_records_are_the_same_and_another_split_computes_nothing(
    featurize: Run, tmp_path: Path, computed: list[int], boundary: str
) -> None:
    store = str(tmp_path / "store")
    wanted = _files(featurize(SPLITS, boundary=boundary))
    computed.clear()
    assert _files(featurize(SPLITS, boundary=boundary, store=store)) == wanted
    # Ten images and their mirror images, and five as they are.
    assert sum(computed) == 25
    computed.clear()
    assert _files(featurize(SPLITS, boundary=boundary, store=store)) == wanted
    other = {"train": SPLITS["train"][:8], "eval": [14, 1, 11], "test": [12, 9, 10]}
    found = featurize(other, boundary=boundary, store=store)
    assert computed == []
    assert _files(found) == _files(featurize(other, boundary=boundary))


def test_only_what_is_new_goes_through_the_network(
    featurize: Run, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "_SHARD_BYTES", FEW_IMAGES)
    store = str(tmp_path / "store")
    featurize({"eval": range(1, 9)}, boundary="head", store=store)
    computed.clear()
    decoded: list[bytes] = []
    decode = executor.decode_transformed

    def noted(images: Sequence[bytes]) -> tf.Tensor:
        decoded.extend(images)
        return decode(images)

    monkeypatch.setattr(executor, "decode_transformed", noted)
    more = featurize({"eval": range(1, 12), "train": [1, 2]}, boundary="head", store=store)
    # For its name in the store, for the network and for the gate: an image of a split once.
    ours = [_png(number) for number in range(1, 12)]
    assert sum(decoded.count(png) for png in ours) == 13
    # Images 9, 10 and 11; and the mirror images of 1 and 2.
    assert sum(computed) == 5
    plain = featurize({"eval": range(1, 12), "train": [1, 2]}, boundary="head")
    assert _files(more) == _files(plain)


def test_where_all_is_there_no_network_is_loaded(
    featurize: Run, filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled.copied(tmp_path / "store")
    monkeypatch.delattr(prefix, "load_frozen")
    assert _files(featurize(SPLITS, boundary="head", store=store)) == filled.files


def test_other_weights_taps_or_scaling_share_nothing(
    featurize: Run, tmp_path: Path, tiny_backbone: str, computed: list[int]
) -> None:
    store = str(tmp_path / "store")
    network = build_network(get_backbone(tiny_backbone))
    (tmp_path / "Format-Serving").mkdir()
    network.save_weights(tmp_path / "Format-Serving" / contract.BACKBONE_WEIGHTS_FILE)
    for changed in ({}, {"weights": tmp_path}, {"taps": '["last"]'}, {"scaling": "unit"}):
        computed.clear()
        featurize({"eval": [1, 2]}, **{"boundary": "head", "store": store, **changed})
        assert sum(computed) == 2, changed
    # The same, said in other words.
    computed.clear()
    featurize({"eval": [1, 2]}, boundary="head", store=store, scaling="tf")
    featurize({"eval": [1, 2]}, boundary="head", store=store, taps='["last", "block1"]')
    assert computed == []
    networks = usage.look(store)
    assert [network.images for network in networks] == [2] * 4


def test_what_tensorflow_computed_instead_is_not_kept_under_openvinos_name(
    featurize: Run, sharded: Callable[[str], Sharded], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refuse(*_: Any) -> None:
        raise RuntimeError("no translator found for op")

    wanted = _files(sharded(TENSORFLOW).folder)
    monkeypatch.setattr(executor, "_SHARD_BYTES", FEW_IMAGES)
    store = tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(engines, "converted", refuse)
        assert (
            _files(featurize(SPLITS, boundary="head", ran=TENSORFLOW, store=str(store))) == wanted
        )
    assert not list(store.rglob("*.data"))
    own = _files(featurize(SPLITS, boundary="head", store=str(store)))
    assert own == _files(sharded(OPENVINO_F32).folder)


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "index"])
def test_what_is_damaged_is_computed_again(
    featurize: Run, filled: Filled, tmp_path: Path, computed: list[int], damage: str
) -> None:
    wanted, store = filled.files, Path(filled.copied(tmp_path / "store"))
    victim = max(store.rglob("*.data"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "flipped":
        victim.write_bytes(content)
    elif damage == "cut":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "gone":
        victim.unlink()
    else:
        victim.with_suffix(".index").write_bytes(b"cxr-features-1")
    computed.clear()
    assert _files(featurize(SPLITS, boundary="head", store=str(store))) == wanted
    assert sum(computed) == {"flipped": 1, "cut": 10, "gone": 20, "index": 20}[damage]
    computed.clear()
    assert _files(featurize(SPLITS, boundary="head", store=str(store))) == wanted
    # Those that were read before the damage was found.
    assert sum(computed) <= 10
    computed.clear()
    assert _files(featurize(SPLITS, boundary="head", store=str(store))) == wanted
    assert computed == []


def test_a_relative_store_lies_beside_the_artifacts_and_may_point_elsewhere(tmp_path: Path) -> None:
    uri = str(tmp_path / "artifacts" / "Featurizer.tiny" / "features" / "7")
    beside = tmp_path / "features"
    assert executor._place_of_store("../features", uri) == str(beside)
    point_to(str(beside), "gs://bucket/features")
    assert executor._place_of_store("../features", uri) == "gs://bucket/features"
    point_to(str(beside), None)
    assert executor._place_of_store("../features", uri) == str(beside)
    assert executor._place_of_store("gs://other", uri) == "gs://other"
    assert executor._place_of_store(None, uri) is None


# Not beside others: under pytest-xdist, Beam waited for ever for its worker processes.
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.alone
def test_each_worker_process_loads_the_prefix_once_and_computes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of VGG16, since the tiny backbone is in no other process's table."""
    monkeypatch.setattr(executor, "_SHARD_BYTES", FEW_IMAGES)
    row = get_backbone("vgg16")
    weights = tmp_path / "backbone"
    weights.mkdir()
    build_network(row).save_weights(weights / contract.BACKBONE_WEIGHTS_FILE)
    job = prefix.Job("vgg16", None, ("head",), str(weights), row.head_taps, OPENVINO_F32)
    _write(tmp_path / "examples", {"eval": range(10)})
    files, loaded = {}, {}
    for way in ("direct", "multi:2"):
        target, spilled = tmp_path / way / "features", tmp_path / way / "spilled"
        target.mkdir(parents=True)
        spilled.mkdir()
        pipeline = beam.Pipeline(argv=[o.argument for o in plan_beam(way).options[1:]])
        _ = pipeline | executor.FeaturizeSplit(
            str(tmp_path / "examples" / "Split-eval"),
            str(target),
            str(spilled),
            ["identity"],
            Source(job, None),
            Shared(),
        )
        result = pipeline.run()
        result.wait_until_finish()
        files[way], loaded[way] = _files(target), executor.loads(result)
    assert len(files["direct"]) > 2, "no more shards than workers show nothing"
    assert files["multi:2"] == files["direct"]
    assert loaded["direct"] == 1
    assert 1 <= loaded["multi:2"] <= 2


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize(
    ("kernel", "boundary", "name"), [(1e6, "block2", "map_block2"), (1e30, "head", "last")]
)
def test_what_does_not_fit_the_stored_type_stops_the_run(
    tmp_path: Path, tiny_backbone: str, featurize: Run, kernel: float, boundary: str, name: str
) -> None:
    network = build_network(get_backbone(tiny_backbone))
    network.set_weights([np.full_like(array, kernel) for array in network.get_weights()])
    (tmp_path / "Format-Serving").mkdir()
    network.save_weights(tmp_path / "Format-Serving" / contract.BACKBONE_WEIGHTS_FILE)
    with pytest.raises(FloatingPointError, match=f"features {name}: .*move the boundary"):
        featurize({"train": [1, 2]}, weights=tmp_path, boundary=boundary)
