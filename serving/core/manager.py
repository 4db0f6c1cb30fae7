"""Loads and unloads versions, and lends them to requests.

A new version is loaded before the old one goes, and the old one goes only once the requests
that it was lent to have ended: no request fails for a reload.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from absl import logging
from grpc import StatusCode

from schema import contract
from serving.core.memory import give_back
from serving.core.model_config import ModelConfig, fingerprint_of, versions_in
from serving.core.rollout import Rollout
from serving.prediction_log.settings import LogTarget
from serving.protocol.paths import ModelRef
from serving.protocol.status import ServingError, invalid, not_found
from serving.servables.servable import Servable

Load = Callable[[Path], Servable]


class State(IntEnum):
    """A version's, with TensorFlow Serving's numbers (ModelVersionStatus.State)."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass
class _Version:
    number: int
    path: Path
    state: State = State.START
    error: ServingError | None = None
    servable: Servable | None = None
    lent: int = 0
    fingerprint: object = None


@dataclass(frozen=True)
class VersionStatus:
    """The state of a version, as it is told; `engine` is empty where it isn't in memory."""

    version: int
    state: State
    error: ServingError | None
    engine: str = ""


@dataclass
class _Model:
    config: ModelConfig
    versions: dict[int, _Version] = field(default_factory=dict)


@dataclass(frozen=True)
class _Plan:
    """The work that is to be done for a model.

    Attributes:
        model: itself.
        wanted: numbers of the versions to be served.
        loading: those of them that aren't loaded yet.
        on_disk: whether any version is.
    """

    model: _Model
    wanted: frozenset[int]
    loading: list[_Version]
    on_disk: bool


@dataclass(frozen=True)
class Lent:
    """A servable for the time of a request.

    Attributes:
        name: of the model.
        version: of it.
        servable: that answers.
        logged: where its requests are logged; None for nowhere.
        shadow: the version that is to be asked, too, though nobody waits for it; None for none.
    """

    name: str
    version: int
    servable: Servable
    logged: LogTarget | None = None
    shadow: int | None = None


