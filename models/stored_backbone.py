"""The facts beside a backbone's stored weights, and the digest of both."""

from __future__ import annotations

import hashlib
import io
import json
import os
from typing import Final

import tensorflow as tf

from schema import contract

_BLOCK: Final = 1 << 20


def write_facts(backbone_dir: str, *, image_size: int) -> None:
    """Write what has to be known of a network besides its weights, into a folder that is there.

    Args:
        backbone_dir: of the weights.
        image_size: see `models.backbones.build_network`.
    """
    path = os.path.join(backbone_dir, contract.BACKBONE_FACTS_FILE)
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump({"image_size": image_size}, file)


def read_image_size(backbone_dir: str) -> int:
    """As `write_facts` wrote it; the network of weights by themselves sees the image as it is."""
    path = os.path.join(backbone_dir, contract.BACKBONE_FACTS_FILE)
    if not tf.io.gfile.exists(path):
        return contract.IMAGE_SIZE
    with tf.io.gfile.GFile(path) as file:
        return int(json.load(file)["image_size"])


def features_digest(computed_by: str, backbone_dir: str) -> str:
    """Digest the network, and what computes features with it.

    Args:
        computed_by: a digest of all else that the features depend on.
        backbone_dir: of the weights.
    """
    digest = hashlib.sha256(computed_by.encode())
    digest.update(f"{read_image_size(backbone_dir)}\0".encode())
    path = os.path.join(backbone_dir, contract.BACKBONE_WEIGHTS_FILE)
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def weights_digest(backbone_dir: str) -> str:
    """Digest the numbers in the weights file, and not the file.

    Keras writes the layers' names into it, which it counts up in each process. So two files of the
    same weights differ.

    Args:
        backbone_dir: of the weights.
    """
    import h5py
    import numpy as np

    path = os.path.join(backbone_dir, contract.BACKBONE_WEIGHTS_FILE)
    with tf.io.gfile.GFile(path, "rb") as file:
        content = io.BytesIO(file.read())
    digest = hashlib.sha256()

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            values = np.ascontiguousarray(item[()])
            digest.update(f"{name} {values.dtype.str} {values.shape}\0".encode())
            digest.update(values.tobytes())

    with h5py.File(content, "r") as weights:
        # In the order of the names.
        weights.visititems(add)
    return digest.hexdigest()
