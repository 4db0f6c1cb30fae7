"""Keys on elliptic curves, in PEM, as `openssl ecparam -genkey` writes them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import InputError

# Those that model-signing takes, each with the digest that Sigstore pairs it with.
_DIGESTS: Final[dict[str, hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_MAKE_ONE: Final = "make one with: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
_PUBLIC: Final = "write it with: openssl ec -in key.pem -pubout -out key.pub.pem"


def read_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a key that signs.

    Raises:
        InputError: the file can't be read, or holds none; never with what is in it.
    """
    return _private_key(_bytes_of(path), str(path))


def private_key_in(variable: str) -> ec.EllipticCurvePrivateKey:
    """Read a key that signs from an environment variable that holds the PEM itself.

    Raises:
        InputError: it isn't set, or holds none; never with what is in it.
    """
    text = os.environ.get(variable, "")
    if not text:
        raise InputError(
            f"signing key: the environment variable {variable} isn't set; on Kubeflow, name it "
            "in kubeflow.secrets."
        )
    return _private_key(text.encode(), f"the environment variable {variable}")


def signing_key(file: Path | None, variable: str | None) -> ec.EllipticCurvePrivateKey | None:
    """Read the key that signs from where it is said to be; None where nobody says.

    Raises:
        InputError: both say, or it can't be read; see `read_private_key`.
    """
    if file is not None and variable:
        raise InputError("signing key: give a file or an environment variable, not both.")
    if file is not None:
        return read_private_key(file)
    return private_key_in(variable) if variable else None


def read_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Read a key that proves.

    Raises:
        InputError: the file can't be read, or holds none.
    """
    try:
        key = serialization.load_pem_public_key(_bytes_of(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} holds no public key in PEM; {_PUBLIC}.") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InputError(f"{path}: only keys on elliptic curves are known; {_PUBLIC}.")
    _require_curve(key, str(path))
    return key


def digest_for(key: ec.EllipticCurvePublicKey) -> hashes.HashAlgorithm:
    """Return the digest that signatures by this key are made with."""
    return _DIGESTS[key.curve.name]


def hint_of(key: ec.EllipticCurvePublicKey) -> str:
    """Name a key as a signature does: by the SHA-256 of its PEM, in hex."""
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(pem).hexdigest()


def _private_key(pem: bytes, source: str) -> ec.EllipticCurvePrivateKey:
    # What the library says may quote the key: it is never handed on.
    problem = f"{source} holds no private key in PEM; {_MAKE_ONE}."
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        problem = f"{source}: the key is encrypted, and nobody is there to decrypt it; {_MAKE_ONE}."
    except (ValueError, UnsupportedAlgorithm):
        pass
    else:
        if isinstance(key, ec.EllipticCurvePrivateKey):
            _require_curve(key.public_key(), source)
            return key
        problem = f"{source}: only keys on elliptic curves are known; {_MAKE_ONE}."
    raise InputError(problem)


def _require_curve(key: ec.EllipticCurvePublicKey, source: str) -> None:
    if key.curve.name not in _DIGESTS:
        known = ", ".join(_DIGESTS)
        raise InputError(f"{source}: the curve {key.curve.name} is unknown; known are {known}.")


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from error
