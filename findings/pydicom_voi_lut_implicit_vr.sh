#!/usr/bin/env bash
# pydicom: the same radiograph is all black in implicit VR, and right in explicit VR.
#
# Software:  pydicom 3.0.2, `dcmread`, `apply_modality_lut`, `apply_voi_lut`.
# Guess:     the transfer syntax doesn't change an image. Explicit and implicit VR hold the same.
# Behaviour: pixels are unsigned, RescaleIntercept is -1024, and the VOI LUT's first entry is for
#            -1024. In implicit VR the reader has to choose whether LUT Descriptor is signed.
#            pydicom looks at PixelRepresentation alone, reads 64512, and every pixel lies below
#            the table: all take its first entry. Writing in implicit VR a data set that says SS
#            loses that word silently. No warning.
# Valid:     part 3, C.11.2.1.1 has the second value signed where what the rescaling puts out may
#            be negative; PixelRepresentation counts only where there is no rescaling.
# Matters:   implicit VR is DICOM's default, the one that each receiver has to take: images sent
#            that way through an archive are black, the same from the device are right.
# Here:      models/conversion/dicom_grey.py takes 65536 off the first entry where values may be negative.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.1.3
cd "$folder"
venv/bin/python -W error - <<'PYTHON'
import io

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

stored = np.array([[0, 1000, 3000, 4095]], "<u2")


def seen_as(syntax):
    """Write a computed radiograph in a transfer syntax, read it, and apply its two tables."""
    image, table = Dataset(), Dataset()
    table.add_new("LUTDescriptor", "SS", [4096, -1024, 16])
    table.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    image.SOPInstanceUID = pydicom.uid.generate_uid()
    image.Modality, image.PhotometricInterpretation = "CR", "MONOCHROME2"
    image.Rows, image.Columns, image.SamplesPerPixel = 1, 4, 1
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, -1024, "US"
    image.VOILUTSequence = [table]
    image.add_new("PixelData", "OW", stored.tobytes())
    file = io.BytesIO()
    image.save_as(file, enforce_file_format=True)
    file.seek(0)
    image = pydicom.dcmread(file)
    rescaled = apply_modality_lut(image.pixel_array, image).astype(int)
    shown = apply_voi_lut(rescaled, image)
    return image.VOILUTSequence[0]["LUTDescriptor"].value[1], shown[0].tolist()


print("pydicom", pydicom.__version__)
print("stored values:", stored[0].tolist())
explicit = seen_as(pydicom.uid.ExplicitVRLittleEndian)
implicit = seen_as(pydicom.uid.ImplicitVRLittleEndian)
print(f"explicit VR: first entry for {explicit[0]}, image {explicit[1]}")
print(f"implicit VR: first entry for {implicit[0]}, image {implicit[1]}")
assert explicit == (-1024, [0, 1000, 3000, 4095]), "changed: explicit VR"
assert implicit == (64512, [0, 0, 0, 0]), "changed: implicit VR"
PYTHON
