"""Destinations of results: a peer by C-STORE, or a DICOMweb server by STOW-RS."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import pydicom
import requests
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from serving.dicom_node.receiving import application_entity
from serving.dicom_node.settings import NodeSettings
from serving.dicom_node.tls import client_context
from serving.dicom_node.web import web_client

LOGGER: Final = logging.getLogger("cxr.node")
# PS3.7, C.5.7: it is there already. What has this UID is this object.
_DUPLICATE: Final = 0x0111
# PS3.4, B.2.3 and PS3.7, C.5: no room, no resources, and not now.
_FOR_NOW: Final = (0x0110, 0x0213)
_HTTP_FOR_NOW: Final = (401, 403, 404, 408, 425, 429)

# Gives one result to the peer; returns when the peer has it.
Give = Callable[[Path], None]


class RefusedError(Exception):
    """The peer refuses a result for good."""


class BusyError(Exception):
    """The peer refuses a result for the moment."""


class PeerDownError(Exception):
    """Nobody answers, or nobody is let in."""


class Destination(Protocol):
    """A peer that gets results."""

    def session(self) -> contextlib.AbstractContextManager[Give]:
        """Open a connection for some results.

        Raises:
            PeerDownError: there is none; also from `Give`, as `RefusedError` and `BusyError`.
        """


def destination_of(settings: NodeSettings) -> Destination:
    """Make the destination that the settings name.

    Raises:
        InputError: files of TLS or of the authorization are wrong.
    """
    return DimsePeer(settings) if settings.answer.peer is not None else WebPeer(settings)


class DimsePeer:
    """A peer that gets results by C-STORE."""

    def __init__(self, settings: NodeSettings) -> None:
        """Prepare the associations.

        Args:
            settings: with `answer.peer`.

        Raises:
            InputError: files of TLS are wrong.
        """
        assert settings.answer.peer is not None
        self._peer = settings.peers[settings.answer.peer]
        self._entity = application_entity(settings.ae_title, settings.limits)
        for sop_class in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage):
            self._entity.add_requested_context(
                sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
            )
        self._tls = None
        if settings.answer.tls:
            assert settings.tls is not None
            self._tls = (client_context(settings.tls), self._peer.host)

    @contextlib.contextmanager
    def session(self) -> Iterator[Give]:
        """Open an association.

        Raises:
            PeerDownError: the peer doesn't answer, or refuses.
        """
        where = f"{self._peer.ae_title} at {self._peer.host}:{self._peer.port}"
        assert self._peer.port is not None
        try:
            association = self._entity.associate(
                self._peer.host,
                self._peer.port,
                ae_title=self._peer.ae_title,
                tls_args=self._tls,
            )
        # A name that has no address just now.
        except OSError as error:
            raise PeerDownError(f"{where} can't be reached: {error}") from error
        if association.is_rejected:
            raise PeerDownError(f"{where} refuses associations of this node")
        if not association.is_established:
            raise PeerDownError(f"{where} can't be reached")
        accepted = {context.abstract_syntax for context in association.accepted_contexts}

        def give(file: Path) -> None:
            result = pydicom.dcmread(file)
            if result.SOPClassUID not in accepted:
                raise RefusedError(f"{where} takes no {result.SOPClassUID.name}")
            try:
                said = association.send_c_store(result)
            except RuntimeError as error:
                raise PeerDownError(f"{where} ended the association") from error
            if "Status" not in said:
                raise PeerDownError(f"{where} gave no answer")
            _judge(int(said.Status), where)

        try:
            yield give
        finally:
            if association.is_established:
                association.release()


def _judge(status: int, where: str) -> None:
    """Tell apart what a C-STORE's status means (PS3.4, B.2.3)."""
    if status in (0x0000, _DUPLICATE) or status >> 12 == 0xB:
        return
    if status >> 8 == 0xA7 or status in _FOR_NOW:
        raise BusyError(f"{where} answers 0x{status:04X}: not now")
    raise RefusedError(f"{where} answers 0x{status:04X}")


class WebPeer:
    """A DICOMweb server that gets results by STOW-RS."""

    def __init__(self, settings: NodeSettings) -> None:
        """Prepare the requests.

        Args:
            settings: with `answer.web`.

        Raises:
            InputError: files of TLS or of the authorization are wrong.
        """
        assert settings.answer.web is not None
        self._where = settings.answer.web.url
        self._client = web_client(settings, settings.answer.web, settings.limits)

    @contextlib.contextmanager
    def session(self) -> Iterator[Give]:
        """Return what stores a result; there is no connection to open."""
        yield self._give

    def _give(self, file: Path) -> None:
        where = self._where
        try:
            said = self._client.store_instances([pydicom.dcmread(file)])
        except requests.HTTPError as error:
            status = error.response.status_code
            if status >= requests.codes.server_error or status in _HTTP_FOR_NOW:
                raise PeerDownError(f"{where} answers {status}") from error
            # It is asked for one object at a time, so a conflict is this one's.
            reason = _reason_of(error.response)
            if reason != _DUPLICATE:
                raise RefusedError(f"{where} answers {status}, reason 0x{reason:04X}") from error
            return
        except requests.RequestException as error:
            raise PeerDownError(f"{where} can't be reached: {type(error).__name__}") from error
        for failed in said.get("FailedSOPSequence") or ():
            _judge(int(failed.FailureReason), where)


def _reason_of(response: requests.Response) -> int:
    """Read the reason of a refusal (PS3.18, 10.5.3); 0 where none is given."""
    try:
        return int(response.json()["00081198"]["Value"][0]["00081197"]["Value"][0])
    except (ValueError, LookupError, TypeError):
        return 0
