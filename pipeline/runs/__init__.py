"""`cxr runs`: what each run wrote down of itself, and how two of them differ.

Nothing here imports TFX, TFMA or TensorFlow, which takes seconds; only `write_record` writes.
"""
