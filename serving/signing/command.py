"""`cxr sign` and `cxr verify`. Neither imports TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common.errors import InputError
from schema import contract

VersionFolder = Annotated[
    Path, typer.Argument(help="A pushed version's folder, such as output/serving/champion/17….")
]


def sign(
    version: VersionFolder,
    key: Annotated[
        Path | None, typer.Option(help="Private key on an elliptic curve, in PEM, not encrypted.")
    ] = None,
    key_variable: Annotated[
        str | None, typer.Option(help="Environment variable that holds the key's PEM instead.")
    ] = None,
) -> None:
    """Sign a version, as a push with `push.signing_key` does; a signature there is replaced."""
    from serving.signing.errors import SignatureError
    from serving.signing.folder import sign_version
    from serving.signing.keys import signing_key

    _require_version(version)
    private = signing_key(key, key_variable)
    if private is None:
        raise InputError("give --key or --key-variable.")
    try:
        file = sign_version(version, private)
    except (SignatureError, OSError) as error:
        raise InputError(f"{version}: {error}.") from error
    typer.echo(f"{file}")


def verify(
    version: VersionFolder,
    key: Annotated[
        list[Path], typer.Option(help="Public key in PEM; several may be given, one must fit.")
    ],
) -> None:
    """Check that a version is, byte for byte, what the owner of a key has signed."""
    from serving.signing.errors import SignatureError
    from serving.signing.folder import check_version
    from serving.signing.keys import read_public_key

    _require_version(version)
    keys = [read_public_key(path) for path in key]
    try:
        count = check_version(version, keys)
    except (SignatureError, OSError) as error:
        raise InputError(f"{version}: {error}.") from error
    typer.echo(f"{version}: {count} files, each as it was signed")


def _require_version(version: Path) -> None:
    if not (version / contract.SAVED_MODEL_FILE).is_file():
        raise InputError(
            f"{version} is no version of a model: it has no {contract.SAVED_MODEL_FILE}."
        )
