"""Takes images by STOW-RS into the queue (PS3.18, 10.5): DICOMweb's way to be sent what is new."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import socket
import threading
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import anyio.to_thread
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from common.errors import InputError
from models.conversion import dicom, dicom_file
from models.deep_images import UnusableImageError
from serving.dicom_node.disk_queue import BadUidError, DiskQueue, QueueFullError
from serving.dicom_node.multipart import DICOM, BodyError, Part, Parts
from serving.dicom_node.receiving import RADIOGRAPHS, FullNotes, transfer_syntaxes
from serving.dicom_node.server import plain_host
from serving.dicom_node.settings import NodeSettings
from serving.dicom_node.tls import server_context
from serving.dicom_node.web import authorization_of
from serving.server.connections import QuietServer, protocol_class

LOGGER: Final = logging.getLogger("cxr.node")
_JSON: Final = "application/dicom+json"
_STUDIES: Final = re.compile(r"/studies(?:/(?P<study>[0-9.]{1,64}))?/?")
# Failure reasons, PS3.18, I.2.2.
OUT_OF_RESOURCES: Final = 0xA700
PROCESSING_FAILURE: Final = 0x0110
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
CANNOT_UNDERSTAND: Final = 0xC000
SYNTAX_NOT_SUPPORTED: Final = 0xC122
_RETRY_AFTER_S: Final = "10"


@dataclass(frozen=True)
class _Failure:
    """An image that wasn't taken.

    Attributes:
        reason: its number.
        sop_class: of the image; empty where it isn't known.
        uid: likewise.
    """

    reason: int
    sop_class: str = ""
    uid: str = ""


@dataclass
class _Report:
    """The fate of the images of one request, in DICOM's JSON (PS3.18, F; I.2)."""

    taken: list[tuple[str, str]] = field(default_factory=list)
    failures: list[_Failure] = field(default_factory=list)

    @property
    def status(self) -> int:
        """HTTP's, PS3.18, table 10.5.3-1: all, some or none of them were taken."""
        if not self.failures:
            return 200
        if self.taken:
            return 202
        full = any(one.reason == OUT_OF_RESOURCES for one in self.failures)
        return 503 if full else 409

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        named = [_item(one.sop_class, one.uid, one.reason) for one in self.failures if one.uid]
        others = [_item("", "", one.reason) for one in self.failures if not one.uid]
        taken = [_item(sop_class, uid) for sop_class, uid in self.taken]
        # FailedSOPSequence, ReferencedSOPSequence, OtherFailuresSequence.
        for tag, items in (("00081198", named), ("00081199", taken), ("0008119A", others)):
            if items:
                found[tag] = {"vr": "SQ", "Value": items}
        return found


def _item(sop_class: str, uid: str, reason: int | None = None) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if uid:
        item["00081150"] = {"vr": "UI", "Value": [sop_class]}
        item["00081155"] = {"vr": "UI", "Value": [uid]}
    if reason is not None:
        item["00081197"] = {"vr": "US", "Value": [reason]}
    return item


