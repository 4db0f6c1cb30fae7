"""The places where a step finds its files: object stores, as seen from inside a container."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from pipeline.kubeflow.artifact_types import title_of
from pipeline.kubeflow.names import PLACES

# KFP's launcher copies a step's input artifacts to these folders before it starts and its
# outputs from there afterwards; so says kfp's own SDK (kfp/dsl/types/artifact_types.py).
LAUNCHER_FOLDERS: Final = {"gs://": "/gcs/", "minio://": "/minio/", "s3://": "/s3/"}
# Artifacts that are a file and no folder.
_FILES: Final = ("tfx.String", "tfx.Integer", "tfx.Float", "tfx.Boolean", "tfx.JsonValue")


def is_remote(place: str) -> bool:
    """Return whether it is a URI, and no path."""
    return "://" in place


def local_path(uri: str) -> str:
    """Return where the launcher puts an artifact; a path stays what it is."""
    for scheme, folder in LAUNCHER_FOLDERS.items():
        if uri.startswith(scheme):
            return folder + uri.removeprefix(scheme)
    return uri


def with_local_artifacts(invocation: dict[str, Any]) -> dict[str, str]:
    """Replace the artifacts' URIs by where the launcher put them, in place.

    Args:
        invocation: KFP's ExecutorInput as JSON.

    Returns:
        Path -> URI of each one replaced.
    """
    moved = {}
    for side in ("inputs", "outputs"):
        for artifacts in invocation.get(side, {}).get("artifacts", {}).values():
            for artifact in artifacts.get("artifacts", []):
                uri = artifact.get("uri", "")
                path = local_path(uri)
                if path != uri:
                    artifact["uri"] = path
                    moved[path] = uri
    return moved


def make_output_folders(invocation: Mapping[str, Any]) -> None:
    """Make the folders of a step's outputs, as TFX's local launcher does.

    KFP makes the folder above each; TFX's entry point for KFP makes none.

    Args:
        invocation: KFP's ExecutorInput as JSON, with paths.
    """
    for artifacts in invocation.get("outputs", {}).get("artifacts", {}).values():
        for artifact in artifacts.get("artifacts", []):
            path = Path(artifact["uri"])
            folder = path.parent if title_of(artifact) in _FILES else path
            folder.mkdir(parents=True, exist_ok=True)


def to_remote(output: Mapping[str, Any], moved: Mapping[str, str]) -> dict[str, Any]:
    """Write KFP's ExecutorOutput with the URIs that the backend knows."""
    result = copy.deepcopy(dict(output))
    for artifacts in result.get("artifacts", {}).values():
        for artifact in artifacts.get("artifacts", []):
            artifact["uri"] = moved.get(artifact.get("uri", ""), artifact.get("uri", ""))
    return result


def fetch_places(values: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """Return the properties, with files and folders that are URIs copied to this machine.

    Args:
        values: a step's properties; those of PLACES name a file or folder.
        scratch: empty folder for the copies.

    Raises:
        InputError: nothing is there, or it can't be read; names the property and the URI.
    """
    fetched = dict(values)
    for name in PLACES:
        place = values.get(name)
        if isinstance(place, str) and is_remote(place):
            fetched[name] = str(fetch(place, scratch / name, name))
    return fetched


def fetch(uri: str, folder: Path, name: str) -> Path:
    """Copy a file or folder from an object store.

    TensorFlow reads gs://; fsspec all that a package is installed for, such as s3fs for s3://.

    Args:
        uri: of a file, or of a folder with all below it.
        folder: to copy into.
        name: how messages call the URI.

    Returns:
        The copy.

    Raises:
        InputError: nothing is there, no library reaches it, or it can't be read.
    """
    target = folder / uri.rstrip("/").rpartition("/")[2]
    if not copy_if_any(uri, target, name):
        raise InputError(f"{name}: there is nothing at {uri}.")
    return target


def copy_if_any(uri: str, target: Path, name: str) -> bool:
    """Copy a file or folder from an object store; return whether there was one.

    Args:
        uri: of a file, or of a folder with all below it.
        target: where the copy will lie; the folders above it are made.
        name: how messages call the URI.

    Raises:
        InputError: no library reaches it, or it can't be read.
    """
    with _said(uri, name):
        target.parent.mkdir(parents=True, exist_ok=True)
        return _copy_by_gfile(uri, target) if uri.startswith("gs://") else _copy(uri, target)


def names_in(place: str, name: str) -> list[str]:
    """Name what lies directly in a folder, sorted; nothing where there is no such folder.

    Args:
        place: a path, or a URI as `fetch` reads it.
        name: how messages call it.

    Raises:
        InputError: no library reaches it, or it can't be read.
    """
    with _said(place, name):
        try:
            return sorted({each.rstrip("/").rpartition("/")[2] for each in _list(place)})
        except (FileNotFoundError, NotADirectoryError):
            return []


def _list(place: str) -> list[str]:
    if not is_remote(place):
        return [entry.name for entry in Path(place).iterdir()]
    if not place.startswith("gs://"):
        import fsspec

        system, path = fsspec.core.url_to_fs(place)
        return list(system.ls(path, detail=False))
    import tensorflow as tf

    try:
        return list(tf.io.gfile.listdir(place))
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(place) from error
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


@contextlib.contextmanager
def _said(uri: str, name: str) -> Iterator[None]:
    """Name the property and the place that are at fault."""
    try:
        yield
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{name}: {uri} can't be reached ({error}); the image needs the fsspec package of "
            "this scheme, or mount the folder as a volume."
        ) from error
    except OSError as error:
        raise InputError(f"{name}: {uri} can't be read: {error}.") from error


def _copy(uri: str, target: Path) -> bool:
    """Copy it; return whether there was something to copy."""
    import fsspec

    system, path = fsspec.core.url_to_fs(uri)
    if system.isdir(path):
        system.get(path.rstrip("/") + "/", f"{target}/", recursive=True)
        return True
    if system.exists(path):
        system.get_file(path, str(target))
        return True
    return False


def _copy_by_gfile(uri: str, target: Path) -> bool:
    import tensorflow as tf
    from tfx.utils import io_utils

    try:
        if tf.io.gfile.isdir(uri):
            io_utils.copy_dir(uri, str(target))
            return True
        if tf.io.gfile.exists(uri):
            io_utils.copy_file(uri, str(target))
            return True
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
    return False
