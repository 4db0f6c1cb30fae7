"""The daemon and the images that InfraValidator will want."""

from __future__ import annotations

from typing import Any

import docker
import pytest
import requests

from common.errors import InputError
from pipeline.config.nodes import InfraValidationConfig
from pipeline.resolve.docker import require_images


class FakeDaemon:
    """A Docker client, and its images."""

    def __init__(self, *tags: str, fault: Exception | None = None) -> None:
        self.tags = set(tags)
        self.pulled: list[str] = []
        self.closed = False
        self.images = self
        self._fault = fault

    def __call__(self, base_url: str | None) -> FakeDaemon:
        self.base_url = base_url
        return self

    def get(self, name: str) -> None:
        if name.removeprefix("tensorflow/serving:") not in self.tags:
            raise docker.errors.ImageNotFound(f"no {name}")

    def pull(self, repository: str, tag: str) -> None:
        if self._fault is not None:
            raise self._fault
        self.pulled.append(f"{repository}:{tag}")

    def close(self) -> None:
        self.closed = True


def _config(*tags: str) -> InfraValidationConfig:
    return InfraValidationConfig(mode="docker", docker_tags=tags)


def _no_daemon(base_url: str | None) -> Any:
    raise docker.errors.DockerException(f"nobody at {base_url}.")


@pytest.mark.parametrize("mode", ["off", "embedded"])
def test_no_daemon_is_asked_unless_it_is_needed(mode: Any) -> None:
    require_images(InfraValidationConfig(mode=mode), connect=_no_daemon)


def test_only_what_is_missing_is_pulled() -> None:
    daemon = FakeDaemon("2.16.1")
    require_images(_config("2.16.1", "2.17.0"), connect=daemon)
    assert daemon.pulled == ["tensorflow/serving:2.17.0"]
    assert daemon.closed


@pytest.mark.parametrize(
    "fault", [docker.errors.APIError("no network"), requests.ConnectionError("no network")]
)
def test_an_image_that_cannot_be_had_stops_the_run(fault: Exception) -> None:
    daemon = FakeDaemon(fault=fault)
    expected = r"tensorflow/serving:2\.16\.1 is not there and can't be pulled \(no network\)"
    with pytest.raises(InputError, match=expected):
        require_images(_config("2.16.1"), connect=daemon)
    assert daemon.closed


@pytest.mark.parametrize(
    ("host", "named"), [(None, "the default one"), ("unix:///x.sock", "unix:///x.sock")]
)
def test_no_daemon_stops_the_run(
    monkeypatch: pytest.MonkeyPatch, host: str | None, named: str
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    if host is not None:
        monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(InputError, match=rf"{named} doesn't answer \(nobody at {host}\)"):
        require_images(_config("2.16.1"), connect=_no_daemon)
