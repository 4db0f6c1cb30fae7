#!/usr/bin/env bash
# tfx-bsl: a quantiles sketch of a million values, with epsilon 1e-4, is the million values, at 16 bytes each.
#
# Software:  tfx-bsl 1.16.1 (tfx_bsl.sketches.QuantilesSketch), pyarrow 10.0.1, NumPy 1.24.4. Python 3.10 and 3.11.
# Guess:     a sketch with an error of epsilon holds some log2(epsilon n) / epsilon values: 66,000 of a million, 1 MB.
# Behaviour: it drops nothing before some 30 / epsilon values are there, and halves what is beyond: pickled, as Beam takes it from
#            stage to stage, it is 16,000,000 bytes for a million float64 values with 1e-4, and 1.5 MB with 5e-3. The length of
#            its blocks follows from how many values there could be at most, which tf.Transform says are 2^32, not from how
#            many there are.
# Valid:     epsilon 1e-4 is a small error that its documentation allows, and 2^32 is what `tft.quantiles` gives.
# Matters:   medians of eight columns of a million rows were 130 MB of accumulators, ten times under way between Beam's stages
#            at once: Transform's memory grew with the rows, though "sketch" says that it doesn't.
# Here:      `models/table_transform.py` asks with 5e-3; the median of up to 30,000 values is exact all the same.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
    tfx-bsl==1.16.1 pyarrow==10.0.1 numpy==1.24.4
cd "$folder"
cat >look.py <<'PYTHON'
import importlib.util
import pickle
import sys
import types

import numpy as np
import pyarrow as pa

# Only the sketches are looked at: the package itself would import TensorFlow.
(place,) = importlib.util.find_spec("tfx_bsl").submodule_search_locations
package = types.ModuleType("tfx_bsl")
package.__path__ = [place]
sys.modules["tfx_bsl"] = package
from tfx_bsl import sketches

values = np.random.default_rng(0).random(1_000_000)
for epsilon in (1e-4, 1e-3, 5e-3):
    for count in (10_000, 1_000_000):
        sketch = sketches.QuantilesSketch(epsilon, 1 << 32, 1)
        for start in range(0, count, 1000):
            sketch.AddValues(pa.array(values[start : start + 1000]))
        size = len(pickle.dumps(sketch))
        ((_, median, _),) = sketch.GetQuantiles(2).to_pylist()
        off = abs(np.mean(values[:count] < median) - 0.5)
        print(f"{epsilon:g} {count} {size / count:.1f} bytes a value, error below 1e-4: {off < 1e-4}")
PYTHON
seen=$(venv/bin/python look.py)
echo "$seen"
[ "$(cut -d' ' -f1-3 <<<"$seen")" = "0.0001 10000 16.0
0.0001 1000000 16.0
0.001 10000 16.0
0.001 1000000 3.7
0.005 10000 16.0
0.005 1000000 1.5" ]
! grep -q False <<<"$seen"
