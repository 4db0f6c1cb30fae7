"""Decides, before the DAG is built, which weights each backbone gets."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from common.errors import InputError
from models.backbones import Backbone, get_backbone
from models.weights import (
    RANDOM,
    WeightsSource,
    find_weights,
    keras_cache,
    missing_weights_error,
)
from pipeline.config.pipeline_config import PipelineConfig

# Seconds without a byte, after which a network counts as absent.
_DOWNLOAD_TIMEOUT = 10.0


def found_weights(config: PipelineConfig) -> dict[str, WeightsSource | None]:
    """Look for all weights on this machine, as `models.weights.find_weights` does for one.

    Returns:
        Backbone -> its weights; None where they have to be downloaded.

    Raises:
        InputError: as of `find_weights`.
    """
    folder = config.weights_dir
    return {name: find_weights(get_backbone(name), folder) for name in config.backbones}


def resolve_weights(
    config: PipelineConfig,
    warn: Callable[[str], None],
    found: Mapping[str, WeightsSource | None] | None = None,
) -> dict[str, WeightsSource]:
    """Find, download, or (where the configuration allows it) forgo weights.

    Args:
        config: names backbones and the weights folder.
        warn: told in one sentence about each backbone that goes on with random weights.
        found: by `found_weights`, which hashes each file; it is asked where None.

    Raises:
        InputError: no weights for a backbone, and random ones aren't allowed.
    """
    return {
        name: source or _download_or_random(get_backbone(name), config, warn)
        for name, source in (found_weights(config) if found is None else found).items()
    }


def _download_or_random(
    backbone: Backbone, config: PipelineConfig, warn: Callable[[str], None]
) -> WeightsSource:
    try:
        return _download(backbone, config.weights_dir)
    except InputError:
        if not config.allow_random_weights:
            raise
    warn(
        f"{backbone.name}: no pre-trained weights found, and none could be downloaded. Going "
        "on with RANDOM weights: good for a demonstration, not for results."
    )
    return WeightsSource(RANDOM)


def _keep(name: str) -> None:
    """Move a download from the run's scratch folder into Keras' own cache."""
    downloaded = Path(os.environ.get("KERAS_HOME", "")) / "models" / name
    kept = keras_cache() / name
    if downloaded.is_file() and downloaded.resolve() != kept.resolve():
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(downloaded, kept)


def _download(backbone: Backbone, weights_dir: Path | None) -> WeightsSource:
    """Lets Keras download the ImageNet weights into its cache.

    The file alone, and no network around it: Keras' applications build the whole network before
    they ask for the file, so without a connection it would be for nothing.
    """
    import keras

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)
    # By itself, Keras takes the home that there was at its import, of an earlier run maybe.
    home = os.environ.get("KERAS_HOME")
    try:
        if home:
            Path(home).mkdir(parents=True, exist_ok=True)
        keras.utils.get_file(
            backbone.imagenet_file,
            backbone.imagenet_url,
            cache_subdir="models",
            file_hash=backbone.imagenet_md5,
            cache_dir=home,
        )
    except Exception as error:  # Keras raises plain Exception where a download fails.
        raise missing_weights_error(backbone, weights_dir, str(error)) from error
    finally:
        socket.setdefaulttimeout(before)
    try:
        _keep(backbone.imagenet_file)
    except OSError as error:
        cause = f"it can't be kept in {keras_cache()}: {error.strerror}"
        raise missing_weights_error(backbone, weights_dir, cause) from error
    source = find_weights(backbone, None)
    if source is None:
        raise missing_weights_error(
            backbone, weights_dir, f"Keras put nothing into {keras_cache()}"
        )
    return source
