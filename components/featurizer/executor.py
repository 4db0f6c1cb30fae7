"""Runs the frozen prefix over every image, in Beam, a shard at a time."""

from __future__ import annotations

import functools
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf
from absl import logging
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.utils.shared import Shared
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from common.progress import Progress
from components.featurizer.planted import write_planted
from components.featurizer.spilling import Segment, Spill, read_segments
from models import feature_records
from models.augmentation_names import IDENTITY
from models.augmentations import augmented
from models.feature_store import usage
from models.feature_store.store import place_of
from models.feature_store.stored_prefix import ReplannedError, Source, StoredPrefix
from models.input_gate import facts_of
from models.prefix import Job, Prefix, planned
from models.preprocessing import decode_transformed
from schema import contract, inputs
from schema.inputs import Input, Tensor
from schema.table import TABLE_PROPERTY, from_json

# Of transformed records as they are stored, gzipped: 30 KB each (measured), so a shard has about
# 1,100 images, and at most half as many more, whose PNG and pixels, 65 KB each, a worker holds.
_SHARD_BYTES = 32 << 20
# Namespace of the counters by which the workers tell what ran the prefix.
_METRICS = "featurizer.engine"
# Namespace and name of the counter of how often a worker loaded the prefix.
_LOADS = "featurizer.prefix"
_LOADED = "loaded"
# Namespace of the counters of features that were there and of those that were computed, and of
# the networks in the store that they are of.
_STORE = "featurizer.store"
_THERE, _COMPUTED = "there", "computed"
_NETWORKS = "featurizer.network"


class _Image(NamedTuple):
    sha256: bytes
    class_name: bytes
    label: int
    group: bytes
    png: bytes
    for_heads: dict[str, np.ndarray]


class Executor(base_beam_executor.BaseBeamExecutor):
    """The executor that writes one Examples artifact with the splits of its input.

    Records are dealt to shards by their content hash and sorted within, so the files don't
    depend on the Beam runner, its workers, or the order of the input. (Their number follows
    from the input's stored size.)
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Featurize every split."""
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        features = artifact_utils.get_single_instance(output_dict["features"])
        features.split_names = examples.split_names
        job = Job(
            exec_properties["backbone"],
            exec_properties.get("scaling"),
            tuple(json.loads(exec_properties["boundaries"])),
            path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"])),
            tuple(json.loads(exec_properties["taps"])),
            exec_properties["engine"],
        )
        augmentations = json.loads(exec_properties["augmentations"])
        columns = from_json(exec_properties.get(TABLE_PROPERTY))
        straight = (*inputs.for_heads(), *inputs.of_columns(columns))
        store = _place_of_store(exec_properties.get("store"), features.uri)
        source = Source(job, store, exec_properties.get("engine_version", ""))
        if (network := source.network(planned(job))) and store:
            # Before anything is read: so nobody clears it away meanwhile.
            usage.note(store, features.uri, [network.name])
        shared = Shared()
        spilled = os.path.join(features.uri, "_spilled")
        tf.io.gfile.makedirs(spilled)
        try:
            with self._make_beam_pipeline() as pipeline:
                for split in artifact_utils.decode_split_names(examples.split_names):
                    examples_of = artifact_utils.get_split_uri([examples], split)
                    target = artifact_utils.get_split_uri([features], split)
                    tf.io.gfile.makedirs(target)
                    _ = pipeline | f"Featurize[{split}]" >> FeaturizeSplit(
                        examples_of,
                        target,
                        spilled,
                        augmentations[split],
                        source,
                        shared,
                        straight,
                    )
                _featurize_planted(pipeline, features.uri, spilled, source, shared, straight)
        finally:
            tf.io.gfile.rmtree(spilled)
        features.set_string_custom_property("engine", _engines_used(pipeline.result))
        logging.info("%s was loaded %d times", job.backbone, loads(pipeline.result))
        if source.root is not None:
            _finish_with_store(source.root, features.uri, job, pipeline.result)


