"""`cxr runs`: what the metadata store knows of every run, and how two of them differ.

Nothing here imports TFX, TFMA or TensorFlow, which takes seconds, or writes anything.
"""