class StowReceiver:
    """Listens for DICOMweb clients that send images."""

    def __init__(self, settings: NodeSettings, queue: DiskQueue) -> None:
        """Take the address; connections are answered from `run` on.

        Args:
            settings: with `stow`.
            queue: for the images.

        Raises:
            InputError: the address can't be listened on, a peer has no address, or a file that the
                settings name is wrong.
        """
        stow = settings.stow
        assert stow is not None
        self._queue, self._limits = queue, settings.limits
        self._full = FullNotes()
        self._hosts = frozenset[str]().union(
            *(peer.addresses() for peer in settings.peers_of(stow.senders))
        )
        self._authorization = authorization_of(stow.authorization_file)
        self._syntaxes = frozenset(transfer_syntaxes())
        # One after the other, so that what is inflated to be read is in memory once.
        self._one = threading.Lock()
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            server_header=False,
            # Else whoever is on this machine could name any host as its own.
            proxy_headers=False,
            lifespan="off",
            # A method's kind isn't found out.
            interface="asgi3",
            ws="none",
            http=protocol_class(self._limits.network_s),
            limit_concurrency=self._limits.associations + 1,
            timeout_graceful_shutdown=max(1, round(self._limits.stop_s)),
        )
        if stow.tls:
            assert settings.tls is not None
            config.load()
            config.ssl = server_context(settings.tls)
        try:
            family = socket.AF_INET6 if ":" in stow.host else socket.AF_INET
            self._socket = socket.create_server((stow.host, stow.port), family=family)
        except OSError as error:
            raise InputError(
                f"stow: can't listen on {stow.host}:{stow.port}: {error.strerror}."
            ) from error
        self.port = int(self._socket.getsockname()[1])
        self._server = QuietServer(config)

    def run(self) -> None:
        """Take requests until `stop`."""
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def stop(self) -> None:
        """Take no more requests; those that are under way may end, for as long as the limit."""
        # It closes the socket, too.
        self._server.should_exit = True

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except BodyError as error:
            response = PlainTextResponse(error.message, error.status)
        except ClientDisconnect:
            return
        except Exception:
            LOGGER.exception("a request wasn't answered")
            response = PlainTextResponse("the node failed; its log says why", 500)
        if response.status_code not in (200, 202, 409, 503):
            # The rest of the body isn't read.
            response.headers["Connection"] = "close"
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        host = plain_host(request.client.host if request.client else "")
        self._admit(request, host)
        found = _STUDIES.fullmatch(request.scope["path"])
        if found is None:
            raise BodyError(404, "images are taken at /studies")
        if request.method != "POST":
            return PlainTextResponse("images come by POST", 405, {"Allow": "POST"})
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise BodyError(415, "a compressed body isn't taken")
        parts = Parts(request.headers.get("content-type", ""), self._limits.instance_bytes)
        report = _Report()
        stream = request.stream()
        while True:
            data = None
            with anyio.move_on_after(self._limits.network_s) as waited:
                data = await anext(stream, None)
            if waited.cancelled_caught:
                raise BodyError(408, f"no byte came for {self._limits.network_s:g} s")
            if data is None:
                break
            for part in parts.feed(data):
                if len(report.taken) + len(report.failures) >= self._limits.instances:
                    raise BodyError(413, f"more than {self._limits.instances} images at once")
                await anyio.to_thread.run_sync(self._take, part, found["study"] or "", host, report)
        parts.close()
        if not report.taken and not report.failures:
            raise BodyError(400, "the body has no part")
        retry = {"Retry-After": _RETRY_AFTER_S} if report.status == 503 else {}
        return JSONResponse(report.to_json(), report.status, retry, media_type=_JSON)

    def _admit(self, request: Request, host: str) -> None:
        """Refuse who isn't known, before anything of the body is read.

        Raises:
            BodyError: 401 or 403.
        """
        if host not in self._hosts:
            LOGGER.warning("a request from %s was refused: it is no peer's", host)
            raise BodyError(403, "this host is none of the node's peers")
        if self._authorization is None:
            return
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, self._authorization.encode()):
            LOGGER.warning("a request from %s was refused: its authorization is another", host)
            raise BodyError(401, "the header Authorization isn't what the node expects")

    def _take(self, part: Part, study: str, host: str, report: _Report) -> None:
        """Put an image into the queue; it is on the disk before its answer says so."""
        with self._one:
            try:
                sop_class, uid = self._taken(part, study, host)
            except _NotTakenError as error:
                LOGGER.warning("an image of %s was refused: %s", host, error)
                report.failures.append(error.failure)
            else:
                report.taken.append((sop_class, uid))

    def _taken(self, part: Part, study: str, host: str) -> tuple[str, str]:
        if part.content_type != DICOM:
            raise _NotTakenError(f"a part that isn't {DICOM}", _Failure(CANNOT_UNDERSTAND))
        if part.content is None:
            size = f"has more than {self._limits.instance_bytes} bytes"
            raise _NotTakenError(size, _Failure(OUT_OF_RESOURCES))
        offset, magic = dicom.MAGIC
        try:
            if not part.content.startswith(magic, offset):
                raise UnusableImageError("no DICOM file")
            read = dicom_file.read(
                part.content, ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
            )
            sop_class, uid = read.text("SOPClassUID"), read.text("SOPInstanceUID")
            of_study = read.text("StudyInstanceUID")
        except UnusableImageError as error:
            raise _NotTakenError(_without_values(error), _Failure(CANNOT_UNDERSTAND)) from error
        if study and of_study != study:
            raise _NotTakenError(
                "is of another study than the address", _Failure(PROCESSING_FAILURE, sop_class, uid)
            )
        if sop_class not in RADIOGRAPHS:
            raise _NotTakenError("no radiograph", _Failure(SOP_CLASS_NOT_SUPPORTED, sop_class, uid))
        if read.syntax not in self._syntaxes:
            raise _NotTakenError(
                "its transfer syntax isn't decoded here",
                _Failure(SYNTAX_NOT_SUPPORTED, sop_class, uid),
            )
        return self._queued(sop_class, uid, part.content, host)

    def _queued(self, sop_class: str, uid: str, content: bytes, host: str) -> tuple[str, str]:
        try:
            added = self._queue.add(uid, content, host)
        except QueueFullError as full:
            self._full.say(full)
            raise _NotTakenError("no room", _Failure(OUT_OF_RESOURCES, sop_class, uid)) from full
        except BadUidError as bad:
            raise _NotTakenError("its UID is none", _Failure(CANNOT_UNDERSTAND)) from bad
        except Exception as error:
            LOGGER.exception("an image of %s wasn't taken: %s", host, uid)
            raise _NotTakenError(
                "the queue failed", _Failure(PROCESSING_FAILURE, sop_class, uid)
            ) from error
        if added == "differs":
            LOGGER.warning("%s came again from %s with other bytes; the first count", uid, host)
        else:
            LOGGER.info("%s from %s: %s", uid, host, added)
        return sop_class, uid


class _NotTakenError(Exception):
    """An image isn't taken; the message is for the log, and without a patient's data."""

    def __init__(self, why: str, failure: _Failure) -> None:
        super().__init__(why)
        self.failure = failure


def _without_values(error: UnusableImageError) -> str:
    """Leave out what the sentence quotes of the header."""
    return re.sub(r" \('.*'\)", "", str(error))
