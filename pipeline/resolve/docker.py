"""Finds, before the DAG is built, the daemon and the images that serve models for a moment.

InfraValidator takes whatever goes wrong for a fault of the model. Its verdict is cached, so that
a model would stay unpushed when the daemon or the image is there at last.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from common.errors import InputError
from pipeline.config.nodes import InfraValidationConfig

SERVING_IMAGE: Final = "tensorflow/serving"


def docker_host() -> str:
    """Address of the daemon; empty for Docker's own default."""
    return os.environ.get("DOCKER_HOST", "")


def require_images(
    config: InfraValidationConfig, *, connect: Callable[..., Any] | None = None
) -> None:
    """Pulls the images that aren't there; nothing to do unless the mode is `docker`.

    Args:
        config: what the user asked for.
        connect: base URL -> client of a daemon; Docker's own where None.

    Raises:
        InputError: no daemon answers, or an image can't be had.
    """
    if config.mode != "docker":
        return
    import docker
    import requests

    failures = (docker.errors.DockerException, requests.RequestException)
    host = docker_host()
    try:
        client = (connect or docker.DockerClient)(base_url=host or None)
    except failures as error:
        raise InputError(
            f"infra_validation.mode: docker needs a Docker daemon, and {host or 'the default one'} "
            f"doesn't answer ({_short(error)}). Start it, set DOCKER_HOST, or take embedded."
        ) from error
    try:
        for tag in config.docker_tags:
            try:
                _require_image(client, tag)
            except failures as error:
                raise InputError(
                    f"infra_validation.docker_tags: {SERVING_IMAGE}:{tag} is not there and can't "
                    f"be pulled ({_short(error)})."
                ) from error
    finally:
        client.close()


def _require_image(client: Any, tag: str) -> None:
    import docker

    try:
        client.images.get(f"{SERVING_IMAGE}:{tag}")
    except docker.errors.ImageNotFound:
        client.images.pull(SERVING_IMAGE, tag=tag)


def _short(error: Exception) -> str:
    # Docker's own words, where it said any.
    text = getattr(error, "explanation", None) or str(error)
    return text.strip().rstrip(".")[:300]
