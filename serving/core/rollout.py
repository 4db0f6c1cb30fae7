"""The rollout of a model: which version is stable, which one is tried, and on which requests.

`rollout.json` in the model's folder, beside its versions. TensorFlow Serving looks at folders with
a number alone, so it passes it over. `cxr canary`, `cxr promote` and `cxr rollback` write it, each
in one step; a server that looks for new versions reads it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from common.durable import write_durably
from common.errors import InputError
from schema import contract
from serving.protocol.tensors import Tensors

ROLLOUT_FILE: Final = "rollout.json"
STABLE: Final = "stable"
CANARY: Final = "canary"
SHADOW: Final = "shadow"
SHARE: Final = "share"
HISTORY: Final = "history"
_EXAMPLES: Final = (contract.INPUT_EXAMPLES, "inputs")


@dataclass(frozen=True)
class Rollout:
    """The versions of a model that answer.

    Attributes:
        stable: the version that answers.
        tried: the version that is tried; None for none.
        share: 0..1, of the requests that it gets.
        shadow: whether `stable` answers these, too, and the client gets its answer; else the client
            gets the tried version's.
        history: what was done, the oldest first: `what`, `version`, `from`, `at`, `by`, `why`.
    """

    stable: int
    tried: int | None = None
    share: float = 0.0
    shadow: bool = False
    history: tuple[Mapping[str, Any], ...] = ()

    @property
    def versions(self) -> frozenset[int]:
        """The versions that have to be in memory."""
        return frozenset({self.stable} if self.tried is None else {self.stable, self.tried})

    @property
    def labels(self) -> dict[str, int]:
        """TensorFlow Serving's version labels, by which a client may ask."""
        return {STABLE: self.stable} | ({} if self.tried is None else {CANARY: self.tried})

    def route(self, loaded: Collection[int], stands: float | None) -> tuple[int | None, int | None]:
        """Choose who answers a request that names no version.

        Args:
            loaded: versions that answer.
            stands: where the request stands among all, 0..1; None for what is no request for an
                answer, and so is stable's.

        Returns:
            The version that answers, None where none does; and the one that is asked beside it.
        """
        tried = self.tried if self.tried in loaded else None
        chosen = stands is not None and stands < self.share
        if tried is not None and chosen and not self.shadow:
            return tried, None
        if self.stable in loaded:
            return self.stable, tried if chosen else None
        # What was stable before, until the new one is loaded; a version on trial only if need be.
        others = set(loaded) - {self.tried} or set(loaded)
        return max(others, default=None), None

    def to_json(self) -> dict[str, Any]:
        """Return what the file holds."""
        return {
            STABLE: self.stable,
            CANARY: self.tried,
            SHARE: self.share,
            SHADOW: self.shadow,
            HISTORY: [dict(entry) for entry in self.history],
        }


def read_rollout(model: Path) -> Rollout | None:
    """Read a model's rollout.

    Args:
        model: folder of its versions.

    Returns:
        None where nobody wrote any: the latest version answers.

    Raises:
        InputError: it can't be read.
    """
    file = model / ROLLOUT_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} can't be read: {error}.") from error
    try:
        value = json.loads(text)
        tried = value[CANARY]
        found = Rollout(
            int(value[STABLE]),
            None if tried is None else int(tried),
            float(value[SHARE]),
            bool(value[SHADOW]),
            tuple(_entry(entry) for entry in value[HISTORY]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no rollout: {error}; `cxr promote` writes it anew.") from error
    if not 0.0 <= found.share <= 1.0:
        raise InputError(f"{file}: share {found.share:g} is none; 0..1 is.")
    return found


def _entry(value: Mapping[str, Any]) -> dict[str, Any]:
    entry = dict(value)
    return entry | {
        "what": str(entry["what"]), "version": int(entry["version"]), "from": int(entry["from"])
    }  # fmt: skip


def write_rollout(model: Path, rollout: Rollout) -> None:
    """Write a model's rollout in one step: a server reads the old one or the new one.

    Args:
        model: folder of its versions.
        rollout: of it.

    Raises:
        InputError: the disk fails. The old one is still there then.
    """
    text = json.dumps(rollout.to_json(), indent=1, ensure_ascii=False)
    file = model / ROLLOUT_FILE
    try:
        write_durably(file, text.encode(), model)
    except OSError as error:
        raise InputError(f"{file} can't be written: {error}.") from error


def place_of_digest(digest: str) -> float:
    """Say where an image stands among all images: 0..1, the same for it each time.

    Args:
        digest: SHA-256 of the file, hex, as the prediction log has it.
    """
    return int.from_bytes(hashlib.sha256(f"rollout {digest}".encode()).digest()[:8], "big") / 2**64


def place_of(inputs: Tensors) -> float:
    """Say where a request stands among all requests, by its image.

    Args:
        inputs: of the request. Of several images, the first counts: a request has one answer, by
            one version. A tf.Example is known by the image in it; where there is no image, by all
            that there is.
    """
    content = _image_in(inputs)
    if content is not None:
        return place_of_digest(hashlib.sha256(content).hexdigest())
    digest = hashlib.sha256()
    for name in sorted(inputs):
        value = inputs[name]
        parts = value.ravel().tolist() if value.dtype == np.object_ else [value.tobytes()]
        for part in parts:
            digest.update(part if isinstance(part, bytes) else str(part).encode())
    return place_of_digest(digest.hexdigest())


def place_of_examples(examples: Sequence[bytes]) -> float:
    """Say where a request of serialized tf.Examples stands among all, by the first one's image."""
    content = _image_of_example(examples[0]) if examples else b""
    return place_of_digest(hashlib.sha256(content).hexdigest())


def _image_in(inputs: Tensors) -> bytes | None:
    images = inputs.get(contract.INPUT_IMAGES)
    if images is not None and images.dtype == np.object_ and images.size:
        return bytes(images.ravel()[0])
    for name in _EXAMPLES:
        examples = inputs.get(name)
        if examples is not None and examples.dtype == np.object_ and examples.size:
            return _image_of_example(bytes(examples.ravel()[0]))
    return None


def _image_of_example(serialized: bytes) -> bytes:
    # Only where a rollout is under way does anybody get here.
    from google.protobuf.message import DecodeError
    from tensorflow.core.example import example_pb2

    try:
        features = example_pb2.Example.FromString(serialized).features.feature
    except DecodeError:
        return serialized
    if contract.IMAGE in features and features[contract.IMAGE].bytes_list.value:
        return bytes(features[contract.IMAGE].bytes_list.value[0])
    return serialized
