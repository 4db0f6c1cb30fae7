#!/usr/bin/env bash
# highdicom: of the VOI LUTs that a digital radiograph may have, only some can be read.
#
# Software:  highdicom 0.28.2, `Image.get_frame(..., apply_voi_transform=True)`; pydicom 3.0.2.
# Guess:     a library for DICOM's image objects reads each VOI LUT that the standard allows.
# Behaviour: a table of 65,536 entries raises "Expected 0, found 65536": the descriptor's first
#            value, which is 0 for that number, is taken literally. Tables of 10 to 15 bits an
#            entry raise "Invalid LUT descriptor". pydicom reads both. (pydicom raises where
#            entries are single bytes, and highdicom reads those: `pydicom_voi_lut_of_bytes.sh`.
#            Neither reads all.)
# Valid:     16 bits have 65,536 values, and 0 is how the standard writes that number (part 3,
#            C.11.2.1.1); Digital X-Ray's entries have 10 to 16 bits (C.8.11.3.1.5).
# Matters:   what a digital radiograph may hold stops a conversion, or is left out of it: all
#            images of one device, that is, and not some at random.
# Here:      models/conversion/dicom_grey.py reads the table by its descriptor, whatever its size.
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
from pydicom.pixels import apply_voi_lut

stored = np.array([[0, 1000, 3000, 4095]], "<u2")


def radiograph(entries, bits):
    """Write and read a digital radiograph of 12 bits with a VOI LUT of so many entries and bits."""
    image, table = Dataset(), Dataset()
    values = np.minimum(np.arange(entries), 2**bits - 1).astype("<u2")
    table.add_new("LUTDescriptor", "US", [entries % 65536, 0, bits])
    table.add_new("LUTData", "OW", values.tobytes())
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(image, name, pydicom.uid.generate_uid())
    image.Modality, image.PhotometricInterpretation = "DX", "MONOCHROME2"
    image.PresentationIntentType, image.PresentationLUTShape = "FOR PRESENTATION", "IDENTITY"
    image.ImageType, image.PatientID = ["ORIGINAL", "PRIMARY", ""], "1"
    image.Rows, image.Columns, image.SamplesPerPixel = 1, stored.size, 1
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, 0, "US"
    image.VOILUTSequence = [table]
    image.PixelData = stored.tobytes()
    image.save_as("radiograph.dcm", enforce_file_format=True)
    return pydicom.dcmread("radiograph.dcm")


print("highdicom", highdicom.__version__, "pydicom", pydicom.__version__)
print("stored values:", stored[0].tolist())
seen = {}
for entries, bits in ((4096, 16), (65536, 16), (4096, 12), (4096, 10)):
    image = radiograph(entries, bits)
    one = apply_voi_lut(image.pixel_array, image)[0].tolist()
    try:
        frame = highdicom.Image.from_dataset(image).get_frame(
            1, apply_voi_transform=True, voi_output_range=(0, min(entries, 2**bits) - 1)
        )
        other = frame[0].round().astype(int).tolist()
    except Exception as error:
        other = f"{type(error).__name__}: {error}"
    seen[entries, bits] = one, other
    print(f"{entries} entries of {bits} bits: pydicom {one}, highdicom {other}")
assert seen[4096, 16] == ([0, 1000, 3000, 4095],) * 2, "changed: 4,096 entries of 16 bits"
assert seen[65536, 16][0] == seen[4096, 12][0] == [0, 1000, 3000, 4095], "changed: pydicom"
assert "Expected 0, found 65536" in seen[65536, 16][1], "changed: 65,536 entries"
for bits in (12, 10):
    assert "Invalid LUT descriptor" in seen[4096, bits][1], f"changed: {bits} bits"
PYTHON
