"""Phantoms as DICOM files, in every transfer syntax that somebody here can write."""

from __future__ import annotations

import base64
import io
import json
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

Pixels = NDArray[Any]

PLAIN: Final = {
    "implicit": uid.ImplicitVRLittleEndian,
    "explicit": uid.ExplicitVRLittleEndian,
    "big endian": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
}
# By pydicom's own encoders.
_PYDICOM: Final = {"RLE": uid.RLELossless, "JPEG 2000 lossless": uid.JPEG2000Lossless}
# By GDCM's, which writes streams of all that is allocated: the name is one of its own.
_GDCM: Final = {
    "JPEG lossless": "JPEGLosslessProcess14",
    "JPEG lossless SV1": "JPEGLosslessProcess14_1",
    "JPEG-LS": "JPEGLSLossless",
}
_GDCM_LOSSY: Final = {
    "JPEG baseline": "JPEGBaselineProcess1",
    "JPEG extended": "JPEGExtendedProcess2_4",
    "JPEG-LS near lossless": "JPEGLSNearLossless",
    "JPEG 2000": "JPEG2000",
}
LOSSLESS: Final = (*PLAIN, *_PYDICOM, *_GDCM)
LOSSY: Final = tuple(_GDCM_LOSSY)
# Of `phantom(bits)`, compressed by imagecodecs 2026.3.6 (OpenJPH, libjpeg-turbo, liblj92), since
# nothing that is installed here writes these.
_FRAMES: Final = Path(__file__).with_name("dicom_frames.json")
FRAMES: Final = {
    "HTJ2K lossless 8": (uid.HTJ2KLossless, 8),
    "HTJ2K lossless 16": (uid.HTJ2KLosslessRPCL, 16),
    "HTJ2K 8": (uid.HTJ2K, 8),
    "JPEG extended 12": (uid.JPEGExtended12Bit, 12),
    "JPEG lossless 12": (uid.JPEGLossless, 12),
}


def phantom(bits: int = 8, shape: tuple[int, int] = (48, 60), seed: int = 0) -> Pixels:
    """Draw something smooth with some noise, that uses all of so many bits.

    Returns:
        uint8 or uint16 of this shape.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    wave = np.sin(rows / 7 + seed) + np.cos(columns / 9) + rng.normal(0, 0.05, shape)
    scaled = (wave - wave.min()) / np.ptp(wave) * (2**bits - 1)
    return np.rint(scaled).astype(np.uint8 if bits <= 8 else np.uint16)


def dataset(pixels: Pixels, bits: int = 0, **elements: Any) -> Dataset:
    """Make a DX image of grey values, without a window.

    Args:
        pixels: uint8, uint16 or int16 [rows, columns].
        bits: stored; all of a value's where 0.
        elements: further ones, by keyword, or other values of those that are there; None removes
            one.
    """
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    found.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    found.SOPInstanceUID = "2.25.1"
    found.PatientID = ""
    found.Modality = "DX"
    found.Rows, found.Columns = pixels.shape
    found.SamplesPerPixel = 1
    found.PhotometricInterpretation = "MONOCHROME2"
    found.BitsAllocated = pixels.itemsize * 8
    found.BitsStored = bits or found.BitsAllocated
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(pixels.dtype.kind == "i")
    found.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    found["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        if value is None:
            del found[keyword]
        else:
            setattr(found, keyword, value)
    return found


def encoded(found: Dataset, syntax: str = "explicit") -> bytes:
    """Write a data set as a file.

    Args:
        found: uncompressed, in little endian.
        syntax: a name of this module's.
    """
    if syntax in PLAIN:
        return _written(found, PLAIN[syntax])
    if syntax in _PYDICOM:
        found = dcmread(io.BytesIO(_written(found, uid.ExplicitVRLittleEndian)))
        found.compress(_PYDICOM[syntax], encoding_plugin="pylibjpeg", generate_instance_uid=False)
        return _written(found, _PYDICOM[syntax])
    return _by_gdcm(_written(found, uid.ExplicitVRLittleEndian), syntax)


def from_frame(name: str, **elements: Any) -> bytes:
    """Write `phantom` as one of `FRAMES`; the elements are `dataset`'s."""
    syntax, bits = FRAMES[name]
    return with_frame(dataset(phantom(bits), bits, **elements), syntax, frame(name))


def frame(name: str) -> bytes:
    """Read one of `FRAMES`."""
    return base64.b64decode(json.loads(_FRAMES.read_text(encoding="utf-8"))[name])


def with_frame(found: Dataset, syntax: uid.UID, *frames: bytes) -> bytes:
    """Write a data set as a file with frames that are compressed already."""
    found.PixelData = encapsulate(list(frames))
    found["PixelData"].VR = "OB"
    found["PixelData"].is_undefined_length = True
    return _written(found, syntax)


def read_by_gdcm(content: bytes) -> Pixels:
    """Decode a file's pixels with the other decoder.

    Returns:
        uint8 or uint16 [rows, columns], bits that don't count included.
    """
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source.dcm")
        source.write_bytes(content)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(source))
        assert reader.Read()
        image = reader.GetImage()
        data = image.GetBuffer().encode("utf-8", "surrogateescape")
        kind = np.uint8 if image.GetPixelFormat().GetBitsAllocated() == 8 else np.uint16
        shape = image.GetDimension(1), image.GetDimension(0)
        return np.frombuffer(data, kind)[: shape[0] * shape[1]].reshape(shape)


def _written(found: Dataset, syntax: uid.UID) -> bytes:
    found.file_meta.TransferSyntaxUID = syntax
    plain = found.get("PixelData")
    if syntax == uid.ExplicitVRBigEndian:
        found.PixelData = np.frombuffer(found.PixelData, np.uint16).byteswap().tobytes()
    buffer = io.BytesIO()
    try:
        dcmwrite(
            buffer,
            found,
            implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
            force_encoding=False,
            enforce_file_format=True,
        )
    finally:
        if plain is not None:
            found.PixelData = plain
    return buffer.getvalue()


def _by_gdcm(content: bytes, syntax: str) -> bytes:
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.dcm"), Path(folder, "target.dcm")
        source.write_bytes(content)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(source))
        assert reader.Read()
        wanted = getattr(gdcm.TransferSyntax, {**_GDCM, **_GDCM_LOSSY}[syntax])
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(wanted))
        change.SetInput(reader.GetImage())
        assert change.Change(), syntax
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(target))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return target.read_bytes()
