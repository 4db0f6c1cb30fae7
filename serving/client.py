"""Classifies image files with a server that speaks TensorFlow Serving's REST API."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from common.errors import InputError
from models.conversion import converted, converter_of, dicom
from models.deep_images import UnusableImageError
from models.rendering import AS_LEARNED, AskedRendering, Rendering, read_note
from schema import contract
from serving.prediction import Failure, Prediction, Result, not_explained, read_file
from serving.settings import RENDERING_PATH

_BATCH: Final = 8
# A heat map is a megabyte of JSON.
_EXPLAINED_BATCH: Final = 4
# What TensorFlow Serving says where a model lacks the signature.
_NO_EXPLANATION: Final = f'"{contract.SIGNATURE_EXPLAIN}" not found in signature def'
_TRIES: Final = 6
# Seconds before the second try; doubled at each further one. A server's Retry-After wins.
_BACKOFF_S: Final = 0.25
# Busy, or restarting: what another try may mend.
_TRY_AGAIN: Final = (429, 502, 503, 504)
_TIMEOUT_S: Final = (5.0, 120.0)
_SHOWN_CHARACTERS: Final = 300


class ServerError(RuntimeError):
    """The server can't be reached, or refuses whatever is sent."""


class Client:
    """A model of a server."""

    def __init__(
        self, url: str, model: str, tries: int = _TRIES, rendering: AskedRendering = AS_LEARNED
    ) -> None:
        """Keep the settings; open no connection yet.

        Args:
            url: of the server, up to the port, such as `http://127.0.0.1:8501`.
            model: its name.
            tries: of a request, while the server is busy or can't be reached.
            rendering: of DICOM, which is converted here, where it isn't to be as the server's
                model learned.

        Raises:
            InputError: no URL of HTTP.
        """
        if not url.startswith(("http://", "https://")):
            raise InputError(f"url: {url!r} must begin with http:// or https://.")
        base, name = url.rstrip("/"), quote(model, safe="")
        self._model_url = f"{base}/v1/models/{name}"
        self._rendering_url = f"{base}{RENDERING_PATH}{name}"
        self._asked = rendering
        self._rendering: Rendering | None = None
        self._session = requests.Session()
        retry = Retry(
            total=tries - 1,
            backoff_factor=_BACKOFF_S,
            status_forcelist=_TRY_AGAIN,
            # A prediction changes nothing: it may be asked for twice.
            allowed_methods=None,
            respect_retry_after_header=True,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def predict_files(
        self, files: Sequence[Path], batch_size: int | None = None, *, explain: bool = False
    ) -> Iterator[Result]:
        """Classify files, in order.

        Args:
            files: to read.
            batch_size: images a request; 8, or 4 with heat maps, where None. Where a request is
                refused, its images are sent one by one, so that only those at fault go
                without an answer.
            explain: whether answers come with heat maps.

        Raises:
            ServerError: no answer after all tries, or there is no such model.
            InputError: the model knows no heat maps.
        """
        size = batch_size or (_EXPLAINED_BATCH if explain else _BATCH)
        for start in range(0, len(files), size):
            yield from self._batch(files[start : start + size], explain)

    def rendering(self) -> Rendering:
        """Find out how DICOM becomes grey levels, by asking the server once what it knows.

        Raises:
            ServerError: it can't be reached.
        """
        if self._rendering is None:
            self._rendering = self._asked.over(self._learned(), self._model_url)
        return self._rendering

    def _learned(self) -> Rendering | None:
        """Ask how the model learned; None where the server doesn't know, or is of another kind."""
        try:
            response = self._session.get(self._rendering_url, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            raise self._unreachable(error) from error
        if response.status_code != requests.codes.ok:
            return None
        try:
            return read_note(response.text)
        except ValueError:
            return None

    def _unreachable(self, error: requests.RequestException) -> ServerError:
        return ServerError(
            f"{self._model_url} can't be reached ({error}); is `cxr serve` running there?"
        )

    def _batch(self, files: Sequence[Path], explain: bool) -> Iterator[Result]:
        contents = [(file, self._read(file)) for file in files]
        readable = [(file, c) for file, c in contents if isinstance(c, bytes)]
        answers = iter(self._classify(readable, explain))
        for _file, content in contents:
            yield next(answers) if isinstance(content, bytes) else content

    def _read(self, file: Path) -> bytes | Failure:
        """Read a file as every server takes it: TensorFlow Serving converts nothing."""
        content = read_file(file)
        if isinstance(content, Failure):
            return content
        try:
            if converter_of(content) is dicom:
                return converted(content, rendering=self.rendering())
            return converted(content)
        except UnusableImageError as error:
            return Failure(file, str(error))

    def _classify(self, images: Sequence[tuple[Path, bytes]], explain: bool) -> list[Result]:
        if not images:
            return []
        instances = [{"b64": base64.b64encode(content).decode()} for _, content in images]
        asked = {"signature_name": contract.SIGNATURE_EXPLAIN} if explain else {}
        response = self._post({**asked, "instances": instances})
        if response.status_code == requests.codes.ok:
            rows = response.json()["predictions"]
            return [_prediction(file, row) for (file, _), row in zip(images, rows, strict=True)]
        if response.status_code not in (400, 413):
            raise ServerError(f"{self._model_url}: {_said(response)}")
        if explain and _NO_EXPLANATION in _said(response):
            raise not_explained(self._model_url)
        if len(images) == 1:
            return [Failure(images[0][0], f"the server refuses it: {_said(response)}")]
        return [result for image in images for result in self._classify([image], explain)]

    def _post(self, body: dict[str, Any]) -> requests.Response:
        try:
            return self._session.post(f"{self._model_url}:predict", json=body, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            raise self._unreachable(error) from error


def _prediction(file: Path, row: dict[str, Any]) -> Prediction:
    names = row[contract.OUTPUT_CLASSES]
    heat_map = row.get(contract.OUTPUT_HEAT_MAP)
    return Prediction(
        file,
        row[contract.OUTPUT_PREDICTED],
        dict(zip(names, row[contract.OUTPUT_PROBABILITIES], strict=True)),
        bool(row.get(contract.OUTPUT_ABSTAIN, False)),
        None if heat_map is None else np.asarray(heat_map, np.float32),
    )


def _said(response: requests.Response) -> str:
    try:
        message = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        message = response.text
    return f"{response.status_code} {' '.join(message.split())[:_SHOWN_CHARACTERS]}"
