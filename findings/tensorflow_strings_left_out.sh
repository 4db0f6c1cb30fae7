#!/usr/bin/env bash
# TensorFlow: of one and the same message Python reads str where C++ reads bytes.
#
# Software:  tensorflow-cpu 2.21.0, `tf.make_ndarray` and `tf.io.parse_tensor`.
# Guess:     a TensorProto of strings whose values are left out is all empty bytes for both, as a TensorProto of
#            numbers is all zeros for both.
# Behaviour: `make_ndarray` makes an object array of str ("") of it, and C++ one of bytes (b""). With a value there,
#            Python's has bytes, too. Numbers that are left out are zeros in both.
# Valid:     proto3 leaves out what is empty, and TensorProto says that values may be fewer than elements.
# Matters:   a server in Python hands str to whatever takes bytes; ours answered INTERNAL to such a request.
# Here:      `serving/server/messages.py` takes b"" for them, as TensorFlow Serving does.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python - <<'PYTHON'
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

print("tensorflow", tf.__version__)
found = {}
for dtype, values in ((tf.string, []), (tf.string, [b"a", b"b"]), (tf.float32, [])):
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, string_val=values)
    proto.tensor_shape.dim.add(size=2)
    by_python = tf.make_ndarray(proto).tolist()
    by_cpp = tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy().tolist()
    print(f"{dtype.name}, values {values}: make_ndarray {by_python}, parse_tensor {by_cpp}")
    found[dtype.name, len(values)] = by_python, by_cpp
assert found == {
    ("string", 0): (["", ""], [b"", b""]),
    ("string", 2): ([b"a", b"b"], [b"a", b"b"]),
    ("float32", 0): ([0.0, 0.0], [0.0, 0.0]),
}, found
PYTHON
