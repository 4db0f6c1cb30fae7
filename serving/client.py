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
from models.conversion import converted
from models.deep_images import UnusableImageError
from models.rendering import DEFAULT, Rendering
from schema import contract
from serving.prediction import Failure, Prediction, Result, not_explained, read_file

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
        self,
        url: str,
        model: str,
        tries: int = _TRIES,
        rendering: Rendering = DEFAULT,
        token_file: Path | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """Keep the settings; open no connection yet.

        Args:
            url: of the server, up to the port, such as `http://127.0.0.1:8501`.
            model: its name.
            tries: of a request, while the server is busy or can't be reached.
            rendering: of DICOM, as in training; it is converted here.
            token_file: holds the token by which the server knows this client, and nothing else.
            ca_file: PEM of who signed the server's certificate; the system's authorities where
                None.

        Raises:
            InputError: no URL of HTTP, or a file that can't be used.
        """
        if not url.startswith(("http://", "https://")):
            raise InputError(f"url: {url!r} must begin with http:// or https://.")
        self._model_url = f"{url.rstrip('/')}/v1/models/{quote(model, safe='')}"
        self._rendering = rendering
        self._session = requests.Session()
        if token_file is not None:
            self._session.headers["Authorization"] = f"Bearer {_token(token_file)}"
        if ca_file is not None and not ca_file.is_file():
            raise InputError(f"ca-file: {ca_file} is not there.")
        # Given with each request: over a session's own, REQUESTS_CA_BUNDLE would win.
        self._verify = None if ca_file is None else str(ca_file)
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
            return converted(content, rendering=self._rendering)
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
            return self._session.post(
                f"{self._model_url}:predict", json=body, timeout=_TIMEOUT_S, verify=self._verify
            )
        except requests.RequestException as error:
            raise ServerError(
                f"{self._model_url} can't be reached ({error}); is `cxr serve` running there?"
            ) from error


def _token(file: Path) -> str:
    try:
        words = file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"token-file: {file} can't be read ({error}).") from error
    if len(words) != 1 or not words[0].isascii():
        raise InputError(f"token-file: {file} must hold one token, and nothing else.")
    return words[0]


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
