"""Versions on OpenVINO: from the stores where they were converted before, else converted now."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from absl import logging

from serving.networks.conversion import (
    Converted,
    NotConvertibleError,
    choose,
    convert_version,
    engines_for,
)
from serving.networks.front import load_front, write_front
from serving.networks.places import beside
from serving.networks.plan import Choice, ConvertedVersion, PartName, Plan, engine_of
from serving.networks.probes import Answers
from serving.networks.running import Network, Trunks
from serving.networks.store import DamagedError, Store, choice_key, version_key

Reads = Callable[[PartName], Any]


@dataclass(frozen=True)
class RunningVersion:
    """A version's parts.

    Attributes:
        engine: what runs its network.
        front: has its `preprocess` and `answer`.
        plan: by which the engine was put together.
        read: a part of it -> its `openvino.Model`.
    """

    engine: Network
    front: Any
    plan: Plan
    read: Callable[[PartName], Any]


class Networks:
    """The networks of all versions that are served, each in memory once.

    Any number of threads may call `load`.
    """

    def __init__(self, store: Store | None = None) -> None:
        """Begin without any.

        Args:
            store: this program's own, on disk; none is kept where None. What a push left beside the
                models is read in either case.
        """
        self.trunks = Trunks()
        self._store = store
        self._answers = Answers()
        # A conversion takes a core, and hundreds of megabytes.
        self._converting = threading.Lock()
        # Trunks that several versions share are asked about the probes once.
        self._choosing = threading.Lock()

    def load(self, directory: Path, precision: str) -> RunningVersion:
        """Load a version.

        Args:
            directory: its folder.
            precision: `bf16`, `f32` or `auto`.

        Raises:
            NotConvertibleError: it is none of this project's, can't be loaded, or OpenVINO can't
                take it.
        """
        key = _key(directory)
        stores = [self._store, Store(beside(directory), of_pushes=True)]
        kept = self._kept(key, stores, directory, precision)
        if kept is not None:
            return kept
        with self._converting:
            # A copy of a model, such as the champion, may have been converted meanwhile.
            kept = self._kept(key, stores[:1], directory, precision)
            if kept is not None:
                return kept
            converted = convert_version(directory, self.trunks, self._answers, self._store)
            if key and self._store and keep(self._store, key, converted):
                kept = self._kept(key, stores[:1], directory, precision)
            if kept is not None:
                return kept
        try:
            read = converted.reader(self._store)
            version, front = converted.version, converted.front
            return self._running(key, version, read, front, directory, precision)
        except NotConvertibleError:
            raise
        # OpenVINO has no class of its own.
        except Exception as error:
            raise NotConvertibleError(f"{directory}: {error}") from error

    def _kept(
        self, key: str | None, stores: list[Store | None], directory: Path, precision: str
    ) -> RunningVersion | None:
        """Load a version from the first store that has it whole; None where none has."""
        for store in stores:
            if store is None or key is None:
                continue
            try:
                version = store.version(key)
                if version is None:
                    continue
                front = load_front(store.front(key))
                return self._running(key, version, store.read, front, directory, precision)
            except NotConvertibleError:
                raise
            except (DamagedError, OSError) as error:
                logging.warning("a converted network is damaged, and is made again: %s", error)
            # What OpenVINO, which has no class of its own, can't compile any more.
            except Exception as error:
                logging.warning("a converted network can't be used, and is made again: %s", error)
            store.forget(key)
        return None

    def _running(
        self,
        key: str | None,
        version: ConvertedVersion,
        read: Reads,
        front: Any,
        directory: Path,
        precision: str,
    ) -> RunningVersion:
        # Held until it serves: what is compiled to choose by isn't compiled again.
        held = [
            self.trunks.get(part.key, part.outputs, partial(read, part)) for part in version.trunks
        ]
        plan = version.plan(self._choice(key, version, read, directory, precision))
        engine = engine_of(plan, read, self.trunks)
        del held
        return RunningVersion(engine, front, plan, read)

    def _choice(
        self,
        key: str | None,
        version: ConvertedVersion,
        read: Reads,
        directory: Path,
        precision: str,
    ) -> Choice:
        """Choose the engine, or read what was chosen on such a machine before."""
        store, named = self._store, None if key is None else choice_key(key, precision)
        known = store.choice(named) if store and named else None
        if known is not None:
            return known
        (name, *_) = engines_for(precision)
        with self._choosing:
            if store:
                for trunk in version.trunks:
                    self._answers.take(store, trunk.key, trunk.outputs, name, anywhere=False)
            choice = choose(version, read, self.trunks, self._answers, directory, precision)
            if store and named:
                store.write_choice(named, choice)
                for trunk in version.trunks:
                    self._answers.keep(store, trunk.key, trunk.outputs, name, anywhere=False)
            return choice


def keep(store: Store, key: str, converted: Converted) -> bool:
    """Keep a version that was converted; return whether it is."""
    return store.write(
        key,
        converted.version,
        converted.sources,
        converted.models,
        lambda folder: write_front(converted.front, folder),
    )


def _key(directory: Path) -> str | None:
    try:
        return version_key(directory)
    # TensorFlow says what is wrong with the folder; without OpenVINO it serves alone.
    except (OSError, ImportError):
        return None
