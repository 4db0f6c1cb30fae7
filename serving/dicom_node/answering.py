"""Asks the model about the images of the queue, and makes their results."""

from __future__ import annotations

import logging
import threading
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pydicom

from serving.dicom_node.disk_queue import DiskQueue, Item
from serving.dicom_node.settings import NodeSettings
from serving.dicom_results.files import Draw, encoded, objects_of
from serving.dicom_results.identity import REQUIRED, Algorithm
from serving.dicom_results.report import MANUFACTURER
from serving.local_client import Answer
from serving.prediction import Failure

if TYPE_CHECKING:
    from serving.prediction_log.log import PredictionLog
    from serving.prediction_log.settings import LogTarget

LOGGER: Final = logging.getLogger("cxr.node")
_LOOK_S: Final = 0.2
_WAIT_S: Final = 5.0
_LONGEST_WAIT_S: Final = 300.0


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        algorithm: as results name it.
        answer: to image files, with heat maps.
        draw: lays a heat map over an image file's content.
        log: of its answers; None where there is none.
    """

    algorithm: Algorithm
    answer: Answer
    draw: Draw
    log: PredictionLog | None = None


class NoResultError(Exception):
    """An image has no result, and never will have one; the message is without a patient's data."""


def load_model(settings: NodeSettings, network_cache: Path | None) -> Model:
    """Load the newest version of the model; it stays until the node ends.

    Raises:
        InputError: there is none, or it is damaged.
    """
    from functools import partial

    from models.rendering import AskedRendering, learned_by
    from serving.dicom_results.identity import algorithm_of
    from serving.explained import overlay
    from serving.local_client import latest_version, open_model

    version = latest_version(settings.model_dir, settings.model)
    asked = AskedRendering(settings.dicom_window, settings.dicom_percentile)
    rendering = asked.over(learned_by(version), str(version))
    log, target = _log_of(settings)
    answer = open_model(
        version,
        explain=True,
        rendering=rendering,
        network_cache=network_cache,
        max_bytes=settings.limits.instance_bytes,
        observe=log,
        logged=target,
    )
    return Model(algorithm_of(version), answer, partial(overlay, rendering=rendering), log)


def _log_of(settings: NodeSettings) -> tuple[PredictionLog | None, LogTarget | None]:
    """Open the prediction log, if there is to be one, and say where it is."""
    if settings.prediction_log is None:
        return None, None
    from serving.prediction_log.log import PredictionLog
    from serving.prediction_log.settings import LogSettings, log_target

    target = log_target(settings.prediction_log.dir, settings.prediction_log.sampling_rate)
    return PredictionLog(LogSettings(target)), target


def results_for(uid: str, file: Path, model: Model) -> dict[str, bytes]:
    """Make the results of an image.

    Args:
        uid: SOP Instance UID that the sender named.
        file: of the image.
        model: to ask.

    Returns:
        UID -> content of a DICOM file: the report, then the heat map.

    Raises:
        NoResultError: the image is none that can be answered.
    """
    content = file.read_bytes()
    # pydicom warns with the values that it wonders about.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # First: what is converted for it inflates to no more than it may; pydicom has no bound.
        (result,) = model.answer([file])
        if isinstance(result, Failure):
            raise NoResultError(result.why)
        _require_image(uid, content)
        try:
            made = objects_of(content, result, model.algorithm, model.draw)
        # Damaged headers end in many kinds of error, whose texts quote the header.
        except Exception as error:
            raise NoResultError(
                f"its header allows no report: {type(error).__name__} in {_place_of(error)}"
            ) from error
    return {str(one.SOPInstanceUID): encoded(one) for one in made}


def _require_image(uid: str, content: bytes) -> None:
    """Refuse what must not be answered, whatever the model says of it."""
    try:
        header = pydicom.dcmread(
            BytesIO(content), specific_tags=[*REQUIRED, "Manufacturer"], stop_before_pixels=True
        )
        missing = [name for name in REQUIRED if not header.get(name)]
        inside = str(header.get("SOPInstanceUID"))
        maker = str(header.get("Manufacturer"))
    except Exception as error:
        raise NoResultError(f"its header can't be read: {type(error).__name__}") from error
    if missing:
        raise NoResultError(f"has no {', '.join(missing)}")
    if inside != uid:
        raise NoResultError("the image inside has another SOP Instance UID than it was sent with")
    if maker == MANUFACTURER:
        # A PACS that forwards all it gets would go round in circles with the node.
        raise NoResultError("is a result of this program, and is not classified again")


def _place_of(error: BaseException) -> str:
    """Name the function that raised an error."""
    trace = error.__traceback__
    name = "?"
    while trace is not None:
        name, trace = trace.tb_frame.f_code.co_name, trace.tb_next
    return name


class Answerer:
    """Answers the images of the queue, one after the other."""

    def __init__(self, queue: DiskQueue, model: Model, tries: int) -> None:
        """Prepare to answer.

        Args:
            queue: of images.
            model: to ask.
            tries: at one image, if the model fails or the process ends meanwhile.
        """
        self._queue, self._model, self._tries = queue, model, tries

    def run(self, stop: threading.Event) -> None:
        """Answer until told to stop."""
        while not stop.is_set():
            item = self._queue.begin_answer()
            if item is None:
                stop.wait(_LOOK_S)
                continue
            self._answer(item)

    def _answer(self, item: Item) -> None:
        if item.tries >= self._tries:
            # Each of them was begun; an image must not end the node for ever.
            self._give_up(item, f"no answer after {item.tries} tries")
            return
        try:
            results = results_for(item.uid, item.image, self._model)
        except NoResultError as error:
            self._give_up(item, str(error))
            return
        # The model's own faults, memory among them: perhaps not the next time.
        except Exception as error:
            wait = min(_LONGEST_WAIT_S, _WAIT_S * 2**item.tries)
            why = f"the model failed: {type(error).__name__}"
            LOGGER.error("%s waits %.0f s: %s in %s", item.uid, wait, why, _place_of(error))
            self._queue.later(item.uid, why, wait)
            return
        self._queue.answer(item.uid, results)
        LOGGER.info("%s has an answer", item.uid)

    def _give_up(self, item: Item, why: str) -> None:
        LOGGER.error("%s failed: %s", item.uid, why)
        self._queue.fail(item.uid, why)
