"""Puts into a folder that is about to be pushed what proves it: the SBOM and the signature.

The folder may be local or remote, and is never that of an artifact that another node wrote.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from tfx.dsl.io import fileio

from components.serving_pusher.sbom import bill_of_materials
from components.software import needed_packages
from schema import contract
from serving.signing.bundle import sign_digests

_CHUNK: Final = 2**20


def write_sbom(folder: str, name: str) -> None:
    """Write the bill of materials of all files that are there.

    Args:
        folder: of the version, with its model card, where there is one.
        name: of the model, where there is no card.
    """
    digests = _digests(folder)
    for written_here in (contract.SBOM_FILE, contract.MODEL_SIGNATURE_FILE):
        digests.pop(written_here, None)
    bom = bill_of_materials(name, digests, _card(folder), needed_packages())
    _write(folder, contract.SBOM_FILE, json.dumps(bom, indent=1) + "\n")


def sign_folder(folder: str, key: ec.EllipticCurvePrivateKey) -> None:
    """Sign all files, and write the signature.

    Pusher copies saved_model.pb last, so that a server that takes the folder for a version finds
    the signature there.

    Args:
        folder: of the version.
        key: that signs.
    """
    digests = _digests(folder)
    # A folder that is signed anew; the signature can't cover itself.
    digests.pop(contract.MODEL_SIGNATURE_FILE, None)
    text = sign_digests(digests, os.path.basename(folder.rstrip("/")), key)
    _write(folder, contract.MODEL_SIGNATURE_FILE, text)


def _card(folder: str) -> dict[str, Any]:
    file = os.path.join(folder, contract.EXTRA_ASSETS, contract.MODEL_CARD_DATA_FILE)
    if not fileio.exists(file):
        return {}
    with fileio.open(file) as source:
        card: dict[str, Any] = json.load(source)
    return card


def _write(folder: str, name: str, text: str) -> None:
    file = os.path.join(folder, name)
    fileio.makedirs(os.path.dirname(file))
    with fileio.open(file, "w") as written:
        written.write(text)


def _digests(folder: str) -> dict[str, str]:
    """Compute each file's SHA-256, by its path in the folder with slashes."""
    top = folder.rstrip("/")
    files = [os.path.join(parent, name) for parent, _, names in fileio.walk(top) for name in names]
    return {file[len(top) :].lstrip("/"): _digest(file) for file in files}


def _digest(file: str) -> str:
    digest = hashlib.sha256()
    with fileio.open(file, "rb") as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
