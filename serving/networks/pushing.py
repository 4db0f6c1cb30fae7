"""The conversion at the push: what a server would do first is done, and lies beside the models."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import tensorflow as tf
from absl import logging

from serving.networks.conversion import NotConvertibleError, convert_version
from serving.networks.folders import DamagedError
from serving.networks.places import PUSHED_NETWORKS
from serving.networks.probes import Answers
from serving.networks.running import Trunks
from serving.networks.store import PARTS, VERSIONS, Store, version_key
from serving.networks.versions import keep

_REMOTE: Final = "://"


def convert_for(saved_model: str, serving: str) -> None:
    """Convert a model that is to be pushed, and keep what comes of it beside the pushed ones.

    Without that a server converts: so nothing that goes wrong here is more than said.

    Args:
        saved_model: its folder, local or remote.
        serving: folder or URI that has a folder a model.
    """
    with tempfile.TemporaryDirectory() as scratch:
        try:
            _convert(_here(saved_model, Path(scratch) / "model"), serving, Path(scratch))
        except ImportError as error:
            logging.info("the model isn't converted, since OpenVINO isn't there: %s", error)
        except (NotConvertibleError, DamagedError, OSError, tf.errors.OpError) as error:
            logging.warning("the model is pushed without its converted network: %s", error)


def _convert(saved_model: Path, serving: str, scratch: Path) -> None:
    target = os.path.join(serving, PUSHED_NETWORKS)
    remote = _REMOTE in serving
    store = Store(scratch / "networks" if remote else Path(target), of_pushes=True)
    key = version_key(saved_model)
    if remote and tf.io.gfile.exists(os.path.join(target, VERSIONS, key)):
        return
    # The champion is a copy of another model. One that is damaged is made again.
    try:
        if store.version(key) is not None:
            return
    except DamagedError as error:
        logging.warning("a converted network is damaged, and is made again: %s", error)
    converted = convert_version(saved_model, Trunks(), Answers(), store)
    if keep(store, key, converted) and remote:
        _upload(store.root, target)


def _here(folder: str, copy: Path) -> Path:
    """Return a folder on this machine; of one that isn't, a copy."""
    if _REMOTE not in folder:
        return Path(folder)
    _copy(folder, str(copy))
    return copy


def _upload(root: Path, target: str) -> None:
    """Copy what isn't there; versions last, since they refer to parts."""
    kinds = sorted(path.name for path in root.iterdir() if path.is_dir())
    for kind in sorted(kinds, key=lambda kind: (kind == VERSIONS, kind != PARTS)):
        for folder in (root / kind).iterdir():
            there = os.path.join(target, kind, folder.name)
            if not tf.io.gfile.exists(there):
                _copy(str(folder), there)


def _copy(source: str, target: str) -> None:
    for parent, _, names in tf.io.gfile.walk(source):
        inner = os.path.relpath(parent, source)
        folder = target if inner == os.curdir else os.path.join(target, inner)
        tf.io.gfile.makedirs(folder)
        for name in names:
            tf.io.gfile.copy(os.path.join(parent, name), os.path.join(folder, name))
