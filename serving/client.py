"""Classifies image files with a server that speaks TensorFlow Serving's REST API."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
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
from schema.table import TableColumn
from serving.prediction import Failure, Prediction, Result, not_explained, read_file
from serving.settings import RENDERING_PATH
from serving.table_rows import Cells, Table, columns_of_signature

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


class _Image(NamedTuple):
    """An image as a server takes it, and what is known of it beside its pixels."""

    file: Path
    content: bytes
    cells: Cells


class Client:
    """A model of a server."""

    def __init__(
        self,
        url: str,
        model: str,
        tries: int = _TRIES,
        rendering: AskedRendering = AS_LEARNED,
        table: Callable[[tuple[TableColumn, ...]], Table] | None = None,
        token_file: Path | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """Keep the settings; ask nothing yet, but for the columns where there is a table.

        Args:
            url: of the server, up to the port, such as `http://127.0.0.1:8501`.
            model: its name.
            tries: of a request, while the server is busy or can't be reached.
            rendering: of DICOM, which is converted here, where it isn't to be as the server's
                model learned.
            table: makes what is known of the images beside their pixels, out of the columns that
                the model takes by its signature.
            token_file: holds the token by which the server knows this client, and nothing else.
            ca_file: PEM of who signed the server's certificate; the system's authorities where
                None.

        Raises:
            InputError: no URL of HTTP, or a file that can't be used.
        """
        if not url.startswith(("http://", "https://")):
            raise InputError(f"url: {url!r} must begin with http:// or https://.")
        base, name = url.rstrip("/"), quote(model, safe="")
        self._model_url = f"{base}/v1/models/{name}"
        self._rendering_url = f"{base}{RENDERING_PATH}{name}"
        self._asked = rendering
        self._rendering: Rendering | None = None
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
        self._table, self._sees_image = None, True
        if table:
            taken = self._table_inputs()
            self._table = table(columns_of_signature(taken))
            self._sees_image = contract.INPUT_IMAGES in taken

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
            response = self._session.get(
                self._rendering_url, timeout=_TIMEOUT_S, verify=self._verify
            )
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
        contents = [self._read(file) for file in files]
        readable = [each for each in contents if isinstance(each, _Image)]
        answers: dict[Path, Result] = {}
        # Where nothing but the image is known, the model is asked as ever.
        for with_cells in (False, True):
            part = [each for each in readable if self._with_table(each) == with_cells]
            of_files = [each.file for each in part]
            answers |= dict(zip(of_files, self._classify(part, explain), strict=True))
        for each in contents:
            yield answers[each.file] if isinstance(each, _Image) else each

    def _read(self, file: Path) -> _Image | Failure:
        """Read a file as every server takes it: TensorFlow Serving converts nothing."""
        content = read_file(file)
        if isinstance(content, Failure):
            return content
        try:
            cells = self._table.cells_of(file, content) if self._table else {}
            # Whoever sends no DICOM needn't ask the server how it is shown.
            is_dicom = converter_of(content) is dicom
            png = converted(content, rendering=self.rendering()) if is_dicom else converted(content)
            return _Image(file, png, cells)
        except UnusableImageError as error:
            return Failure(file, str(error))

    def _table_inputs(self) -> dict[str, Any]:
        """Ask what the model takes where it is told of a table; nothing where it isn't."""
        try:
            response = self._session.get(
                f"{self._model_url}/metadata", timeout=_TIMEOUT_S, verify=self._verify
            )
            response.raise_for_status()
            known = response.json()["metadata"]["signature_def"]["signature_def"]
        except (requests.RequestException, KeyError, ValueError) as error:
            raise ServerError(f"{self._model_url}/metadata says nothing: {error}") from error
        inputs: dict[str, Any] = known.get(contract.SIGNATURE_TABLE, {}).get("inputs", {})
        return inputs

    def _instances(self, images: Sequence[_Image]) -> list[Any]:
        encoded = [{"b64": base64.b64encode(each.content).decode()} for each in images]
        if not (self._table and self._with_table(images[0])):
            return encoded
        # All columns, with what stands for a missing one: TensorFlow Serving wants each.
        columns = self._table.as_tensors([each.cells for each in images])
        rows = [{n: _in_json(v[row]) for n, v in columns.items()} for row in range(len(images))]
        if not self._sees_image:
            return rows
        return [{contract.INPUT_IMAGES: i, **row} for i, row in zip(encoded, rows, strict=True)]

    def _with_table(self, image: _Image) -> bool:
        """Return whether the model is told more of an image than its pixels, or nothing else."""
        return bool(image.cells) or not self._sees_image

    def _classify(self, images: Sequence[_Image], explain: bool) -> list[Result]:
        if not images:
            return []
        instances = self._instances(images)
        asked = {"signature_name": contract.SIGNATURE_EXPLAIN} if explain else {}
        if self._with_table(images[0]):
            asked = {"signature_name": contract.SIGNATURE_TABLE}
        response = self._post({**asked, "instances": instances})
        if response.status_code == requests.codes.ok:
            rows = response.json()["predictions"]
            return [_prediction(i.file, row) for i, row in zip(images, rows, strict=True)]
        if response.status_code not in (400, 413):
            raise ServerError(f"{self._model_url}: {_said(response)}")
        if explain and _NO_EXPLANATION in _said(response):
            raise not_explained(self._model_url)
        if len(images) == 1:
            return [Failure(images[0].file, f"the server refuses it: {_said(response)}")]
        return [result for image in images for result in self._classify([image], explain)]

    def _post(self, body: dict[str, Any]) -> requests.Response:
        try:
            # Not as `json`: requests refuses NaN, which is a number for these servers.
            return self._session.post(
                f"{self._model_url}:predict",
                data=json.dumps(body),
                timeout=_TIMEOUT_S,
                verify=self._verify,
            )
        except requests.RequestException as error:
            raise self._unreachable(error) from error


def _in_json(value: float | bytes) -> float | str:
    return value.decode() if isinstance(value, bytes) else value


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
        domain_reason=row.get(contract.OUTPUT_DOMAIN_REASON),
    )


def _said(response: requests.Response) -> str:
    try:
        message = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        message = response.text
    return f"{response.status_code} {' '.join(message.split())[:_SHOWN_CHARACTERS]}"
