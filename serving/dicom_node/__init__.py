"""A node of a PACS: takes radiographs, answers each once, and hands the results on.

`receiving.py` takes images by C-STORE and `stow.py` by STOW-RS, `polling.py` fetches them by
DICOMweb. All put them into the queue on the disk, `disk_queue.py`. `answering.py` asks the model,
`sending.py` gives the results to the peer. `node.py` runs all of them, `settings.py` holds what
they are told.
"""
