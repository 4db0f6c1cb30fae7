#!/usr/bin/env bash
# dicomweb-client: a folder asked for the studies of a range of dates gives all of them.
#
# Software:  dicomweb-client 0.61.2, `DICOMfileClient.search_for_studies`, with pydicom 3.0.2.
# Guess:     the folder answers as a DICOMweb server does: a range of dates selects by the date, and a
#            list of UIDs finds each of them.
# Behaviour: a range is dropped with a line in the log, and every study comes back. A list of two
#            UIDs that are both there finds nothing. A wildcard in a patient's id works.
# Valid:     both are matching that a query must support (PS3.4, C.2.2.2.5 range, C.2.2.2.2 list of UIDs;
#            PS3.18's QIDO refers to them).
# Matters:   who picks "the studies of last month" for training or for a report gets everything that
#            lies there; a test against a folder says nothing about the server.
# Here:      ExampleGen reads folders by itself; ranges are asked of real servers alone.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    dicomweb-client==0.61.2 pydicom==3.0.2 numpy==2.1.3
cd "$folder"
venv/bin/python - <<'PYTHON'
import importlib.metadata
import pathlib

import pydicom
from dicomweb_client import DICOMfileClient
from pydicom.dataset import Dataset, FileMetaDataset

studies = pathlib.Path("studies")
studies.mkdir()
for number, date in enumerate(("20200115", "20200215", "20210115"), 1):
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    image.SOPInstanceUID = f"2.25.{number}"
    image.SeriesInstanceUID, image.StudyInstanceUID = f"2.25.{number}0", f"2.25.{number}00"
    image.StudyDate, image.StudyTime, image.StudyID = date, "120000", str(number)
    image.PatientID, image.PatientName = f"P{number}", "Phantom"
    image.PatientBirthDate = image.PatientSex = image.AccessionNumber = ""
    image.ReferringPhysicianName = ""
    image.Modality, image.SeriesNumber, image.InstanceNumber = "CR", 1, 1
    image.Rows = image.Columns = 2
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = bytes(4)
    image.save_as(studies / f"{number}.dcm", enforce_file_format=True)

client = DICOMfileClient(f"file://{studies.resolve()}", update_db=True, in_memory=True)
print("dicomweb-client", importlib.metadata.version("dicomweb-client"))
for filters, expected in (
    ({"PatientID": "P*"}, ["P1", "P2", "P3"]),
    ({"StudyDate": "20200115"}, ["P1"]),
    ({"StudyDate": "20200101-20201231"}, ["P1", "P2", "P3"]),
    ({"StudyInstanceUID": "2.25.100"}, ["P1"]),
    ({"StudyInstanceUID": "2.25.100,2.25.200"}, []),
):
    answer = client.search_for_studies(search_filters=filters)
    found = sorted(study["00100020"]["Value"][0] for study in answer)
    print(filters, "->", found)
    assert found == expected, f"changed: {filters}"
PYTHON
