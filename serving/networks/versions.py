"""Versions on OpenVINO: from the store where they were converted before, else converted now."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import logging

from serving.networks.conversion import Converted, NotConvertibleError, convert_version
from serving.networks.front import load_front, write_front
from serving.networks.plan import PartName, Plan, engine_of
from serving.networks.probes import Answers
from serving.networks.running import Network, Trunks
from serving.networks.store import DamagedError, Store, version_key


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
            store: those on disk; none are read or kept where None.
        """
        self.trunks = Trunks()
        self._store = store
        self._answers = Answers()
        # A conversion takes a core, and hundreds of megabytes.
        self._converting = threading.Lock()

    def load(
        self, directory: Path, precision: str, saved_model: Callable[[], Any]
    ) -> RunningVersion:
        """Load a version.

        Args:
            directory: its folder.
            precision: `bf16`, `f32` or `auto`.
            saved_model: loads what `convert_version` takes of its SavedModel; called where it has
                to be converted.

        Raises:
            NotConvertibleError: it is none of this project's, can't be loaded, or OpenVINO can't
                take it.
        """
        key = self._key(directory, precision)
        kept = self._kept(key)
        if kept is not None:
            return kept
        with self._converting:
            # A copy of a model, such as the champion, may have been converted meanwhile.
            kept = self._kept(key)
            if kept is not None:
                return kept
            try:
                loaded = saved_model()
            # TensorFlow says in many ways that it can't.
            except Exception as error:
                raise NotConvertibleError(f"{directory}: {error}") from error
            converted = convert_version(loaded, directory, precision, self.trunks, self._answers)
            if key is not None and self._keep(key, converted, loaded):
                kept = self._kept(key)
            if kept is not None:
                return kept
        try:
            engine = engine_of(converted.plan, converted.read, self.trunks)
            return RunningVersion(engine, loaded, converted.plan, converted.read)
        # OpenVINO has no class of its own.
        except Exception as error:
            raise NotConvertibleError(f"{directory}: {error}") from error

    def _key(self, directory: Path, precision: str) -> str | None:
        if self._store is None:
            return None
        try:
            return version_key(directory, precision)
        # TensorFlow says what is wrong with the folder; without OpenVINO it serves alone.
        except (OSError, ImportError):
            return None

    def _kept(self, key: str | None) -> RunningVersion | None:
        """Load a version from the store; None where it isn't there, or is damaged."""
        if self._store is None or key is None:
            return None
        try:
            plan = self._store.plan(key)
            if plan is None:
                return None
            engine = engine_of(plan, self._store.read, self.trunks)
            front = load_front(self._store.front(key))
            return RunningVersion(engine, front, plan, self._store.read)
        except (DamagedError, OSError) as error:
            logging.warning("a converted network is damaged, and is made again: %s", error)
        # What OpenVINO, which has no class of its own, can't compile any more.
        except Exception as error:
            logging.warning("a converted network can't be used, and is made again: %s", error)
        self._store.forget(key)
        return None

    def _keep(self, key: str, converted: Converted, loaded: Any) -> bool:
        assert self._store is not None
        return self._store.write(
            key, converted.plan, converted.models, lambda folder: write_front(loaded, folder)
        )
