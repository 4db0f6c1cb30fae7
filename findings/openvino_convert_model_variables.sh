#!/usr/bin/env bash
# OpenVINO: converting a TensorFlow function takes time that grows with the square of its variables.
#
# Software:  OpenVINO 2026.4.1, `convert_model` of a ConcreteFunction; TensorFlow 2.20.0.
# Guess:     a graph with four times the operations and variables takes four times as long, as
#            tracing, saving and loading it do.
# Behaviour: for each of several questions about each captured variable (its value, type, shape, and
#            its operation's type, which is asked many times) the frontend goes through all tensors
#            that the graph captured, and then through all its variables. Four times the variables
#            are thirteen times the calls here. Three classification networks in one function (836 variables) took
#            23 s of CPU, of which 20 were this; with the variables looked up in a dict, 3 s.
# Valid:     a tf.Module with variables, traced by tf.function.
# Matters:   ensembles and networks of many small layers wait for it, mostly where a server starts.
# Here:      `models/openvino_runtime.py` answers the frontend's question from a table while it converts.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    openvino==2026.4.1 tensorflow-cpu==2.20.0 numpy==2.1.3
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python - 2>/dev/null <<'PYTHON'
import cProfile
import pstats

import openvino
import tensorflow as tf


class Layers(tf.Module):
    def __init__(self, count):
        super().__init__()
        self.added = [tf.Variable(tf.ones([4])) for _ in range(count)]

    @tf.function(input_signature=[tf.TensorSpec([1, 4])], autograph=False)
    def __call__(self, x):
        for variable in self.added:
            x = tf.nn.relu(x + variable)
        return x


def calls(count):
    """Count Python's calls while a function of so many variables is converted."""
    layers = Layers(count)
    traced = layers.__call__.get_concrete_function()
    profile = cProfile.Profile()
    profile.enable()
    openvino.convert_model(traced)
    profile.disable()
    return pstats.Stats(profile).total_calls


print("openvino", openvino.__version__, "tensorflow", tf.__version__)
calls(2)
few, many = calls(100), calls(400)
print(f"100 variables: {few} calls; 400: {many}, {many / few:.1f} times as many")
assert many / few > 10, "changed: it grows by less than the square"
PYTHON
