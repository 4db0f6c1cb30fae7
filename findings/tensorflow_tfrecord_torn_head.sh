#!/usr/bin/env bash
# TensorFlow: a TFRecord file that is torn within a record's head ends as if it were whole.
#
# Software:  TensorFlow 2.20.0, `tf.data.TFRecordDataset`.
# Guess:     a file that ends in the middle of a record raises DataLossError ("truncated record"),
#            wherever in the record it ends.
# Behaviour: it does where 12 bytes or more of the record are there: its length and that length's
#            checksum. Of 1 to 11 bytes nothing is said: iteration ends as at the end of a file.
# Valid:     whoever writes a log is killed at any byte, or its disk is full there.
# Matters:   who takes a quiet end for a whole file loses a record without a word.
# Here:      `serving/prediction_log/reading.py` adds up the records' sizes, and compares the sum with
#            the file's.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-cpu==2.20.0
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python - 2>/dev/null <<'PYTHON'
import os

import tensorflow as tf

print("tensorflow", tf.__version__)
quiet = []
for cut in range(1, 66):
    with tf.io.TFRecordWriter("log.tfrecord") as writer:
        writer.write(b"x" * 50)
        writer.write(b"x" * 50)
    os.truncate("log.tfrecord", 66 + cut)
    read = 0
    try:
        for _ in tf.data.TFRecordDataset("log.tfrecord"):
            read += 1
        quiet.append(cut)
    except tf.errors.DataLossError:
        pass
    assert read == 1
print("bytes of the second record after which the file's end is quiet:", quiet)
assert quiet == list(range(1, 12)), "changed"
PYTHON