class FeaturizeSplit(beam.PTransform):
    """Transformed TFRecords of one split -> feature TFRecords."""

    def __init__(
        self,
        source: str,
        target: str,
        spilled: str,
        augmentations: Sequence[str],
        prefix: Source,
        shared: Shared,
        straight: Sequence[Input] = (),
        *,
        counts: bool = True,
    ) -> None:
        """Keep what the workers need.

        Args:
            source: folder of the split's transformed records.
            target: folder of the split's features.
            spilled: folder for the records while they are dealt to shards.
            augmentations: names of those to write of each image.
            prefix: what is frozen, and where its features are kept.
            shared: handle under which a worker keeps one prefix for all splits.
            straight: inputs that are handed on as they are, to go straight to a head.
            counts: whether its images are among those that the run speaks of.
        """
        super().__init__()
        self._source = source
        self._spilled = spilled
        taken = tuple(each.transformed for each in straight)
        self._write = _WriteShard(target, tuple(augmentations), prefix, shared, taken, counts)

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Read, deal, and write."""
        pattern = os.path.join(self._source, "*")
        stored = sum(tf.io.gfile.stat(f).length for f in tf.io.gfile.glob(pattern))
        shards = max(1, round(stored / _SHARD_BYTES))
        self._write.shards = shards
        return (
            pipeline
            | "Read" >> beam.io.ReadFromTFRecord(pattern)
            | "Deal" >> beam.ParDo(Spill(self._spilled, shards))
            | "Gather" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(self._write)
        )


class _WriteShard(beam.DoFn):
    """The step that featurizes one shard's images, writes its file and yields the record count."""

    def __init__(
        self,
        target: str,
        augmentations: Sequence[str],
        prefix: Source,
        shared: Shared,
        straight: Sequence[Tensor],
        counts: bool,
    ) -> None:
        super().__init__()
        self._straight = straight
        self._counts = counts
        self._target = target
        self._augmentations = augmentations
        self._source = prefix
        self._shared = shared
        self.shards = 1

    def setup(self) -> None:
        """Prepare the prefix, which is loaded once a worker process, where it is needed."""
        self._loads = 0
        self._prefix = StoredPrefix(self._source, self._acquire)

    def _acquire(self) -> Prefix:
        prefix: Prefix = self._shared.acquire(self._load, tag=json.dumps(self._source.job))
        return prefix

    def _load(self) -> Prefix:
        self._loads += 1
        return Prefix(self._source.job)

    def process(self, shard: tuple[int, Iterable[Segment]]) -> Iterator[int]:
        """Write to a temporary name first, so that a retried bundle does no harm."""
        index, segments = shard
        images = sorted(
            (_parse(record, self._straight) for record in read_segments(segments)),
            key=lambda image: image.sha256,
        )
        path = os.path.join(self._target, f"features-{index:05d}-of-{self.shards:05d}")
        # Beside the split's folder, where no reader takes a dead worker's rest for records.
        unfinished = f"{self._target}.{index:05d}.{uuid.uuid4().hex}.unfinished"
        try:
            written = self._write_fitting(unfinished, images, self._part(index))
            tf.io.gfile.rename(unfinished, path, overwrite=True)
        except BaseException:
            if tf.io.gfile.exists(unfinished):
                tf.io.gfile.remove(unfinished)
            raise
        self._count()
        yield written

    def _count(self) -> None:
        """Tell what the shard took."""
        if self._counts:
            Metrics.counter(_METRICS, self._prefix.plan.engine).inc()
        Metrics.counter(_LOADS, _LOADED).inc(self._loads)
        self._loads = 0
        network = self._prefix.network
        if network is not None and self._counts:
            Metrics.counter(_NETWORKS, network.name).inc()
            Metrics.counter(_STORE, _THERE).inc(self._prefix.there)
            Metrics.counter(_STORE, _COMPUTED).inc(self._prefix.computed)

    def _part(self, index: int) -> str:
        """Say which images a shard's are."""
        split = os.path.basename(self._target).removeprefix("Split-")
        part = f", part {index + 1} of {self.shards}" if self.shards > 1 else ""
        return f"{split} images{part}"

    def _write_fitting(self, path: str, images: Sequence[_Image], what: str) -> int:
        """Write; where the device's memory runs out, start again in batches of half the size.

        A smaller size stays for the worker's further shards.
        """
        while True:
            try:
                return self._write(path, images, Progress(what, len(images)))
            except ReplannedError:
                # Once: the plan is what runs now.
                logging.info("%s now runs on %s", self._source.job.backbone, self._prefix.plan)
            except tf.errors.ResourceExhaustedError:
                before = self._prefix.plan.batch
                if not self._prefix.shrink_batch():
                    raise
                logging.warning(
                    "The device can't hold %d images at once; going on with %d.",
                    before,
                    self._prefix.plan.batch,
                )

    def _write(self, path: str, images: Sequence[_Image], progress: Progress) -> int:
        size = self._prefix.plan.batch
        batches = [images[start : start + size] for start in range(0, len(images), size)]

        @functools.cache
        def decoded(number: int) -> tf.Tensor:
            # Asked for before a batch runs, for its names in the store, and when it does.
            return decode_transformed([image.png for image in batches[number]])

        keys = [(number, each) for number in range(len(batches)) for each in self._augmentations]

        def pixels(step: int) -> np.ndarray:
            number, augmentation = keys[step]
            found: np.ndarray = augmented(decoded(number), augmentation).numpy()
            return found

        written = 0
        with tf.io.TFRecordWriter(path) as writer:
            for step, features in self._prefix.stream(len(keys), pixels):
                number, augmentation = keys[step]
                if augmentation == IDENTITY:
                    features = [
                        {**of_image, contract.GATE_FACTS: facts.tobytes()}
                        for of_image, facts in zip(
                            features, facts_of(decoded(number).numpy()), strict=True
                        )
                    ]
                for image, of_image in zip(batches[number], features, strict=True):
                    writer.write(_record(image, augmentation, of_image))
                    written += 1
                if augmentation == self._augmentations[-1]:
                    progress.advance(len(batches[number]))
        return written


