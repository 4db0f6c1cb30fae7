#!/usr/bin/env bash
# jsonschema: with an optional package there, each import of it builds 39 parsers, also of who checks no format.
#
# Software:  jsonschema 4.26.0, rfc3987-syntax 1.1.0 (of its extra `format-nongpl`), lark 1.3.1, kubernetes 26.1.0,
#            kubernetes-validate 1.37.0.
# Guess:     the check of a format looks for its package when a format is checked first; a client of Kubernetes checks none.
# Behaviour: `import jsonschema` alone builds a Lark parser for each of 39 rules of the grammar of RFC 3987, whether or not a format
#            is ever checked. Where kubernetes-validate is installed, `import kubernetes` does so, too: its dynamic client
#            imports that on trial, and that imports jsonschema.
# Valid:     an import, and nothing else.
# Matters:   TFX imports Kubernetes' client in each process, and JupyterLab brings the extra with it: beside a tool that checks
#            manifests, a second of each import of TFX was spent on a grammar.
# Here:      `common/runtime.py` puts Kubernetes' dynamic client off until somebody asks for it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    jsonschema==4.26.0 kubernetes==26.1.0 kubernetes-validate==1.37.0 'setuptools<81'
cd "$folder"
cat >look.py <<'PYTHON'
import importlib
import sys

importlib.import_module(sys.argv[1])
built = [0]
if "lark" in sys.modules:
    import gc

    built = [sum(type(each).__name__ == "Lark" for each in gc.get_objects())]
print("jsonschema" in sys.modules, "rfc3987_syntax" in sys.modules, *built)
PYTHON
without=$(for name in jsonschema kubernetes; do venv/bin/python look.py "$name"; done)
venv/bin/pip install --quiet --disable-pip-version-check rfc3987-syntax==1.1.0 lark==1.3.1
with=$(for name in jsonschema kubernetes; do venv/bin/python look.py "$name"; done)
printf 'jsonschema there, grammar there, parsers built; of import jsonschema, import kubernetes\nwithout the package:\n%s\nwith it:\n%s\n' \
    "$without" "$with"
[ "$without" = $'True False 0\nTrue False 0' ]
[ "$with" = $'True True 39\nTrue True 39' ]
