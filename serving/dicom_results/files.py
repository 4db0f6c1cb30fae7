"""Writes the results of `cxr predict --dicom-out`: a report and a heat map for each image."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset

from common.errors import InputError
from models.conversion.dicom import MAGIC
from serving.dicom_results.heat_map import make_heat_map
from serving.dicom_results.identity import Algorithm
from serving.dicom_results.report import make_report
from serving.prediction import Failure, Prediction, Result, read_file

# Content of an image's file, heat map -> picture.
Draw = Callable[[bytes, np.ndarray], Image.Image]


def require_dicom(files: Sequence[Path]) -> None:
    """Make sure that there is a study for each image's results, before any is classified.

    A file that can't be read is let through: it has no answer, and is listed with the reason.

    Raises:
        InputError: some are no DICOM files.
    """
    others = [file for file in files if not _may_be_dicom(file)]
    if others:
        lines = "".join(f"\n  {file}" for file in others)
        raise InputError(
            f"dicom-out: {len(others)} of {len(files)} images are no DICOM files, so there is no "
            f"study for their results; leave them out:{lines}"
        )


def _may_be_dicom(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            content.seek(MAGIC[0])
            return content.read(len(MAGIC[1])) == MAGIC[1]
    except OSError:
        return True


def write_results(
    results: Iterable[Result], folder: Path, algorithm: Algorithm, draw: Draw
) -> Iterator[Result]:
    """Write a report and a heat map for each answer as it comes.

    A file's name is its UID. As that follows from the content, one that is there already is the
    same result, and is left alone.

    Args:
        results: of DICOM files, with heat maps.
        folder: made where it isn't there.
        algorithm: that gave the answers.
        draw: lays a heat map over an image.

    Returns:
        The results, with the files that were written; failures, where an image has no study.

    Raises:
        InputError: the folder can't be written.
    """
    for result in results:
        if isinstance(result, Failure):
            yield result
            continue
        yield _write(result, folder, algorithm, draw)


def _write(answer: Prediction, folder: Path, algorithm: Algorithm, draw: Draw) -> Result:
    content = read_file(answer.file)
    if isinstance(content, Failure):
        return content
    try:
        # pydicom warns with the values that it wonders about.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = objects_of(content, answer, algorithm, draw)
            contents = [(str(one.SOPInstanceUID), encoded(one)) for one in made]
    # Damaged headers end in many kinds of error.
    except Exception as error:
        return Failure(answer.file, f"has no DICOM result: {type(error).__name__}: {error}")
    files = [_keep(folder / f"{uid}.dcm", data) for uid, data in contents]
    return replace(answer, dicom=tuple(files))


def objects_of(
    content: bytes, answer: Prediction, algorithm: Algorithm, draw: Draw
) -> list[Dataset]:
    """Make the report of an answer, and its heat map where there is one.

    Args:
        content: of the image's file.
        answer: for it.
        algorithm: that gave the answer.
        draw: lays a heat map over the image.

    Returns:
        The report, then the heat map.

    Raises:
        Exception: of many kinds, where the image's header is damaged, or names no study.
    """
    source = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
    made = [make_report(source, answer, algorithm)]
    if answer.heat_map is not None:
        picture = np.asarray(draw(content, answer.heat_map))
        made.append(make_heat_map(source, answer, algorithm, picture))
    return made


def encoded(made: Dataset) -> bytes:
    """Return an object as a file's content."""
    content = BytesIO()
    pydicom.dcmwrite(content, made, enforce_file_format=True)
    return content.getvalue()


def _keep(file: Path, content: bytes) -> Path:
    """Write a file whole or not at all; one that is there stays."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            try:
                partial.write_bytes(content)
                partial.replace(file)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"dicom-out: {file} can't be written: {error.strerror}.") from error
    return file
