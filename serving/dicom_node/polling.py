"""Fetches images from a DICOMweb server: asks for those of some modalities, takes the unknown."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Final

import requests
from dicomweb_client.api import DICOMwebClient

from serving.dicom_node.disk_queue import DiskQueue, QueueFullError, is_uid
from serving.dicom_node.settings import Poll
from serving.dicom_results.files import encoded

LOGGER: Final = logging.getLogger("cxr.node")
# Answers a question; the server may give fewer.
_PAGE: Final = 500
# SOP Instance, Study and Series UID; the keys of DICOM's JSON.
_INSTANCE, _STUDY, _SERIES = "00080018", "0020000D", "0020000E"


class Poller:
    """Looks at a server again and again, and puts new images into the queue."""

    def __init__(self, queue: DiskQueue, client: DICOMwebClient, poll: Poll) -> None:
        """Prepare to look.

        Args:
            queue: for the images.
            client: of the server.
            poll: what to ask for, and how often.
        """
        self._queue, self._client, self._poll = queue, client, poll

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        while not stop.is_set():
            try:
                self.look(stop)
            except requests.RequestException as error:
                LOGGER.warning("%s can't be asked: %s", self._poll.url, _said(error))
            except QueueFullError as full:
                LOGGER.warning("the queue is full, and nothing more is fetched: %s", full)
            # Others' answers may be anything; a node that stops to look would go unnoticed.
            except Exception as error:
                LOGGER.error(
                    "%s gave an answer that can't be read: %s",
                    self._poll.url,
                    type(error).__name__,
                )
            stop.wait(self._poll.every_s)

    def look(self, stop: threading.Event) -> int:
        """Ask once, and fetch what isn't known.

        Returns:
            How many images were new.

        Raises:
            QueueFullError: there is no room for more.
            requests.RequestException: the server doesn't answer.
        """
        new = 0
        for modality in self._poll.modalities:
            for page in self._pages(modality):
                known = self._queue.known([instance for instance, *_ in page])
                for instance, study, series in page:
                    if stop.is_set():
                        return new
                    if instance not in known:
                        new += self._fetch(instance, study, series)
        return new

    def _pages(self, modality: str) -> Iterator[list[tuple[str, str, str]]]:
        """Ask page by page: servers cut answers off without a word."""
        offset = 0
        seen: set[str] = set()
        while True:
            found = self._client.search_for_instances(
                search_filters={
                    "Modality": modality,
                    "StudyDate": f"{self._poll.since:%Y%m%d}-",
                },
                limit=_PAGE,
                offset=offset,
            )
            offset += len(found)
            page = [uids for uids in map(_uids, found) if uids and uids[0] not in seen]
            seen.update(uids[0] for uids in page)
            # A server that takes no offset gives the same page for ever.
            if not page:
                return
            yield page

    def _fetch(self, instance: str, study: str, series: str) -> int:
        # Before megabytes come that there is no room for.
        self._queue.require_room(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                content = encoded(self._client.retrieve_instance(study, series, instance))
        except requests.RequestException as error:
            LOGGER.warning("%s can't be fetched now: %s", instance, _said(error))
            return 0
        except Exception as error:
            LOGGER.warning("%s can't be fetched: %s", instance, type(error).__name__)
            return 0
        added = self._queue.add(instance, content, self._poll.url)
        LOGGER.info("%s from %s: %s", instance, self._poll.url, added)
        return int(added in ("new", "again"))


def _uids(found: dict[str, Any]) -> tuple[str, str, str] | None:
    """Read the three UIDs of an instance; None where they aren't all there."""
    try:
        instance, study, series = (
            str(found[tag]["Value"][0]) for tag in (_INSTANCE, _STUDY, _SERIES)
        )
    except (LookupError, TypeError):
        return None
    return (instance, study, series) if all(map(is_uid, (instance, study, series))) else None


def _said(error: requests.RequestException) -> str:
    """Describe an error without the address, whose query may name a patient."""
    status = getattr(error.response, "status_code", None)
    return f"HTTP {status}" if status else type(error).__name__
