"""The store: a folder or URI, in it a folder a network, in that its parts."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Collection, Mapping
from typing import Any, Final

import tensorflow as tf

from common.digests import digest_of
from common.errors import InputError
from models.feature_store import parts

KEY_FILE: Final = "key.json"
# In OUTPUT/features, where the store lies elsewhere: its place.
_ELSEWHERE: Final = "elsewhere.json"
# Of the key's digest, in the folder's name.
_DIGITS: Final = 32


class NetworkStore:
    """Entries of one network.

    Attributes:
        folder: path or URI.
        name: of the folder.
    """

    def __init__(self, root: str, key: Mapping[str, Any]) -> None:
        """Look at nothing yet.

        Args:
            root: of the store.
            key: of the network (`models.feature_store.keys`).
        """
        self._key = dict(key)
        self.name = digest_of(key)[:_DIGITS]
        self.folder = os.path.join(root, self.name)

    def find(self, keys: Collection[bytes]) -> dict[bytes, parts.Entry]:
        """Look images up: key -> where its entry is, of those that are there."""
        return parts.find(self.folder, keys)

    def writer(self) -> parts.PartWriter:
        """Return a writer, and make the folder.

        Raises:
            InputError: nothing can be written there.
        """
        path = os.path.join(self.folder, KEY_FILE)
        try:
            if not tf.io.gfile.exists(path):
                tf.io.gfile.makedirs(self.folder)
                write_json(path, self._key)
        except tf.errors.OpError as error:
            raise InputError(
                f"featurizer.store: {self.folder} can't be written to ({error.message}); name "
                "another folder or URI."
            ) from error
        return parts.PartWriter(self.folder)


def write_json(path: str, value: Any) -> None:
    """Write a file whole or not at all; the last of several writers wins."""
    unfinished = f"{path}.{uuid.uuid4().hex}{parts.UNFINISHED}"
    with tf.io.gfile.GFile(unfinished, "w") as file:
        file.write(json.dumps(value, indent=1, sort_keys=True) + "\n")
    tf.io.gfile.rename(unfinished, path, overwrite=True)


def read_json(path: str) -> Any:
    """Read a file; None where there is none, or something else wrote it."""
    try:
        with tf.io.gfile.GFile(path) as file:
            return json.loads(file.read())
    except (tf.errors.NotFoundError, ValueError):
        return None


def point_to(folder: str, place: str | None) -> None:
    """Say in an output folder where its features lie.

    So the place is in no node's properties, and naming another one has no node run again.

    Args:
        folder: OUTPUT/features.
        place: folder or URI; the folder itself where None.
    """
    path = os.path.join(folder, _ELSEWHERE)
    if place is not None:
        tf.io.gfile.makedirs(folder)
        write_json(path, {"store": place})
        return
    with contextlib.suppress(tf.errors.NotFoundError):
        tf.io.gfile.remove(path)


def place_of(folder: str) -> str:
    """Return where the store lies: in the folder, or where that points to; a URI points nowhere."""
    if "://" in folder:
        return folder
    found = read_json(os.path.join(folder, _ELSEWHERE))
    return str(found["store"]) if isinstance(found, dict) and "store" in found else folder
