#!/usr/bin/env bash
# pydicom: a PresentationLUTShape of INVERSE is taken by the image's own brightest pixel.
#
# Software:  pydicom 3.0.2, `pydicom.pixels.apply_presentation_lut`.
# Guess:     INVERSE turns the whole range of the values round: of 8 bits stored, black becomes 255 in
#            every image, and one stored value is one grey level.
# Behaviour: the result is `arr.max() - arr`. Black becomes what the brightest pixel happens to be:
#            the same value 0 is 255 beside a white pixel, 200 beside one of 200, and 0 in an image that is
#            black throughout. A table (PresentationLUTSequence) is stretched over the image's own
#            smallest and largest value, likewise. The function's documentation says nothing of it.
# Valid:     PresentationLUTShape INVERSE is what digital radiographs of MONOCHROME1 have (PS3.3,
#            C.8.11.3.1.2); a P-value's scale is the output range of what comes before (C.11.6).
# Matters:   collimated and underexposed radiographs lose their white; a model that was trained on one
#            program's inversion meets another scale, image by image, in serving.
# Here:      models/conversion/dicom_grey.py inverts the range of the window, the table or BitsStored.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.1.3
cd "$folder"
venv/bin/python - <<'PYTHON'
import io

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_presentation_lut


def radiograph(values):
    """Write and read a digital radiograph of 8 bits whose low values are bright."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    image.SOPInstanceUID = pydicom.uid.generate_uid()
    image.Modality, image.PhotometricInterpretation = "DX", "MONOCHROME1"
    image.PresentationLUTShape, image.PixelIntensityRelationship = "INVERSE", "LOG"
    image.PixelIntensityRelationshipSign = -1
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, 0, "US"
    image.Rows, image.Columns, image.SamplesPerPixel = 1, len(values), 1
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    image.PixelData = bytes(values)
    image["PixelData"].VR = "OB"
    file = io.BytesIO()
    image.save_as(file, enforce_file_format=True)
    file.seek(0)
    return pydicom.dcmread(file)


print("pydicom", pydicom.__version__)
for values, expected in (
    ([0, 100, 200, 255], [255, 155, 55, 0]),
    ([0, 100, 150, 200], [200, 100, 50, 0]),
    ([0, 0, 0, 0], [0, 0, 0, 0]),
):
    image = radiograph(values)
    seen = apply_presentation_lut(image.pixel_array, image)
    print(f"stored {values} -> {np.ravel(seen).tolist()}")
    assert np.ravel(seen).tolist() == expected, "changed: by the range it is 255 less the value"
PYTHON