class Manager:
    """All models. Its methods may be called by any thread; `reconcile` by one at a time."""

    def __init__(
        self, load: Load, *, labels_for_unavailable: bool = False, side_by_side: int = 1
    ) -> None:
        """Start without models.

        Args:
            load: from a version's folder to a servable; several threads may call it.
            labels_for_unavailable: accept a label of a version that isn't loaded.
            side_by_side: models that are loaded at the same time.
        """
        self._load = load
        self._side_by_side = side_by_side
        self._labels_for_unavailable = labels_for_unavailable
        self._models: dict[str, _Model] = {}
        self._changed = threading.Condition()
        self._reconciling = threading.Lock()

    def check_logs(self, models: Mapping[str, ModelConfig]) -> None:
        """Refuse logs in folders in which this server doesn't log already.

        A client that may name models must not choose where files are written.

        Args:
            models: that a client asks for.

        Raises:
            ServingError: names model and folder.
        """
        with self._changed:
            known = [model.config.logged for model in self._models.values()]
        folders = {target.prefix.parent for target in known if target is not None}
        for name, config in models.items():
            if config.logged is not None and config.logged.prefix.parent not in folders:
                raise invalid(
                    f"logging_config of model {name}: this server has no log in "
                    f"{config.logged.prefix.parent}; name it in the configuration file"
                )

    def configure(self, models: Mapping[str, ModelConfig]) -> None:
        """Serve these models from now on, once `reconcile` has loaded them.

        Raises:
            ServingError: a label is given to a version that isn't loaded. Nothing is
                changed then.
        """
        with self._changed:
            for config in models.values():
                self._check_labels(config)
            for name, config in models.items():
                if name in self._models:
                    self._models[name].config = config
                else:
                    self._models[name] = _Model(config)
            for name, model in self._models.items():
                if name not in models:
                    model.config = ModelConfig(name, Path())

    def _check_labels(self, config: ModelConfig) -> None:
        known = self._models.get(config.name)
        # A new model's labels can't be about loaded versions: TensorFlow Serving takes them. A
        # rollout names the versions itself; until they are loaded, the one before answers.
        if (
            config.rollout is not None
            or known is None
            or not known.versions
            or self._labels_for_unavailable
        ):
            return
        for label, number in config.labels.items():
            version = known.versions.get(number)
            if version is None or version.state != State.AVAILABLE:
                raise ServingError(
                    StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {number} of model {config.name}, which "
                    f"is not currently available for inference (label {label})",
                )

    def reconcile(self) -> bool:
        """Load what the folders hold and should be served, then unload what shouldn't.

        The champion comes first, and the others in the order of the configuration.

        Returns:
            Whether anything was loaded or unloaded.
        """
        with self._reconciling:
            with self._changed:
                models = list(self._models.values())
            models.sort(key=lambda model: model.config.name != contract.CHAMPION)
            plans = [self._plan(model) for model in models]
            changed = any([self._carry_out(plan) for plan in plans if not plan.loading])
            loading = [plan for plan in plans if plan.loading]
            if loading:
                # Each with what it unloads, so that old and new versions of all models are never
                # in memory together.
                with ThreadPoolExecutor(self._side_by_side, "load") as threads:
                    changed |= any(list(threads.map(self._carry_out, loading)))
            with self._changed:
                gone = [n for n, m in self._models.items() if m.config.base_path == Path()]
                for name in gone:
                    if all(v.state == State.END for v in self._models[name].versions.values()):
                        del self._models[name]
            return changed

    def _plan(self, model: _Model) -> _Plan:
        """Decide what is to be loaded, and tell that it will be."""
        on_disk = {} if model.config.base_path == Path() else versions_in(model.config.base_path)
        wanted = model.config.policy.choose(set(on_disk))
        found = [self._to_load(model, number, on_disk[number]) for number in sorted(wanted)]
        loading = [version for version in found if version is not None]
        return _Plan(model, frozenset(wanted), loading, bool(on_disk))

    def _carry_out(self, plan: _Plan) -> bool:
        model, wanted = plan.model, plan.wanted
        for version in plan.loading:
            self._load_version(model, version)
        changed = bool(plan.loading)
        failed = any(model.versions[number].state != State.AVAILABLE for number in wanted)
        # While a wanted version is missing, the ones before it go on.
        keep_others = failed and plan.on_disk and model.config.base_path != Path()
        with self._changed:
            going = [
                v
                for n, v in model.versions.items()
                if n not in wanted and v.state == State.AVAILABLE and not keep_others
            ]
        for version in going:
            changed = True
            self._unload(model, version)
        return changed

    def _to_load(self, model: _Model, number: int, path: Path) -> _Version | None:
        """Return the version if it is to be loaded now: new, back, or changed after an error."""
        known = model.versions.get(number)
        if known is not None and known.state != State.END:
            return None
        fingerprint = fingerprint_of(path)
        if known is not None and known.error is not None and known.fingerprint == fingerprint:
            return None
        with self._changed:
            version = _Version(number, path, State.START, fingerprint=fingerprint)
            model.versions[number] = version
            return version

    def _load_version(self, model: _Model, version: _Version) -> None:
        began = time.monotonic()
        with self._changed:
            version.state = State.LOADING
        error: ServingError | None = None
        servable: Servable | None = None
        try:
            servable = self._load(version.path)
        except ServingError as refused:
            error = _alone(refused)
        # Whatever it is, the other models are served on.
        except Exception as failure:
            error = ServingError(StatusCode.UNKNOWN, f"{type(failure).__name__}: {failure}")
        name = f"{model.config.name} version {version.number}"
        # Said before it is so: who waits for the model may read the log.
        if servable is None:
            logging.error("%s can't be served: %s", name, error)
            give_back()
        else:
            seconds = time.monotonic() - began
            logging.info("%s is served by %s (%.1f s)", name, servable.engine, seconds)
        with self._changed:
            version.servable, version.error = servable, error
            version.state = State.END if servable is None else State.AVAILABLE
            self._changed.notify_all()

    def _unload(self, model: _Model, version: _Version) -> None:
        with self._changed:
            version.state = State.UNLOADING
            while version.lent:
                self._changed.wait()
            servable, version.servable = version.servable, None
            version.state = State.END
            self._changed.notify_all()
        if servable is not None:
            servable.close()
            del servable
            give_back()
        logging.info("%s version %d is not served any more", model.config.name, version.number)

    @contextmanager
    def borrow(self, ref: ModelRef, place: Callable[[], float] | None = None) -> Iterator[Lent]:
        """Lend a servable, which stays in memory until it is given back.

        Args:
            ref: model, and perhaps a version.
            place: says where the request stands among all, 0..1; asked only where a rollout shares
                requests out. None for what is no request for an answer.

        Raises:
            ServingError: there is no such model, version or label.
        """
        stands = place() if place is not None and self._shares_out(ref) else None
        with self._changed:
            version, shadow = self._route(ref, stands)
            version.lent += 1
            servable = version.servable
            logged = self._models[ref.name].config.logged
        assert servable is not None
        try:
            yield Lent(ref.name, version.number, servable, logged, shadow)
        finally:
            with self._changed:
                version.lent -= 1
                self._changed.notify_all()

    def _shares_out(self, ref: ModelRef) -> bool:
        with self._changed:
            rollout = self._rollout(ref)
            return rollout is not None and rollout.tried is not None and rollout.share > 0.0

    def _rollout(self, ref: ModelRef) -> Rollout | None:
        """Return the rollout that a request goes by: one for a version or label goes by none."""
        model = self._models.get(ref.name)
        if model is None or ref.label is not None:
            return None
        by_number = ref.version is not None and not _means_latest(ref, model)
        return None if by_number else model.config.rollout

    def _route(self, ref: ModelRef, stands: float | None) -> tuple[_Version, int | None]:
        """Find the version that answers, and the one that is asked beside it."""
        rollout = self._rollout(ref)
        if rollout is None:
            return self._find(ref), None
        versions = self._models[ref.name].versions
        loaded = {n for n, v in versions.items() if v.state == State.AVAILABLE}
        number, shadow = rollout.route(loaded, stands)
        return (self._find(ref) if number is None else versions[number]), shadow

    def _find(self, ref: ModelRef) -> _Version:
        model = self._models.get(ref.name)
        number = ref.version
        if ref.label is not None:
            if model is None or ref.label not in model.config.labels:
                raise invalid(f"Unrecognized servable version label: {ref.label}")
            number = model.config.labels[ref.label]
        if _means_latest(ref, model):
            number = None
        asked = f"Latest({ref.name})" if number is None else f"Specific({ref.name}, {number})"
        versions = model.versions if model else {}
        loaded = [n for n, v in versions.items() if v.state == State.AVAILABLE]
        if number is None and loaded:
            number = max(loaded)
        if number is None or number not in loaded:
            raise not_found(f"Servable not found for request: {asked}")
        return versions[number]

    def status(self, ref: ModelRef) -> list[VersionStatus]:
        """List the states of a model's versions, the highest first.

        A label changes nothing, not even one that isn't there: so it is in TensorFlow Serving.

        Raises:
            ServingError: there is no such model or version.
        """
        with self._changed:
            model = self._models.get(ref.name)
            number = ref.version
            if number is not None and not _means_latest(ref, model):
                version = model.versions.get(number) if model else None
                if version is None:
                    raise not_found(f"Could not find version {number} of model {ref.name}")
                found = [version]
            else:
                found = list(model.versions.values()) if model else []
                if not found:
                    raise not_found(f"Could not find any versions of model {ref.name}")
            ordered = sorted(found, key=lambda version: -version.number)
            return [VersionStatus(v.number, v.state, v.error, _engine(v)) for v in ordered]

    def names(self) -> list[str]:
        """List the names of all models."""
        with self._changed:
            return sorted(self._models)

    def is_ready(self) -> bool:
        """Return whether every model has a version that answers."""
        with self._changed:
            return bool(self._models) and all(
                any(v.state == State.AVAILABLE for v in model.versions.values())
                for model in self._models.values()
            )


def _alone(error: ServingError) -> ServingError:
    """Take an error's frames and causes away: they hold what was loaded up to there."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _means_latest(ref: ModelRef, model: _Model | None) -> bool:
    """Return whether a version 0 stands for the latest, as clients of OpenVINO's server write it.

    It doesn't where there is a version 0.
    """
    return ref.version == 0 and (model is None or 0 not in model.versions)


def _engine(version: _Version) -> str:
    return "" if version.servable is None else version.servable.engine
