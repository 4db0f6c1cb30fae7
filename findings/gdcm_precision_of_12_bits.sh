#!/usr/bin/env bash
# GDCM: an image of 12 bits stored is compressed as one of 16.
#
# Software:  python-gdcm 3.2.6, `gdcm.ImageChangeTransferSyntax`; written and read by pydicom 3.0.2.
# Guess:     the code stream's precision is BitsStored, as PS3.5 asks for JPEG (8.2.1: "shall be
#            consistent") and as other encoders write it.
# Behaviour: JPEG lossless and JPEG-LS streams say 16 bits, BitsAllocated, while the header goes on saying
#            BitsStored 12.
# Valid:     MONOCHROME2, 12 bits stored of 16 allocated, is the commonest radiograph there is.
# Matters:   who leaves out images whose header and stream disagree, a usual guard against damaged
#            files, leaves out all that went through GDCM. Who believes the stream gets a grey scale
#            that is 16 times too dark.
# Here:      such an image is read where no value uses the bits beyond BitsStored, and left out
#            otherwise (models/conversion/dicom_pixels.py); docs/data.md says it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    python-gdcm==3.2.6 pydicom==3.0.2 numpy==2.1.3
cd "$folder"
venv/bin/python - <<'PYTHON'
import gdcm
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

made = Dataset()
made.file_meta = FileMetaDataset()
made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
made.SOPClassUID, made.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "2.25.1"
made.Modality, made.PhotometricInterpretation = "DX", "MONOCHROME2"
made.Rows = made.Columns = 32
made.SamplesPerPixel, made.PixelRepresentation = 1, 0
made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
values = (np.arange(32 * 32, dtype=np.uint16) * 4 % 4096).reshape(32, 32)
made.PixelData = values.tobytes()
made["PixelData"].VR = "OW"
made.save_as("plain.dcm", enforce_file_format=True)

print("gdcm", gdcm.Version.GetVersion(), "pydicom", pydicom.__version__)
for name, syntax, frame_header in (
    ("JPEG lossless", gdcm.TransferSyntax.JPEGLosslessProcess14_1, b"\xff\xc3"),
    ("JPEG-LS", gdcm.TransferSyntax.JPEGLSLossless, b"\xff\xf7"),
):
    reader = gdcm.ImageReader()
    reader.SetFileName("plain.dcm")
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName("out.dcm")
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    found = pydicom.dcmread("out.dcm")
    (frame,) = generate_frames(found.PixelData, number_of_frames=1)
    # Marker, two bytes of length, and then the precision.
    precision = frame[frame.index(frame_header) + 4]
    print(f"{name}: BitsStored {found.BitsStored}, the stream's precision {precision}")
    assert found.BitsStored == 12, "changed: the header"
    assert precision == 16, "changed: the stream"
PYTHON
