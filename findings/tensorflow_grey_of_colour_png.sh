#!/usr/bin/env bash
# TensorFlow: the grey of a coloured PNG depends on a chunk that changes no sample.
#
# Software:  TensorFlow 2.20.0, `tf.io.decode_png(..., channels=1)`, and Pillow 12.0.0's `convert("L")`.
# Guess:     grey is a weighted mean of the three samples, the same whether or not the file says by
#            sRGB or gAMA how its samples are to be shown; `channels=3` and all viewers' thumbnails
#            show the same samples.
# Behaviour: with neither chunk, the mean is taken of the samples as they are, with Pillow's weights
#            (0.299, 0.587, 0.114). With sRGB or gAMA the samples are made linear, weighted otherwise,
#            and brought back: pure red is grey 147 instead of 76, green 200 instead of 149.
#            `channels=3` is the same in all files. Pixels whose three samples are equal stay as they
#            are in all of them.
# Valid:     both chunks are the PNG standard's (sections 11.3.2.2 and 11.3.2.5); many programs
#            write one of them without being asked.
# Matters:   who stores radiographs in false colours, or with coloured marks, gets other grey values
#            from a file that was saved anew, though its samples are the same.
# Here:      one decoder for training and serving, so both see the same; docs/data.md says it. Grey
#            radiographs that are stored as RGB, which are common, aren't touched.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    tensorflow-cpu==2.20.0 pillow==12.0.0 numpy==2.1.3
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python - 2>/dev/null <<'PYTHON'
import io
import struct

import numpy as np
import PIL
import tensorflow as tf
from PIL import Image, PngImagePlugin

samples = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 100, 50], [90, 90, 90]]], np.uint8)
chunks = {
    "neither": [],
    "sRGB": [(b"sRGB", b"\0")],
    "gAMA 1/2.2": [(b"gAMA", struct.pack(">I", 45455))],
}
print("tensorflow", tf.__version__, "pillow", PIL.__version__)
print("samples:", samples[0].tolist())
grey = {}
for name, added in chunks.items():
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    for kind, data in added:
        info.add(kind, data)
    Image.fromarray(samples).save(file, "PNG", pnginfo=info)
    content = file.getvalue()
    assert all(kind in content for kind, _ in added)
    assert (tf.io.decode_png(content, channels=3).numpy() == samples).all()
    grey[name] = tf.io.decode_png(content, channels=1).numpy()[0, :, 0].tolist()
    print(f"{name}: grey {grey[name]}, Pillow's {np.asarray(Image.open(file).convert('L'))[0].tolist()}")
plain, srgb, gamma = (np.array(grey[name]) for name in chunks)
assert (srgb - plain)[:3].min() > 40, "changed: sRGB"
assert (gamma - plain)[:3].min() > 40, "changed: gAMA"
assert plain[4] == srgb[4] == gamma[4] == 90, "changed: equal samples"
PYTHON
