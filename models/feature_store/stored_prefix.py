"""A frozen prefix with a store in front of it: images -> features, computed where they are new."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from models.backbones import BOUNDARY_INPUT
from models.engines import TENSORFLOW
from models.feature_store.keys import image_key, network_facts, network_key
from models.feature_store.parts import Entry, PartReader, set_aside
from models.feature_store.store import NetworkStore
from models.prefix import Job, Plan, Prefix, planned

# Feature's name -> raw little-endian bytes of its array, as records hold them.
Features = dict[str, bytes]


class ReplannedError(Exception):
    """The network runs on another engine, or in other batches, than was planned: start again."""


class Source:
    """The part of a stored prefix that is the same for all workers.

    Attributes:
        job: the prefix.
        root: folder or URI of the store; None where there is none.
        facts: of `network_facts`.
    """

    def __init__(
        self,
        job: Job,
        root: str | None,
        engine_version: str = "",
        *,
        whatever_engine: bool = False,
    ) -> None:
        """Read the weights, where there is a store.

        Args:
            job: the prefix.
            root: of the store; None for none.
            engine_version: of the package behind the job's engine.
            whatever_engine: keep TensorFlow's features, too, whose last digits depend on the
                images that went through the network beside: those that came first stay.
        """
        self.job = job
        self._whatever_engine = whatever_engine
        # At the input there is nothing to compute.
        self.root = None if set(job.boundaries) == {BOUNDARY_INPUT} else root
        self.facts: Mapping[str, Any] = (
            {} if self.root is None else network_facts(job, engine_version)
        )

    def network(self, plan: Plan) -> NetworkStore | None:
        """Return the place for what a plan computes."""
        if self.root is None or (plan.engine == TENSORFLOW and not self._whatever_engine):
            return None
        return NetworkStore(self.root, network_key(self.facts, plan))


class StoredPrefix:
    """A prefix that runs for those images alone whose features aren't there.

    Attributes:
        plan: what runs it: before it is loaded, what probably does.
        there, computed: of how many images (in an augmentation) the last stream found features,
            and of how many it computed them.
    """

    def __init__(self, source: Source, load: Callable[[], Prefix] | None = None) -> None:
        """Load nothing yet.

        Args:
            source: what it is made of.
            load: makes the prefix, or finds the one that this process has.
        """
        self._source = source
        self._load = load or (lambda: Prefix(source.job))
        self._prefix: Prefix | None = None
        self.plan = planned(source.job)
        self.there = 0
        self.computed = 0
        self._damaged: set[str] = set()

    @property
    def network(self) -> NetworkStore | None:
        """The place of what the plan computes; None without a store."""
        return self._source.network(self.plan)

    def shrink_batch(self) -> bool:
        """Halves the batch, for a device that can't hold as many; False where it is 1 already."""
        shrunk = self._loaded().shrink_batch()
        self.plan = self._loaded().plan
        return shrunk

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """List by index which of some images' keys aren't there; none without a store."""
        network = self.network
        if network is None:
            return []
        found = network.find(set(keys))
        return [index for index, key in enumerate(keys) if key not in found]

    def stream(
        self,
        count: int,
        pixels: Callable[[int], np.ndarray],
        keys: Sequence[Sequence[bytes]] | None = None,
    ) -> Iterator[tuple[int, list[Features]]]:
        """Look features up, and compute and keep those that aren't there.

        Args:
            count: of steps.
            pixels: step -> uint8 [n, 256, 256, 1], augmented; asked twice for what is missing.
            keys: step -> `image_key` of each image, where they are known: then nobody asks for the
                pixels of what is there.

        Yields:
            Step by step, in order: the step, and the features of each of its images.

        Raises:
            ReplannedError: the plan was wrong, and is right now. What came before is right, but
                not of the same engine, or not in the same order as what would follow.
            InputError: nothing can be written to the store.
            FloatingPointError: an activation doesn't fit the stored dtype.
        """
        self.there = self.computed = 0
        network = self.network
        if network is None:
            prefix = self._checked()
            for step, features in enumerate(prefix.stream(map(pixels, range(count)))):
                rows = list(_rows(features))
                self.computed += len(rows)
                yield step, rows
            return
        if keys is None:
            keys = [list(map(image_key, pixels(step))) for step in range(count)]
        found = network.find({key for of_step in keys for key in of_step})
        missing = [[row for row, key in enumerate(each) if key not in found] for each in keys]
        new = self._computed(missing, pixels) if any(missing) else iter(())
        with network.writer() as writer, PartReader() as reader:
            for step, of_step in enumerate(keys):
                features_of_step = []
                for row, key in enumerate(of_step):
                    entry = found.get(key)
                    content = None if entry is None else self._read(reader, entry)
                    if entry is None:
                        one = next(new)
                    elif content is None:
                        one = self._again(pixels(step)[row : row + 1])
                    else:
                        one = _unpacked(content)
                    if content is None:
                        self.computed += 1
                    else:
                        self.there += 1
                    if entry is None or entry.part in self._damaged:
                        # What is whole in a damaged part moves on to a new one.
                        writer.add(key, _packed(one))
                    features_of_step.append(one)
                yield step, features_of_step

    def _read(self, reader: PartReader, entry: Entry) -> bytes | None:
        content = reader.read(entry)
        if content is None and entry.part not in self._damaged:
            self._damaged.add(entry.part)
            set_aside(entry.part)
        return content

    def _computed(
        self, missing: Sequence[Sequence[int]], pixels: Callable[[int], np.ndarray]
    ) -> Iterator[Features]:
        """Compute some rows of some steps, in order, in batches across the steps."""
        prefix = self._checked()

        def batches() -> Iterator[np.ndarray]:
            waiting: list[np.ndarray] = []
            for step, rows in enumerate(missing):
                if rows:
                    waiting += list(pixels(step)[rows])
                while len(waiting) >= prefix.batch:
                    yield np.stack(waiting[: prefix.batch])
                    del waiting[: prefix.batch]
            if waiting:
                yield np.stack(waiting)

        for features in prefix.stream(batches()):
            yield from _rows(features)

    def _again(self, pixels: np.ndarray) -> Features:
        (features,) = _rows(self._checked()(pixels))
        return features

    def _loaded(self) -> Prefix:
        if self._prefix is None:
            self._prefix = self._load()
        return self._prefix

    def _checked(self) -> Prefix:
        """Return the prefix, which runs as planned.

        Raises:
            ReplannedError: it doesn't.
        """
        prefix = self._loaded()
        if prefix.plan != self.plan:
            self.plan = prefix.plan
            raise ReplannedError
        return prefix


def _rows(features: Mapping[str, np.ndarray]) -> Iterator[Features]:
    """Take a batch apart."""
    count = len(next(iter(features.values())))
    for row in range(count):
        yield {
            name: np.ascontiguousarray(values[row]).tobytes() for name, values in features.items()
        }


def _packed(features: Features) -> bytes:
    fields = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[raw]))
        for name, raw in features.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=fields))
    content: bytes = example.SerializeToString(deterministic=True)
    return content


def _unpacked(content: bytes) -> Features:
    fields = tf.train.Example.FromString(content).features.feature
    return {name: field.bytes_list.value[0] for name, field in fields.items()}