def _record(image: _Image, augmentation: str, features: Mapping[str, bytes]) -> bytes:
    return feature_records.serialize(
        {**features, **image.for_heads},
        augmentation=augmentation,
        label=image.label,
        class_name=image.class_name,
        sha256=image.sha256,
        group=image.group,
    )


def _featurize_planted(
    pipeline: beam.Pipeline,
    uri: str,
    spilled: str,
    prefix: Source,
    shared: Shared,
    straight: Sequence[Input],
) -> None:
    """Add images that are no radiographs: for a figure in the card, nothing is fitted to them."""
    source = os.path.join(spilled, contract.PLANTED)
    write_planted(source, [each.transformed for each in straight])
    target = os.path.join(uri, contract.PLANTED)
    tf.io.gfile.makedirs(target)
    _ = pipeline | "Featurize[planted]" >> FeaturizeSplit(
        source, target, spilled, [IDENTITY], prefix, shared, straight, counts=False
    )


def _place_of_store(given: str | None, features_uri: str) -> str | None:
    """Return the store's folder or URI.

    Args:
        given: None for none. What is relative begins where the pipeline's artifacts lie: so the
            property, and with it TFX's cache key, is the same wherever that is.
        features_uri: <artifacts>/<node>/<key>/<number>.
    """
    if given is None:
        return None
    artifacts = os.path.join(features_uri, *[os.pardir] * 3)
    # A URI or an absolute path stays what it is.
    absolute = given if "://" in given else os.path.normpath(os.path.join(artifacts, given))
    return place_of(absolute)


def _finish_with_store(store: str, features_uri: str, job: Job, result: Any) -> None:
    """Say what was there, and note which networks were read."""
    counts = {
        counter.key.metric.name: counter.committed
        for counter in result.metrics().query(MetricsFilter().with_namespace(_STORE))["counters"]
    }
    there = counts.get(_THERE, 0)
    every = there + counts.get(_COMPUTED, 0)
    logging.info("%s: %d of %d images' features were in %s", job.backbone, there, every, store)
    networks = result.metrics().query(MetricsFilter().with_namespace(_NETWORKS))["counters"]
    if names := [counter.key.metric.name for counter in networks]:
        usage.note(store, features_uri, names)


def _engines_used(result: Any) -> str:
    """Name the engines that the workers counted shards for; "none" without images."""
    counters = result.metrics().query(MetricsFilter().with_namespace(_METRICS))["counters"]
    return ", ".join(sorted({counter.key.metric.name for counter in counters})) or "none"


def loads(result: Any) -> int:
    """Count how often the workers together loaded the prefix."""
    wanted = MetricsFilter().with_namespace(_LOADS).with_name(_LOADED)
    return sum(counter.committed for counter in result.metrics().query(wanted)["counters"])


def _parse(record: bytes, straight: Sequence[Tensor]) -> _Image:
    fields = tf.train.Example.FromString(record).features.feature
    return _Image(
        sha256=fields[contract.SHA256].bytes_list.value[0],
        class_name=fields[contract.LABEL_TEXT].bytes_list.value[0],
        label=fields[contract.LABEL].int64_list.value[0],
        group=fields[contract.GROUP].bytes_list.value[0],
        png=fields[inputs.for_backbones().transformed.name].bytes_list.value[0],
        for_heads={
            one.name: np.array(fields[one.name].float_list.value, one.dtype).reshape(one.shape)
            for one in straight
        },
    )
