#!/usr/bin/env bash
# OpenVINO: a conversion that fails leaves Python's root logger at ERROR.
#
# Software:  openvino 2026.4.1, `openvino.convert_model`, given a path to an ONNX file.
# Guess:     a function that raises leaves the caller's logging as it was.
# Behaviour: `convert_model` sets the root logger's level to ERROR, whatever it was, and puts back
#            what it found only where it returns. A model that OpenVINO can't take is reported by an
#            exception; from then on the process logs neither INFO nor WARNING. (Two threads that
#            convert at once may find, and put back, each other's ERROR.)
# Matters:   a server that converts what it can, and runs the rest on something else, goes silent.
# Here:      `models/openvino_runtime.py` puts the root logger back, one conversion at a time.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 onnx==1.17.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import logging

import onnx
import openvino
from onnx import TensorProto, helper


def write(path, operator, domain):
    """Write a valid model of one operator, of ONNX's own or of a domain of somebody's own."""
    rows = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    node = helper.make_node(operator, ["x"], ["y"], domain=domain)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("org.example", 1)]
    graph = helper.make_graph([node], "one", rows[:1], rows[1:])
    model = helper.make_model(graph, opset_imports=opsets)
    onnx.checker.check_model(model)
    onnx.save(model, path)


write("known.onnx", "Relu", "")
write("unknown.onnx", "Measure", "org.example")
logging.basicConfig(level=logging.INFO)


def level():
    return logging.getLevelName(logging.getLogger().level)


seen = [("before", level())]
openvino.convert_model("known.onnx")
seen.append(("after a conversion", level()))
try:
    openvino.convert_model("unknown.onnx")
except Exception as error:
    seen.append((f"after one that raised {type(error).__name__}", level()))
print("openvino", openvino.__version__)
for when, found in seen:
    print(f"{when}: {found}")
expected = ["INFO", "INFO", "ERROR"]
assert [found for _, found in seen] == expected, f"changed: expected {expected}"
PYTHON
