"""Loads or draws a backbone's weights, and saves them where the network's parts look."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from common.errors import InputError
from models.backbones import build_network, get_backbone, load_weights
from models.stored_backbone import write_facts
from models.weights import RANDOM
from schema import contract


def save_pretrained(
    backbone: str,
    directory: str,
    *,
    seed: int,
    path: str | None = None,
    sha256: str = "",
    label: str = RANDOM,
) -> keras.Model:
    """Write `backbone.weights.h5` and `backbone.json`, for `models.boundary.load_network`.

    The network is built, so that weights that don't fit fail here and not later.

    Args:
        backbone: name in the table.
        directory: local or remote; made where it isn't there.
        seed: of the random weights.
        path: HDF5 file, local or remote; None for random weights.
        sha256: hex digest that the file must have.
        label: of the weights (`models.weights.WeightsSource`): it says at which size the network
            sees the image.

    Returns:
        The network, as `models.boundary.load_whole` would build it again with its own scaling.

    Raises:
        InputError: the file is gone, is another one by now, or doesn't fit.
    """
    keras.utils.set_random_seed(seed)
    row = get_backbone(backbone)
    size = row.size_for(label)
    network = build_network(row, image_size=size)
    tf.io.gfile.makedirs(directory)
    if path:
        with tempfile.TemporaryDirectory() as folder:
            load_weights(network, str(_fetch(path, folder, sha256)), shown_as=path)
    content = weights_file(network)
    with tf.io.gfile.GFile(os.path.join(directory, contract.BACKBONE_WEIGHTS_FILE), "wb") as file:
        file.write(content)
    write_facts(directory, image_size=size)
    return network


def weights_file(network: keras.Model) -> bytes:
    """Make the file that `network.save_weights` would write, in memory.

    HDF5 ends the process where a disk is full (it fails again while it closes the file); bytes are
    written by whoever raises an error then. Keras has no public way to hand it a file object.

    Args:
        network: built.
    """
    from keras.src.saving import saving_lib

    content = io.BytesIO()
    store = saving_lib.H5IOStore(content, mode="w")
    saving_lib._save_state(
        network, weights_store=store, assets_store=None, inner_path="", visited_saveables=set()
    )
    store.close()
    return content.getvalue()


def _fetch(path: str, folder: str, sha256: str) -> Path:
    """Copy the file here (HDF5 needs a local one) and check that it is the one meant."""
    local = Path(folder) / f"given-{os.path.basename(path)}"
    try:
        tf.io.gfile.copy(path, str(local))
    except tf.errors.OpError as error:
        raise InputError(f"weights: {path} can't be read: {error.message}") from error
    found = hashlib.sha256(local.read_bytes()).hexdigest()
    if found != sha256:
        raise InputError(f"weights: {path} changed while the run started; start it again.")
    return local
