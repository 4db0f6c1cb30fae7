"""Radiographs with the heat map of their answer laid over them, as PNG files.

A picture shows what the model sees: the whole image, grey, squeezed to 256×256, here enlarged to
512×512. Where nothing speaks for the answer it is the radiograph as it is; the warmer a place,
the more of it is colour.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from common.errors import InputError
from models.conversion import converted
from models.rendering import DEFAULT, Rendering
from schema import contract
from serving.prediction import Failure, Prediction, Result, read_file

SUFFIX: Final = ".png"
_SHOWN_SIZE: Final = (2 * contract.IMAGE_SIZE, 2 * contract.IMAGE_SIZE)
# The share of colour in a pixel where the heat is 1; what lies below stays visible.
_OPACITY: Final = 0.6
# matplotlib's "plasma" (van der Walt and Smith 2015, CC0) at ten even steps: equal steps of heat
# look equally far apart, to the colour-blind, too; and no step is grey, as radiographs are.
_PLASMA: Final = np.array(
    [
        (0x0D, 0x08, 0x87), (0x46, 0x03, 0x9F), (0x72, 0x01, 0xA8), (0x9C, 0x17, 0x9E),
        (0xBD, 0x37, 0x86), (0xD8, 0x57, 0x6B), (0xED, 0x79, 0x53), (0xFB, 0x9F, 0x3A),
        (0xFD, 0xCA, 0x26), (0xF0, 0xF9, 0x21),
    ],
    np.float32,
)  # fmt: skip


def plan(paths: Sequence[Path], files: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Decide where each picture goes.

    Args:
        paths: what the user gave, files and folders.
        files: the images that are meant by them.
        output: a PNG file, where one image was given by name; else a folder, in which a
            picture has its image's name, and a number where two images have the same.

    Returns:
        Image -> its picture.

    Raises:
        InputError: the output is a file where it has to be a folder, or no PNG; or a picture
            would take the place of an image.
    """
    one = len(paths) == 1 and not paths[0].is_dir() and not output.is_dir()
    named_file = output.suffix.lower() == SUFFIX
    if one and not named_file:
        raise InputError(f"explain: {output} must end with {SUFFIX}, or be a folder.")
    if not one and not output.is_dir() and (named_file or output.exists()):
        raise InputError(
            f"explain: {output} is no folder; several images, or a folder of them, need one."
        )
    targets = {files[0]: output} if one else _in_folder(files, output)
    images = {_identity(file) for file in files} - {None}
    for file, target in targets.items():
        if _identity(target) in images:
            raise InputError(
                f"explain: {target} is one of the images (the picture of {file} would take its "
                "place); give another place."
            )
    return targets


def _in_folder(files: Iterable[Path], folder: Path) -> dict[Path, Path]:
    targets: dict[Path, Path] = {}
    taken: set[str] = set()
    for file in files:
        name, number = file.stem, 1
        # Not every file system tells "a" from "A".
        while name.lower() in taken:
            number += 1
            name = f"{file.stem}-{number}"
        taken.add(name.lower())
        targets[file] = folder / f"{name}{SUFFIX}"
    return targets


def _identity(file: Path) -> tuple[int, int] | None:
    """Identify a file, however it is named; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def write_pictures(
    results: Iterable[Result], targets: Mapping[Path, Path], rendering: Rendering = DEFAULT
) -> Iterator[Result]:
    """Draw each answer's heat map as it comes.

    Args:
        results: of the files of `targets`, with heat maps.
        targets: image -> its picture; what is there is written over.
        rendering: of DICOM, as the answers were made with.

    Returns:
        The results, with the picture's file instead of the heat map.

    Raises:
        InputError: a picture can't be written.
    """
    for result in results:
        if isinstance(result, Failure):
            yield result
            continue
        yield _write(result, targets[result.file], rendering)


def _write(result: Prediction, target: Path, rendering: Rendering) -> Result:
    assert result.heat_map is not None
    content = read_file(result.file)
    if isinstance(content, Failure):
        return content
    try:
        picture = overlay(content, result.heat_map, rendering)
    # Pillow says that a file is damaged in many ways.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Failure(result.file, f"can't be drawn on: {error}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target, "PNG")
    except OSError as error:
        raise InputError(f"explain: {target} can't be written: {error.strerror}") from error
    return replace(result, heat_map=None, explanation=target)


def overlay(image: bytes, heat: np.ndarray, rendering: Rendering = DEFAULT) -> Image.Image:
    """Lay a heat map over a radiograph.

    Args:
        image: PNG, JPEG or DICOM file.
        heat: float [256, 256], 0..1.
        rendering: of DICOM.

    Returns:
        Colours, 512×512.

    Raises:
        OSError: Pillow can't decode the image.
        UnusableImageError: it can't be converted.
    """
    model_size = (contract.IMAGE_SIZE, contract.IMAGE_SIZE)
    seen = grey(image, rendering).resize(model_size, Image.Resampling.BILINEAR)
    shown = np.asarray(seen.resize(_SHOWN_SIZE, Image.Resampling.BICUBIC), np.float32)
    field = Image.fromarray(np.asarray(heat, np.float32))
    warmth = np.asarray(field.resize(_SHOWN_SIZE, Image.Resampling.BILINEAR))[..., np.newaxis]
    share = _OPACITY * warmth
    mixed = (1 - share) * shown[..., np.newaxis] + share * colours(warmth[..., 0])
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def colours(heat: np.ndarray) -> np.ndarray:
    """Turn float [...], 0..1, into red, green and blue, float [..., 3], 0..255."""
    steps = np.linspace(0, 1, len(_PLASMA))
    return np.stack([np.interp(heat, steps, channel) for channel in _PLASMA.T], axis=-1)


def grey(content: bytes, rendering: Rendering = DEFAULT) -> Image.Image:
    """Decode as `models.preprocessing` does, up to rounding.

    Args:
        content: PNG, JPEG or DICOM file.
        rendering: of DICOM.

    Returns:
        Grey levels ("L") in the file's own size.

    Raises:
        OSError: Pillow can't decode it.
        UnusableImageError: it can't be converted.
    """
    with Image.open(io.BytesIO(converted(content, rendering=rendering))) as image:
        if image.mode.startswith("I"):
            # 16 bits: Pillow would cut off at 255, TensorFlow keeps the high byte.
            high = np.asarray(image).astype(np.int64) >> 8
            return Image.fromarray(high.clip(0, 255).astype(np.uint8))
        # Alpha is dropped, not blended: by way of the palette's own colours.
        return image.convert("RGB").convert("L")
