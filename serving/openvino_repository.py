"""The folder that OpenVINO Model Server serves, and which of it is there already.

It holds

    config.json                          which names the models,
    <model>/<version>/model.xml, .bin    the network, float32,
    <model>/<version>/model.json         what a client needs to know, and what it was made of.

Nothing here imports OpenVINO or TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from schema import contract

CONFIG_FILE: Final = "config.json"
DESCRIPTION_FILE: Final = "model.json"
NETWORK_FILES: Final = ("model.xml", "model.bin")
# Where compose.yaml puts the folder.
MOUNTED: Final = "/models"
_SOURCE: Final = "saved_model_sha256"
_FILES: Final = "sha256"


def write_description(folder: Path, description: Mapping[str, Any], digest: str) -> None:
    """Write a version's `model.json`.

    Args:
        folder: of the version; the network is in it already.
        description: what a client needs to know.
        digest: of the SavedModel, by `digest_of`.
    """
    content = {**description, _SOURCE: digest, _FILES: _network_digests(folder)}
    write_json(folder / DESCRIPTION_FILE, content)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that people can read, too."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    file.write_text(f"{text}\n", encoding="utf-8")


def digest_of(folder: Path) -> str:
    """Hash (SHA-256) a folder's files, with their names.

    A signature isn't counted: signed anew, a model is the same model.
    """
    hasher = hashlib.sha256()
    signature = folder / contract.MODEL_SIGNATURE_FILE
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if file == signature:
            continue
        hasher.update(f"{file.relative_to(folder).as_posix()}\0{file_digest(file)}\n".encode())
    return hasher.hexdigest()


def file_digest(file: Path) -> str:
    """Hash (SHA-256) a file."""
    with file.open("rb") as stream:
        hasher = hashlib.sha256()
        while block := stream.read(2**20):
            hasher.update(block)
    return hasher.hexdigest()


def _network_digests(folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in NETWORK_FILES}


def has_version(folder: Path, digest: str) -> bool:
    """Return whether a version was exported before, from the same SavedModel, and is unharmed.

    OpenVINO numbers what it names, so two conversions of a model needn't be the same bytes.

    Args:
        folder: of the version.
        digest: of the SavedModel, by `digest_of`.

    Raises:
        InputError: something else is there.
    """
    if not folder.exists():
        return False
    try:
        description = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        same = description[_SOURCE] == digest and description[_FILES] == _network_digests(folder)
    # Whatever it is: not what an export wrote.
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise InputError(
            f"output: {folder} holds something else than this export of the version would; "
            "delete it, or give another folder as --output."
        )
    return True


def read_config(file: Path) -> dict[str, Any]:
    """Read the server's configuration; return one without models where there is none yet.

    Raises:
        InputError: it can't be read, or is none.
    """
    if not file.exists():
        return {"model_config_list": [], "monitoring": {"metrics": {"enable": True}}}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        for entry in config["model_config_list"]:
            entry["config"]["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"output: {file} is no configuration of OpenVINO Model Server ({error!r}); "
            "delete it, or give another folder as --output."
        ) from error
    return dict(config)


def with_models(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the configuration with an entry for each model that it lacks."""
    entries = config["model_config_list"]
    listed = {entry["config"]["name"] for entry in entries}
    added = [
        {
            "config": {
                "name": name,
                "base_path": f"{MOUNTED}/{name}",
                # Else OpenVINO takes bf16 where the CPU has it, and the answers aren't compared.
                "plugin_config": {"INFERENCE_PRECISION_HINT": "f32"},
            }
        }
        for name in names
        if name not in listed
    ]
    return {**config, "model_config_list": [*entries, *added]}
