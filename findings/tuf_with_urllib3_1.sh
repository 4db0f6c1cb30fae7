#!/usr/bin/env bash
# tuf: its metadata allow urllib3 1.26, with which its client can't be imported.
#
# Software:  tuf 7.0.0 (and 6.0.0), urllib3 1.26.20.
# Guess:     a package that asks for "urllib3<3,>=1.21.1" works with 1.26.20, the last of the 1.x.
# Behaviour: `import tuf.ngclient` ends in "cannot import name 'BaseHTTPResponse' from 'urllib3'", a class
#            that urllib3 has since 2.0. pip and uv install the pair without a word.
# Valid:     both versions are within the bounds, and the import is the documented one.
# Matters:   the signing of models by sigstore and model-signing stands on tuf. TFX 1.16's Kubeflow client
#            needs urllib3 1.x: a lock of both resolves, and fails at run time.
# Here:      so serving/signing writes and reads model-signing's format by itself, for plain keys.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cd "$folder"

for version in 6.0.0 7.0.0; do
    venv/bin/pip install --quiet --disable-pip-version-check "tuf==$version" urllib3==1.26.20
    venv/bin/pip check
    grep '^Requires-Dist: urllib3' venv/lib/python3*/site-packages/tuf-"$version".dist-info/METADATA
    if venv/bin/python -c 'import tuf.ngclient' 2>error.txt; then
        echo "changed: tuf $version can be imported" >&2
        exit 1
    fi
    echo "tuf $version: $(tail -n 1 error.txt | sed 's/ (.*//')"
    grep -q "cannot import name 'BaseHTTPResponse' from 'urllib3'" error.txt
done

venv/bin/pip install --quiet --disable-pip-version-check tuf==7.0.0 'urllib3==2.5.0'
venv/bin/python -c 'import tuf.ngclient; print("with urllib3 2: imported")'
