#!/usr/bin/env bash
# pydicom: a VOI LUT with 8 bits an entry is looked up modulo 256, or can't be read at all.
#
# Software:  pydicom 3.0.2, `apply_voi` and `apply_voi_lut`.
# Guess:     values beyond a VOI LUT's last entry take the last entry, however many bits an entry
#            has: in an image of 12 bits whose LUT has 256 entries, all above 255 is white.
# Behaviour: the index is kept in the type of the *output*. With 8 bits an entry it wraps at 256:
#            256 becomes black, 300 becomes entry 44, and a bright lung field shows bands. The same
#            table with 16 bits an entry is right. And LUT Data as bytes, one for each entry,
#            raises struct.error, since two bytes an entry are expected; the padded form, which the
#            standard mentions as a habit of some writers, is the one that is read (and wraps).
# Valid:     8 is one of the allowed numbers of bits for an image's VOI LUT, the first entry may be
#            anywhere in the range, and values outside take the first or the last entry (part 3,
#            C.11.2.1.1).
# Matters:   a gradient that should be white becomes stripes, in some vendor's images only.
# Here:      models/conversion/dicom_grey.py clips the values to the table's range before the look-up, and
#            reads bytes where as many bytes as entries are there.
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
from pydicom.pixels import apply_voi_lut

stored = np.array([[0, 100, 255, 256, 300, 4095]], "<u2")


def radiograph(bits, data):
    """Write and read a computed radiograph of 12 bits with a VOI LUT of 256 entries."""
    image, table = Dataset(), Dataset()
    table.add_new("LUTDescriptor", "US", [256, 0, bits])
    table.add_new("LUTData", "OW", data)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    image.SOPInstanceUID = pydicom.uid.generate_uid()
    image.Modality, image.PhotometricInterpretation = "CR", "MONOCHROME2"
    image.Rows, image.Columns, image.SamplesPerPixel = 1, stored.size, 1
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.VOILUTSequence = [table]
    image.PixelData = stored.tobytes()
    file = io.BytesIO()
    image.save_as(file, enforce_file_format=True)
    file.seek(0)
    return pydicom.dcmread(file)


print("pydicom", pydicom.__version__)
print("stored values:", stored[0].tolist())
entries = np.arange(256)
seen = {}
for name, bits, data in (
    ("16 bits an entry", 16, entries.astype("<u2").tobytes()),
    ("8 bits an entry, padded to two bytes", 8, entries.astype("<u2").tobytes()),
    ("8 bits an entry, a byte each", 8, entries.astype("u1").tobytes()),
):
    image = radiograph(bits, data)
    try:
        seen[name] = apply_voi_lut(image.pixel_array, image)[0].tolist()
    except Exception as error:
        seen[name] = f"{type(error).__module__}.{type(error).__name__}"
    print(f"{name}: {seen[name]}")
right, wrapped, raised = seen.values()
assert right == [0, 100, 255, 255, 255, 255], "changed: 16 bits an entry"
assert wrapped == [0, 100, 255, 0, 44, 255], "changed: padded entries of 8 bits"
assert raised == "struct.error", "changed: entries of a byte"
PYTHON
