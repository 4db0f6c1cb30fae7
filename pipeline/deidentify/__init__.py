"""De-identifies folders of DICOM images, by the basic profile of PS3.15, Annex E.

`dataset.py` makes the header anew by the standard's table (`actions.py`), `pixel_data.py` cleans
what lies around the pixels, `burned_in.py` looks for text in them. `verification.py` reads what
was written again, by a list of its own. `folder.py` takes a folder through all of it.
"""
