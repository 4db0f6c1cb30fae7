"""The signature file: a list of digests, signed, as model-signing writes and reads it.

From the outside in: Sigstore's bundle 0.3 (JSON), DSSE 1.0 (its `PAE` is what is signed), in-toto's
Statement 1, and the predicate `https://model_signing/signature/v1.0`, with a resource a file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from schema import contract
from serving.signing.errors import SignatureError
from serving.signing.keys import digest_for, hint_of

_BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
SHA256: Final = "sha256"

Digests = Mapping[str, str]


class _Json(BaseModel):
    # Others may add fields, as the formats allow.
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class _PublicKey(_Json):
    hint: str | None = None


class _Material(_Json):
    public_key: _PublicKey


class _Signature(_Json):
    sig: str


class _Envelope(_Json):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[list[_Signature], Field(min_length=1, max_length=1)]


class _Bundle(_Json):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: _Material
    dsse_envelope: _Envelope


class _Subject(BaseModel):
    name: str
    digest: dict[str, str]


class _Serialization(BaseModel):
    method: Literal["files"]
    hash_type: Literal["sha256"]


class _Resource(BaseModel):
    name: str
    algorithm: Literal["sha256"]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Predicate(BaseModel):
    serialization: _Serialization
    resources: list[_Resource]


class _Statement(BaseModel):
    kind: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[list[_Subject], Field(min_length=1, max_length=1)]
    predicate_type: Annotated[
        Literal["https://model_signing/signature/v1.0"], Field(alias="predicateType")
    ]
    predicate: _Predicate


def sign_digests(digests: Digests, name: str, key: ec.EllipticCurvePrivateKey) -> str:
    """Sign a list of files.

    Args:
        digests: file's path in its folder -> SHA-256 in hex; without the signature's own file.
        name: of the folder. Nobody compares it: a signed folder may be renamed.
        key: that signs.

    Returns:
        The signature file's content.
    """
    resources = [
        {"name": file, "algorithm": SHA256, "digest": digest}
        for file, digest in sorted(digests.items())
    ]
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {SHA256: _root([r["digest"] for r in resources])}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": SHA256,
                "allow_symlinks": False,
                "ignore_paths": [contract.MODEL_SIGNATURE_FILE],
            },
            "resources": resources,
        },
    }
    payload = json.dumps(statement, indent=1).encode()
    public = key.public_key()
    signature = key.sign(_pae(payload), ec.ECDSA(digest_for(public)))
    bundle = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": hint_of(public)}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle)


def signed_digests(content: bytes, keys: Sequence[ec.EllipticCurvePublicKey]) -> dict[str, str]:
    """Read what was signed, once it is certain that one of these keys signed it.

    Args:
        content: of the signature file.
        keys: any of them may have signed.

    Returns:
        File's path in its folder -> SHA-256 in hex.

    Raises:
        SignatureError: it is no such signature, or none of the keys signed it.
    """
    bundle = _parsed(_Bundle, content, "is no signature of model-signing by a key")
    envelope = bundle.dsse_envelope
    try:
        payload = base64.b64decode(envelope.payload, validate=True)
        signature = base64.b64decode(envelope.signatures[0].sig, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError(f"{contract.MODEL_SIGNATURE_FILE} is damaged: {error}") from error
    if not any(_is_by(key, signature, payload) for key in keys):
        hint = bundle.verification_material.public_key.hint
        known = ", ".join(hint_of(key)[:16] for key in keys)
        raise SignatureError(
            f"{contract.MODEL_SIGNATURE_FILE}: none of the given keys ({known}) has signed it; it "
            f"names the key {(hint or 'without a name')[:16]!r}"
        )
    # From here on it is what a trusted key signed, and still perhaps of another kind.
    statement = _parsed(_Statement, payload, "has signed something else than files by SHA-256")
    resources = statement.predicate.resources
    digests = {resource.name: resource.digest for resource in resources}
    whole = statement.subject[0].digest.get(SHA256)
    if len(digests) != len(resources) or whole != _root([r.digest for r in resources]):
        raise SignatureError(f"{contract.MODEL_SIGNATURE_FILE} contradicts itself")
    return digests


def _is_by(key: ec.EllipticCurvePublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        key.verify(signature, _pae(payload), ec.ECDSA(digest_for(key)))
    except InvalidSignature:
        return False
    return True


def _pae(payload: bytes) -> bytes:
    """Encode what is signed, as DSSE says (pre-authentication encoding)."""
    return b" ".join(
        [b"DSSEv1", b"%d" % len(_PAYLOAD), _PAYLOAD.encode(), b"%d" % len(payload), payload]
    )


def _root(digests: Sequence[str]) -> str:
    """Compute the digest of all, in their order."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


def _parsed(kind: Any, content: bytes, problem: str) -> Any:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SignatureError(
            f"{contract.MODEL_SIGNATURE_FILE} {problem}: {where}: {first['msg']}"
        ) from error
