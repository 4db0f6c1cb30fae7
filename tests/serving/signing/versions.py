"""A version's folder that is no model, and keys."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

FILES = {
    "good": b"1",
    "saved_model.pb": b"graph",
    "variables/variables.index": b"",
    "variables/variables.data-00000-of-00001": b"\x00" * 5000,
    "assets.extra/model_card.json": b"{}",
    "assets.extra/ä name.txt": b"x",
    ".hidden": b"h",
}


def write_version(folder: Path) -> Path:
    """Write the files of a version, and an empty folder, which no signature knows of."""
    for name, content in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (folder / "assets").mkdir()
    return folder


def write_keys(
    folder: Path, name: str = "key", curve: ec.EllipticCurve | None = None
) -> tuple[Path, Path]:
    """Write a private and a public key in PEM, as openssl does."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public
