"""The loading of what is signed, and of nothing else."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from grpc import StatusCode

from serving.protocol.status import ServingError
from serving.servables.servable import Servable
from serving.signing.errors import SignatureError
from serving.signing.folder import container_of, sealed_copy


class RefusedError(ServingError):
    """A server that asks for signatures doesn't serve a version."""

    def __init__(self, error: SignatureError) -> None:
        """Say why."""
        super().__init__(StatusCode.FAILED_PRECONDITION, f"A signature is required, and {error}")


def load_signed(
    version: Path,
    keys: Sequence[ec.EllipticCurvePublicKey],
    load: Callable[[Path], Servable],
    checked: Callable[[], None] = lambda: None,
) -> Servable:
    """Load a version from a private copy that was proven.

    The copy stays as long as the servable: a servable may read a signature that is seldom asked for
    when it is. Networks that a push left beside the versions aren't signed, and aren't found from
    the copy.

    Args:
        version: its folder.
        keys: any of them may have signed.
        load: from the copy to a servable.
        checked: called between the proof and the load.

    Raises:
        RefusedError: it isn't what one of the keys signed; says which file.
        OSError: it can't be copied.
    """
    try:
        copy = sealed_copy(version, keys, checked)
    except SignatureError as error:
        raise RefusedError(error) from error
    container = container_of(copy)
    try:
        servable = load(copy)
    except BaseException:
        shutil.rmtree(container, ignore_errors=True)
        raise
    # At the end of the process, too. Python may be slow to find that nobody has it any more.
    servable.at_close(weakref.finalize(servable, shutil.rmtree, container, True))
    return servable
