"""audit.json: written by the node, read by all that report on a run. Imports no TFX."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

AUDIT_FILE: Final = "audit.json"


def write_audit(uri: str, content: Mapping[str, Any]) -> None:
    """Write audit.json into the folder `uri`, local or remote."""
    import tensorflow as tf

    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    with tf.io.gfile.GFile(f"{uri}/{AUDIT_FILE}", "wb") as file:
        file.write(text.encode("utf-8"))


def read_audit(uri: str) -> dict[str, Any]:
    """Read audit.json in the folder `uri`; README.md says what its keys hold.

    Raises:
        tf.errors.NotFoundError: there is none.
    """
    import tensorflow as tf

    with tf.io.gfile.GFile(f"{uri}/{AUDIT_FILE}", "rb") as file:
        content: dict[str, Any] = json.loads(file.read().decode("utf-8"))
    return content
