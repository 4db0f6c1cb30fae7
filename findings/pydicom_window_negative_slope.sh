#!/usr/bin/env bash
# pydicom: a window behind a negative rescale slope comes out inverted.
#
# Software:  pydicom 3.0.2, `apply_modality_lut` and then `apply_voi_lut` (or `apply_windowing`).
# Guess:     a window is a rising function: of two pixels, the one with the larger rescaled value
#            is never the darker one. A window over the whole range gives the rescaled values back.
# Behaviour: where RescaleSlope is negative, the result falls. `apply_windowing` takes its output
#            range from the smallest and the largest stored value, rescaled, and doesn't sort the
#            two; so the range runs downwards. Slope -1 and intercept 4095 with a window over
#            everything give the stored values again: as if nobody had rescaled. A VOI LUT in place
#            of the same window gives the right image. No warning; the function's documentation
#            says nothing.
# Valid:     the Modality LUT module of Computed Radiography sets no sign for the slope (part 3,
#            C.11.1), and LINEAR maps to a range whose smallest value is first (C.11.2.1.2). A
#            vendor's file of slope -10, shown as a negative, stands in OHIF/Viewers issue 127.
# Matters:   one vendor's radiographs go into training and serving as negatives of all others.
# Here:      models/conversion/dicom_grey.py has the window's formula of its own, over the standard's
#            output range.
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
from pydicom.pixels import apply_modality_lut, apply_voi_lut

stored = np.array([[0, 1000, 3000, 4095]], "<u2")


def radiograph(slope, intercept):
    """Write and read a computed radiograph of 12 bits whose window is its whole range."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    image.SOPInstanceUID = pydicom.uid.generate_uid()
    image.Modality, image.PhotometricInterpretation = "CR", "MONOCHROME2"
    image.Rows, image.Columns, image.SamplesPerPixel = 1, 4, 1
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = slope, intercept, "US"
    image.WindowCenter, image.WindowWidth = 2048, 4096
    image.PixelData = stored.tobytes()
    file = io.BytesIO()
    image.save_as(file, enforce_file_format=True)
    file.seek(0)
    return pydicom.dcmread(file)


print("pydicom", pydicom.__version__)
print("stored values:", stored[0].tolist())
seen = {}
for slope, intercept in ((1, 0), (-1, 4095)):
    image = radiograph(slope, intercept)
    rescaled = apply_modality_lut(image.pixel_array, image)
    windowed = apply_voi_lut(rescaled, image)
    seen[slope] = windowed[0].round().astype(int).tolist()
    print(f"slope {slope}: rescaled {rescaled[0].astype(int).tolist()}, windowed {seen[slope]}")
assert seen[1] == [0, 1000, 3000, 4095], "changed: slope 1"
assert seen[-1] == [0, 1000, 3000, 4095], "changed: by the standard it is [4095, 3095, 1095, 0]"
PYTHON
