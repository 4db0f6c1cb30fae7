#!/usr/bin/env bash
# highdicom: a window counts in stored values, so a small rescale slope shifts its edges.
#
# Software:  highdicom 0.28.2, `Image.get_frame(..., apply_voi_transform=True)`; pydicom 3.0.2.
# Guess:     highdicom and pydicom, which both implement the standard's formula for LINEAR, put the
#            same window at the same place.
# Behaviour: LINEAR takes half a unit off the center and one off the width, in units of what the
#            rescaling puts out. highdicom first turns center and width into stored values, and
#            then takes off half a *stored* value and one. With slope 1 both are the same. With
#            slope 0.001, center 2 and width 3 the standard's edges are 0.5 and 2.5; highdicom's
#            are 0.5 and 3.5. With slope 20 it is the other way round, and less. No warning,
#            nothing in its documentation.
# Valid:     Computed Radiography may have any slope; LINEAR wants a width of 1 or more (part 3,
#            C.11.1 and C.11.2.1.2).
# Matters:   grey levels differ by up to 85 of 255 between two libraries that agree on every other
#            file; a model trained behind the one is served behind the other.
# Here:      training, prediction and serving have one conversion, models/conversion/dicom_grey.py, which
#            applies the window to rescaled values.
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

stored = np.array([[500, 1000, 1500, 2000, 2500, 3500]], "<u2")


def radiograph(slope, center, width):
    """Write and read a computed radiograph of 12 bits with a slope and a window."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(image, name, pydicom.uid.generate_uid())
    image.Modality, image.PhotometricInterpretation = "CR", "MONOCHROME2"
    image.ImageType, image.PatientID = ["ORIGINAL", "PRIMARY"], "1"
    image.Rows, image.Columns, image.SamplesPerPixel = 1, stored.size, 1
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = slope, 0, "US"
    image.WindowCenter, image.WindowWidth = center, width
    image.PixelData = stored.tobytes()
    image.save_as("radiograph.dcm", enforce_file_format=True)
    return pydicom.dcmread("radiograph.dcm")


def formula(values, center, width):
    """Return what the standard's formula for LINEAR gives, from 0 to 255."""
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255


print("highdicom", highdicom.__version__, "pydicom", pydicom.__version__)
seen = {}
for slope, center, width in ((1, 2000, 3000), (0.001, 2, 3)):
    image = radiograph(slope, center, width)
    rescaled = apply_modality_lut(image.pixel_array, image)
    largest = 4095 * slope
    answers = {
        "formula": formula(rescaled, center, width),
        "pydicom": apply_voi_lut(rescaled, image) / largest * 255,
        "highdicom": highdicom.Image.from_dataset(image).get_frame(
            1, apply_voi_transform=True, voi_output_range=(0, 255)
        ),
    }
    print(f"slope {slope}, center {center}, width {width}; rescaled {rescaled[0].tolist()}")
    for name, answer in answers.items():
        seen[slope, name] = answer[0].round().astype(int).tolist()
        print(f"  {name}: {seen[slope, name]}")
assert seen[1, "pydicom"] == seen[1, "highdicom"] == seen[1, "formula"], "changed: slope 1"
assert seen[0.001, "pydicom"] == seen[0.001, "formula"], "changed: pydicom"
assert seen[0.001, "highdicom"] == [0, 43, 85, 128, 170, 255], "changed: highdicom"
PYTHON
