"""Takes images by C-STORE into the queue, and answers C-ECHO."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from pydicom.pixels import get_decoder
from pydicom.uid import (
    AllTransferSyntaxes,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt

from common.errors import InputError
from models.conversion.dicom_pixels import PLUGIN
from serving.dicom_node.disk_queue import BadUidError, DiskQueue, QueueFullError
from serving.dicom_node.server import BoundedServer, plain_host
from serving.dicom_node.settings import NodeLimits, NodeSettings
from serving.dicom_node.tls import server_context

LOGGER: Final = logging.getLogger("cxr.node")
# Of C-ECHO, PS3.4, A.4.
VERIFICATION: Final = "1.2.840.10008.1.1"
RADIOGRAPHS: Final = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
_UNCOMPRESSED: Final = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
INVALID_INSTANCE: Final = 0x0117
OUT_OF_RESOURCES: Final = 0xA700
# A-ASSOCIATE-RJ, PS3.8, 9.3.4: permanent, by the user, and what isn't recognised.
_CALLING_UNKNOWN: Final = (0x01, 0x01, 0x03)
# Between two lines that say that the queue is full.
_QUIET_S: Final = 60.0


def transfer_syntaxes() -> list[str]:
    """List the transfer syntaxes that can be decoded here."""
    found = [str(uid) for uid in _UNCOMPRESSED]
    for uid in AllTransferSyntaxes:
        if uid in _UNCOMPRESSED:
            continue
        try:
            # Others' decoders aren't asked, as in training.
            if PLUGIN in get_decoder(uid).available_plugins:
                found.append(str(uid))
        # Those of videos have none.
        except NotImplementedError:
            continue
    return found


def application_entity(title: str, limits: NodeLimits) -> AE:
    """Make an application entity with the limits' time-outs, and without any context."""
    entity = AE(title)
    entity.maximum_associations = limits.associations
    entity.maximum_pdu_size = limits.pdu_bytes
    entity.network_timeout = entity.connection_timeout = limits.network_s
    entity.acse_timeout = limits.acse_s
    entity.dimse_timeout = limits.dimse_s
    return entity


class FullNotes:
    """The lines of the log that say that the queue is full: one now and then, not one an image."""

    def __init__(self) -> None:
        """Begin with none said."""
        self._quiet_until = 0.0

    def say(self, full: QueueFullError) -> None:
        """Say it, unless it was said a moment ago."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_S
            LOGGER.warning("the queue is full, and senders are told to come again: %s", full)


class Receiver:
    """Listens for peers that send images."""

    def __init__(self, settings: NodeSettings, queue: DiskQueue) -> None:
        """Start to listen.

        Args:
            settings: with `receive`.
            queue: for the images.

        Raises:
            InputError: the address can't be listened on, a peer has no address, or TLS's files
                are wrong.
        """
        receive = settings.receive
        assert receive is not None
        self._queue, self._limits = queue, settings.limits
        self._full = FullNotes()
        # AE title -> where from.
        self._senders: dict[str, frozenset[str]] = {}
        for peer in settings.peers_of(receive.senders):
            before = self._senders.get(peer.ae_title, frozenset())
            self._senders[peer.ae_title] = before | peer.addresses()
        entity = application_entity(settings.ae_title, settings.limits)
        entity.require_called_aet = True
        entity.add_supported_context(VERIFICATION)
        for sop_class in RADIOGRAPHS:
            entity.add_supported_context(sop_class, transfer_syntaxes())
        context = None
        if receive.tls:
            assert settings.tls is not None
            context = server_context(settings.tls)
        try:
            self._server = BoundedServer(
                entity,
                (receive.host, receive.port),
                hosts=frozenset().union(*self._senders.values()),
                limits=settings.limits,
                context=context,
                handlers=[
                    (evt.EVT_REQUESTED, self._admit),
                    (evt.EVT_REJECTED, _note_rejection),
                    (evt.EVT_C_STORE, self._store),
                    (evt.EVT_C_ECHO, lambda _: SUCCESS),
                ],
            )
        except OSError as error:
            raise InputError(
                f"receive: can't listen on {receive.host}:{receive.port}: {error.strerror}."
            ) from error
        self.port = self._server.port

    def run(self) -> None:
        """Take connections until `stop`."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """Take no more connections; let those that are there end, and then cut them off."""
        self._server.shutdown()
        end = time.monotonic() + self._limits.stop_s
        while self._server.active_associations and time.monotonic() < end:
            time.sleep(0.05)
        for association in self._server.active_associations:
            association.abort()

    def _admit(self, event: evt.Event) -> None:
        """Refuse an AE title that is no peer's, or comes from elsewhere than the peer is."""
        asked: Any = event.assoc.requestor.primitive
        title = asked.calling_ae_title
        host = plain_host(event.assoc.requestor.address)
        if host not in self._senders.get(title, ()):
            LOGGER.warning("%r from %s was refused: no such peer", title, host)
            event.assoc.acse.send_reject(*_CALLING_UNKNOWN)
            # Until the words are out; else the connection is closed in front of them.
            event.assoc.kill()

    def _store(self, event: evt.Event) -> int:
        """Answer a C-STORE: success is said when the image is on the disk, and not before."""
        sender = str(event.assoc.requestor.ae_title)
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        try:
            added = self._queue.add(uid, event.encoded_dataset(), sender)
        except QueueFullError as full:
            self._full.say(full)
            return OUT_OF_RESOURCES
        except BadUidError as bad:
            LOGGER.warning("an image of %s was refused: %s", sender, bad)
            return INVALID_INSTANCE
        except Exception:
            LOGGER.exception("an image of %s wasn't taken: %s", sender, uid)
            return PROCESSING_FAILURE
        if added == "differs":
            LOGGER.warning("%s came again from %s with other bytes; the first count", uid, sender)
        else:
            LOGGER.info("%s from %s: %s", uid, sender, added)
        return SUCCESS


def _note_rejection(event: evt.Event) -> None:
    primitive: Any = event.assoc.requestor.primitive
    LOGGER.warning(
        "an association of %r with %r was refused: the AE title isn't this node's, or there are "
        "too many",
        primitive.calling_ae_title,
        primitive.called_ae_title,
    )
