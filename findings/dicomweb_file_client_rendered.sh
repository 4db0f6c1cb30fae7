#!/usr/bin/env bash
# dicomweb-client: what a folder gives as "rendered" PNG is the stored values, not the image.
#
# Software:  dicomweb-client 0.61.2, `DICOMfileClient.retrieve_instance_rendered` with image/png, pydicom
#            3.0.2, Pillow 11.0.0.
# Guess:     a rendered radiograph is one for the eye: the window is applied, MONOCHROME1 is turned round,
#            and 12 bits are spread over the PNG's range.
# Behaviour: the PNG has 16 bits and the stored values as they are. The window counts for nothing, so
#            12 bits end at 4095 of 65535, which a viewer shows as black; and MONOCHROME1 stays a negative.
# Valid:     MONOCHROME1 with 12 bits and a window is what many detectors write.
# Matters:   such PNGs, given to a network that was trained on PNGs of another program, are black or
#            negative, and nothing says so.
# Here:      DICOM goes through models/conversion alone; an unscaled 16-bit PNG is left out and listed
#            (models/deep_images.py).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    dicomweb-client==0.61.2 pydicom==3.0.2 numpy==2.1.3 Pillow==11.0.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import importlib.metadata
import io
import pathlib

import numpy as np
import pydicom
from dicomweb_client import DICOMfileClient
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

stored = np.array([[0, 1000], [3000, 4095]], "<u2")
images = pathlib.Path("images")
images.mkdir()
image = Dataset()
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
image.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
image.SOPInstanceUID, image.SeriesInstanceUID = "2.25.1", "2.25.10"
image.StudyInstanceUID, image.StudyID = "2.25.100", "1"
image.StudyDate, image.StudyTime = "20200115", "120000"
image.PatientID, image.PatientName = "P1", "Phantom"
image.PatientBirthDate = image.PatientSex = image.AccessionNumber = ""
image.ReferringPhysicianName = ""
image.Modality, image.SeriesNumber, image.InstanceNumber = "CR", 1, 1
image.Rows = image.Columns = 2
image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME1"
image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
image.WindowCenter, image.WindowWidth = 2000, 2000
image.PixelData = stored.tobytes()
image["PixelData"].VR = "OW"
image.save_as(images / "1.dcm", enforce_file_format=True)

client = DICOMfileClient(f"file://{images.resolve()}", update_db=True, in_memory=True)
content = client.retrieve_instance_rendered(
    "2.25.100", "2.25.10", "2.25.1", media_types=("image/png",)
)
with Image.open(io.BytesIO(content)) as shown:
    values = np.asarray(shown)
print("dicomweb-client", importlib.metadata.version("dicomweb-client"))
print("stored", stored.tolist(), "window 1000 to 3000, low values bright")
print("rendered", values.dtype, values.tolist())
assert values.tolist() == stored.tolist(), "changed: 0 is to be the brightest, 3000 and 4095 black"
PYTHON
