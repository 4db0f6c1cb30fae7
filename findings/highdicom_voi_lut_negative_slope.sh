#!/usr/bin/env bash
# highdicom: a VOI LUT behind a negative rescale slope makes an image of one grey level.
#
# Software:  highdicom 0.28.2, `Image.get_frame(..., apply_voi_transform=True)`; pydicom 3.0.2.
# Guess:     the two tables one after the other: rescaled, then looked up, as pydicom has it.
# Behaviour: highdicom makes one table of both. With slope -1 it turns the VOI LUT round, but goes
#            on to place its first entry where the last one belongs; so every pixel lies outside
#            and takes the same entry. Slopes that aren't whole numbers raise (0.5: "slice step
#            cannot be zero" from NumPy). Slope 1, 2 and negative intercepts are right. No warning.
# Valid:     Computed Radiography may have any slope, and a VOI LUT together with it (part 3,
#            C.11.1 and C.11.2).
# Matters:   a conversion that ends without an error delivers white rectangles. A pipeline that
#            checks that files can be decoded lets them through.
# Here:      models/conversion/dicom_grey.py applies slope and table by itself, and one grey level is an
#            image.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    highdicom==0.28.2 pydicom==3.0.2 numpy==2.1.3
cd "$folder"
venv/bin/python - <<'PYTHON'
import highdicom
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

stored = np.array([[0, 1000, 3000, 4095]], "<u2")


def radiograph(slope, intercept):
    """Write and read a computed radiograph of 12 bits, rescaled to 0..4095, with a VOI LUT."""
    image, table = Dataset(), Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, 16])
    table.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(image, name, pydicom.uid.generate_uid())
    image.Modality, image.PhotometricInterpretation = "CR", "MONOCHROME2"
    image.ImageType, image.PatientID = ["ORIGINAL", "PRIMARY"], "1"
    image.Rows, image.Columns, image.SamplesPerPixel = 1, stored.size, 1
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = slope, intercept, "US"
    image.VOILUTSequence = [table]
    image.PixelData = stored.tobytes()
    image.save_as("radiograph.dcm", enforce_file_format=True)
    return pydicom.dcmread("radiograph.dcm")


print("highdicom", highdicom.__version__, "pydicom", pydicom.__version__)
print("stored values:", stored[0].tolist())
seen = {}
for slope, intercept in ((1, 0), (-1, 4095), (0.5, 0)):
    image = radiograph(slope, intercept)
    one = apply_voi_lut(apply_modality_lut(image.pixel_array, image).astype(int), image)
    try:
        frame = highdicom.Image.from_dataset(image).get_frame(
            1, apply_voi_transform=True, voi_output_range=(0, 4095)
        )
        other = frame[0].round().astype(int).tolist()
    except Exception as error:
        other = f"{type(error).__name__}: {error}"
    seen[slope] = one[0].tolist(), other
    print(f"slope {slope}, intercept {intercept}: pydicom {seen[slope][0]}, highdicom {other}")
assert seen[1] == ([0, 1000, 3000, 4095],) * 2, "changed: slope 1"
assert seen[-1] == ([4095, 3095, 1095, 0], [4095] * 4), "changed: slope -1"
assert seen[0.5][1] == "ValueError: slice step cannot be zero", "changed: slope 0.5"
PYTHON
