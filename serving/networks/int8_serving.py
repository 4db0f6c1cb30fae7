"""A version in int8, where that was chosen at its push; else as it would be served otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from models.engines import OPENVINO_INT8
from models.openvino_runtime import has_int8, low_precision
from serving.networks.int8_choice import UnusableError, check_usable, read_choice, read_trunk
from serving.networks.plan import network_of
from serving.networks.running import Head, Network, RunsTrunk, Trunks
from serving.networks.versions import RunningVersion
from serving.servables.careful_engine import CarefulEngine


class QuantisedTrunks:
    """The quantised trunks in place of a version's own."""

    def __init__(self, trunks: Trunks, models: Mapping[str, Any], names: Mapping[str, str]) -> None:
        """Join them.

        Args:
            trunks: those in memory.
            models: trunk's key -> `openvino.Model`, quantised.
            names: trunk's key -> what the quantised one is known by in memory.
        """
        self._trunks, self._models, self._names = trunks, models, names

    def get(self, key: str, outputs: Sequence[str], read: Callable[[], Any]) -> RunsTrunk:
        """Return a trunk, as `Trunks.get` does."""
        return self._trunks.get(self._names[key], outputs, lambda: self._models[key])

    def head(self, key: str, outputs: Sequence[str], read: Callable[[], Any]) -> Head:
        """Return a head, as `Trunks.head` does."""
        return self._trunks.head(key, outputs, read)


def int8_network(version: RunningVersion, trunks: QuantisedTrunks) -> Network:
    """Put a version's network together in int8, with heads as they are.

    Args:
        version: as it would be served otherwise.
        trunks: quantised.
    """
    return network_of(version.plan, OPENVINO_INT8, version.read, trunks)


def engine_with_int8(
    directory: Path, version: RunningVersion, trunks: Trunks, *, insist: bool
) -> Network:
    """Return the engine that serves a version: int8 first, where that can be used.

    Args:
        directory: its folder.
        version: as it would be served otherwise.
        trunks: those in memory.
        insist: somebody asked for int8; take it also on a CPU on which nobody measured it.
    """
    try:
        return _int8_engine(directory, version, trunks, insist=insist)
    except UnusableError as error:
        reason = str(error)
    # What OpenVINO, which has no class of its own, can't compile.
    except Exception as error:
        reason = f"the quantised networks can't be used: {error}"
    logging.warning("%s: not served in int8 but by %s: %s", directory, version.engine.name, reason)
    return version.engine


def _int8_engine(
    directory: Path, version: RunningVersion, trunks: Trunks, *, insist: bool
) -> Network:
    if not has_int8():
        raise UnusableError("this CPU has neither VNNI nor AMX")
    choice = read_choice(directory)
    check_usable(choice, version.plan, low_precision(), insist)
    models = {key: read_trunk(directory, choice, key) for key in choice.files}
    # By what is in them: another version's may have been quantised with other images.
    names = {
        key: " ".join(("int8", *sorted(files.values()))) for key, files in choice.files.items()
    }
    fast = int8_network(version, QuantisedTrunks(trunks, models, names))
    fast.compile()
    return CarefulEngine(fast, version.engine, choice.difference)
