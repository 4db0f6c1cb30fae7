"""A version's folder against its signature: each file, and nothing else."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from cryptography.hazmat.primitives.asymmetric import ec

from schema import contract
from serving.signing.bundle import Digests, sign_digests, signed_digests
from serving.signing.errors import SignatureError

_CHUNK: Final = 2**20
# A model of this project has a few dozen files, of 100 bytes each here.
_MOST_SIGNATURE_BYTES: Final = 16 * 2**20
_SHOWN: Final = 5


def sign_version(version: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    """Sign all that is in a folder, and put the signature into it, in place of one that is there.

    Args:
        version: its folder.
        key: that signs.

    Returns:
        The signature's file.

    Raises:
        SignatureError: there is a link or a device in it, which can't be signed.
        OSError: it can't be read, or the signature can't be written.
    """
    digests = {name: _digest(version / name) for name in _files(version)}
    text = sign_digests(digests, version.resolve().name, key)
    file = version / contract.MODEL_SIGNATURE_FILE
    file.parent.mkdir(exist_ok=True)
    # At once: a server that looks meanwhile sees the old one or the new one.
    handle, scratch = tempfile.mkstemp(prefix=".signature-", dir=version.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as written:
            written.write(text)
        Path(scratch).chmod(0o644)
        Path(scratch).replace(file)
    finally:
        Path(scratch).unlink(missing_ok=True)
    return file


def check_version(version: Path, keys: Sequence[ec.EllipticCurvePublicKey]) -> int:
    """Check that a folder is what one of the keys signed.

    Args:
        version: its folder.
        keys: any of them may have signed.

    Returns:
        How many files were signed.

    Raises:
        SignatureError: it isn't; names the files.
        OSError: a file can't be read.
    """
    _, wanted = _read_signature(version, keys)
    names = _files(version)
    _compare({name: _digest(version / name) for name in names}, wanted)
    return len(wanted)


def sealed_copy(
    version: Path,
    keys: Sequence[ec.EllipticCurvePublicKey],
    checked: Callable[[], None] = lambda: None,
) -> Path:
    """Copy a folder to where nobody else can write, if the copy is what one of the keys signed.

    Whoever may write to the folder may change it at any moment. So each byte is read once: it goes
    into the digest and into the copy, and what is loaded is the copy.

    Args:
        version: its folder, SERVING/NAME/NUMBER.
        keys: any of them may have signed.
        checked: called once the copy is proven.

    Returns:
        The copy, NAME/NUMBER in a folder of its own for this user alone (mode 0700), which the
        caller removes: `container_of`.

    Raises:
        SignatureError: it isn't what was signed; names the files.
        OSError: a file can't be read or copied.
    """
    container = Path(tempfile.mkdtemp(prefix="cxr-signed-"))
    try:
        copy = container / version.parent.name / version.name
        copy.mkdir(parents=True)
        signature, wanted = _read_signature(version, keys)
        names = _files(version)
        # Before anything is copied: who adds a file of a terabyte fills no disk.
        _compare_names(names, wanted)
        _compare({name: _digest(version / name, copy / name) for name in names}, wanted)
        kept = copy / contract.MODEL_SIGNATURE_FILE
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(signature)
        checked()
    except BaseException:
        shutil.rmtree(container, ignore_errors=True)
        raise
    return copy


def container_of(copy: Path) -> Path:
    """Return the folder that `sealed_copy` made for a copy."""
    return copy.parent.parent


def _read_signature(
    version: Path, keys: Sequence[ec.EllipticCurvePublicKey]
) -> tuple[bytes, dict[str, str]]:
    try:
        with _opened(version / contract.MODEL_SIGNATURE_FILE) as file:
            content = file.read(_MOST_SIGNATURE_BYTES + 1)
    except FileNotFoundError as error:
        raise SignatureError(
            f"{contract.MODEL_SIGNATURE_FILE} isn't there: the version isn't signed"
        ) from error
    if len(content) > _MOST_SIGNATURE_BYTES:
        raise SignatureError(f"{contract.MODEL_SIGNATURE_FILE} is too long for a signature")
    return content, signed_digests(content, keys)


def _compare(found: Digests, wanted: Digests) -> None:
    _compare_names(found, wanted)
    changed = [name for name in sorted(wanted) if found[name] != wanted[name]]
    if changed:
        raise SignatureError(f"not as it was signed: {_listed(changed)}")


def _compare_names(found: Sequence[str] | Digests, wanted: Digests) -> None:
    problems = []
    if added := sorted(set(found) - set(wanted)):
        problems.append(f"not signed: {_listed(added)}")
    if missing := sorted(set(wanted) - set(found)):
        problems.append(f"signed, and not there: {_listed(missing)}")
    if problems:
        raise SignatureError("; ".join(problems))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(_shown, names[:_SHOWN])) + more


def _shown(name: str) -> str:
    """Write a name so that any log and JSON takes it."""
    return name.encode("utf-8", "backslashreplace").decode()


def _files(folder: Path) -> list[str]:
    """List the files of a folder but its signature, by their paths in it with slashes.

    Raises:
        SignatureError: one is a link or no file.
    """
    names = [path.relative_to(folder).as_posix() for path in _walk(folder, folder)]
    return sorted(name for name in names if name != contract.MODEL_SIGNATURE_FILE)


def _walk(folder: Path, top: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            name = _shown(path.relative_to(top).as_posix())
            # What it leads to may change, or lie outside of what is signed.
            if entry.is_symlink():
                raise SignatureError(f"{name} is a symbolic link, which can't be signed")
            if entry.is_dir():
                yield from _walk(path, top)
            elif entry.is_file():
                yield path
            else:
                raise SignatureError(f"{name} is neither a file nor a folder")


def _digest(source: Path, copy: Path | None = None) -> str:
    """Compute a file's SHA-256, and write the same bytes into a copy."""
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_opened(source))
        written = None
        if copy is not None:
            copy.parent.mkdir(parents=True, exist_ok=True)
            written = stack.enter_context(copy.open("wb"))
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if written is not None:
                written.write(chunk)
    return digest.hexdigest()


def _opened(path: Path) -> BinaryIO:
    """Open a plain file; what became a link or a pipe since it was listed is refused."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SignatureError(f"{_shown(path.name)} is a symbolic link") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise SignatureError(f"{_shown(path.name)} is no plain file")
    return os.fdopen(handle, "rb")
