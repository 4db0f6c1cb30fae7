"""Writes answers as DICOM objects, into the study of the image that was classified.

`report.py` makes a Structured Report, `heat_map.py` a Secondary Capture, both with the UIDs of
`identity.py` and the codes of `coding.py`. `files.py` writes them for `cxr predict --dicom-out`.
"""
