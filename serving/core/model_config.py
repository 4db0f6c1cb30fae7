"""The models that are served: TensorFlow Serving's models.config, or the folders of a directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from common.errors import InputError
from serving.core.rollout import Rollout, read_rollout
from serving.prediction_log.settings import LogTarget

# The one `log_collector_config.type` that there is; it may be left out.
TFRECORD: Final = "tfrecord"
_NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class VersionPolicy:
    """The choice of a model's versions that are served.

    Attributes:
        latest: how many of the highest; None where `all_versions` or `specific` says which.
        all_versions: every one.
        specific: these.
    """

    latest: int | None = 1
    all_versions: bool = False
    specific: frozenset[int] = frozenset()

    def choose(self, versions: set[int]) -> set[int]:
        """Choose those of the versions on disk that are to be served."""
        if self.all_versions:
            return versions
        if self.latest is not None:
            return set(sorted(versions)[-self.latest :]) if self.latest else set()
        return versions & self.specific


@dataclass(frozen=True)
class ModelConfig:
    """One model.

    Attributes:
        name: in URLs.
        base_path: folder with a numbered folder a version.
        policy: which versions.
        labels: label -> version.
        logged: where its requests are logged; None for nowhere.
        rollout: which version answers which request; None where the latest answers all.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    # A factory: Python 3.11 takes no default that has no hash.
    labels: Mapping[str, int] = field(default_factory=lambda: _NONE, hash=False)
    logged: LogTarget | None = None
    rollout: Rollout | None = field(default=None, hash=False)


def parse_config(text: str, source: str = "models.config") -> dict[str, ModelConfig]:
    """Read a ModelServerConfig in text form.

    Args:
        text: of the file.
        source: what errors call it.

    Raises:
        InputError: it can't be read, or asks for what isn't served here.
    """
    message = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise InputError(f"{source}: {error}") from error
    return from_message(message, source)


def from_message(message: Any, source: str = "the request") -> dict[str, ModelConfig]:
    """Read the same out of a protocol buffer.

    Raises:
        InputError: it asks for what isn't served here.
    """
    if message.WhichOneof("config") == "custom_model_config":
        raise InputError(f"{source}: custom_model_config is not supported; use model_config_list.")
    models: dict[str, ModelConfig] = {}
    for entry in message.model_config_list.config:
        problem = _problem(entry, models)
        if problem:
            raise InputError(f"{source}: model {entry.name!r}: {problem}.")
        models[entry.name] = ModelConfig(
            entry.name,
            Path(entry.base_path),
            _policy(entry.model_version_policy),
            MappingProxyType(dict(entry.version_labels)),
            _logged(entry),
        )
    return models


def _problem(entry: Any, known: Mapping[str, ModelConfig]) -> str | None:
    if not entry.name:
        return "it has no name"
    if entry.name in known:
        return "the name is given twice"
    if not entry.base_path:
        return "it has no base_path"
    if not Path(entry.base_path).is_absolute():
        return f"base_path {entry.base_path!r} is not absolute"
    if entry.model_platform not in ("", "tensorflow"):
        return f"model_platform {entry.model_platform!r} is unknown; there is 'tensorflow'"
    return _problem_of_log(entry.logging_config) if entry.HasField("logging_config") else None


def _problem_of_log(config: Any) -> str | None:
    collector, rate = config.log_collector_config, config.sampling_config.sampling_rate
    if collector.type not in ("", TFRECORD):
        return f"logging_config: type {collector.type!r} is unknown; there is {TFRECORD!r}"
    prefix = Path(collector.filename_prefix)
    if not collector.filename_prefix or not prefix.is_absolute():
        return f"logging_config: filename_prefix {collector.filename_prefix!r} is not absolute"
    if not prefix.parent.is_dir():
        return f"logging_config: {prefix.parent}, where the shards would lie, is no folder"
    if not 0.0 <= rate <= 1.0:
        return f"logging_config: sampling_rate {rate:g} is no share; give 0..1"
    return None


def _logged(entry: Any) -> LogTarget | None:
    if not entry.HasField("logging_config"):
        return None
    config = entry.logging_config
    prefix = Path(config.log_collector_config.filename_prefix)
    return LogTarget(prefix, config.sampling_config.sampling_rate)


def _policy(message: Any) -> VersionPolicy:
    choice = message.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(latest=None, all_versions=True)
    if choice == "specific":
        return VersionPolicy(latest=None, specific=frozenset(message.specific.versions))
    if choice == "latest":
        return VersionPolicy(latest=message.latest.num_versions or 1)
    return VersionPolicy()


def read_config(file: Path) -> dict[str, ModelConfig]:
    """Read a models.config.

    A model that has neither labels nor a policy there follows its rollout, if it has one.

    Raises:
        InputError: see `parse_config`, or it can't be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"model-config-file: {file} can't be read: {error}.") from error
    return {
        name: config if config.labels or config.policy != VersionPolicy() else _rolled_out(config)
        for name, config in parse_config(text, str(file)).items()
    }


def _rolled_out(config: ModelConfig) -> ModelConfig:
    """Serve what a model's rollout says, if there is any."""
    rollout = read_rollout(config.base_path)
    if rollout is None:
        return config
    policy = VersionPolicy(latest=None, specific=rollout.versions)
    labels = MappingProxyType(rollout.labels)
    return replace(config, policy=policy, labels=labels, rollout=rollout)


def models_in(folder: Path, logged: LogTarget | None = None) -> dict[str, ModelConfig]:
    """Make a configuration of a model for each folder that has a numbered folder in it.

    Args:
        folder: of models.
        logged: where requests to all of them are logged; None for nowhere.

    Raises:
        InputError: it is no folder, or a model's rollout can't be read.
    """
    if not folder.is_dir():
        raise InputError(f"model-dir: {folder} is no folder; run the pipeline first.")
    return {
        path.name: _rolled_out(ModelConfig(path.name, path.resolve(), logged=logged))
        for path in sorted(folder.iterdir())
        if path.is_dir() and versions_in(path)
    }


def versions_in(base_path: Path) -> dict[int, Path]:
    """Find versions and their folders; like TensorFlow Serving, only those named by a number."""
    try:
        entries = list(base_path.iterdir())
    except OSError:
        return {}
    found: dict[int, Path] = {}
    for path in sorted(entries):
        name = path.name
        if name.isascii() and name.isdigit() and int(name) < 2**63 and path.is_dir():
            # 007 and 7 are the same version; the first in order counts.
            found.setdefault(int(name), path)
    return found


def fingerprint_of(path: Path) -> object:
    """Describe a folder: it changes when files come, go or grow, so a half copy is tried again."""
    found = []
    for file in sorted(path.rglob("*")):
        try:
            stat = file.stat()
        except OSError:
            continue
        found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return tuple(found)
