"""Signs what is about to be pushed, wherever it lies."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from tfx.dsl.io import fileio

from schema import contract
from serving.signing.bundle import sign_digests

_CHUNK: Final = 2**20


def sign_folder(folder: str, key: ec.EllipticCurvePrivateKey) -> None:
    """Sign all files of a folder, and put the signature into it.

    Pusher copies saved_model.pb last, so that a server that takes the folder for a version finds
    the signature there.

    Args:
        folder: local or remote; not that of an artifact that another node wrote.
        key: that signs.
    """
    top = folder.rstrip("/")
    digests = {}
    for parent, _, names in fileio.walk(top):
        for name in names:
            file = os.path.join(parent, name)
            digests[file[len(top) :].lstrip("/")] = _digest(file)
    # A folder that is signed anew; the signature can't cover itself.
    digests.pop(contract.MODEL_SIGNATURE_FILE, None)
    signature = os.path.join(top, contract.MODEL_SIGNATURE_FILE)
    fileio.makedirs(os.path.dirname(signature))
    with fileio.open(signature, "w") as written:
        written.write(sign_digests(digests, os.path.basename(top), key))


def _digest(file: str) -> str:
    digest = hashlib.sha256()
    with fileio.open(file, "rb") as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
