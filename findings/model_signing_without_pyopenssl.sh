#!/usr/bin/env bash
# model-signing: as its package says to install it, it can't be imported: pyOpenSSL is missing.
#
# Software:  model-signing 1.1.1 with sigstore 4.5.1, the newest that its metadata allow.
# Guess:     `pip install model-signing` brings all that `import model_signing` needs.
# Behaviour: the import ends in "No module named 'OpenSSL'". The module imports pyOpenSSL for keys with
#            certificates; its metadata don't name it. It used to come along with sigstore, which has
#            done without since. With pyOpenSSL beside it, signing with a key works.
# Valid:     an installation by pip in an empty environment, and the package's own first import.
# Matters:   who pins model-signing in a lock has a signature that can't be made or checked, and notices
#            it at the first push.
# Here:      signatures are made and checked by serving/signing; the test that compares with
#            model-signing names pyOpenSSL.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    model-signing==1.1.1 sigstore==4.5.1
cd "$folder"

if venv/bin/python -c 'import model_signing' 2>error.txt; then
    echo 'changed: it can be imported' >&2
    exit 1
fi
tail -n 1 error.txt
grep -q "No module named 'OpenSSL'" error.txt
if grep -qi '^Requires-Dist: pyopenssl' venv/lib/python3*/site-packages/model_signing-*/METADATA; then
    echo 'changed: pyOpenSSL is named' >&2
    exit 1
fi

venv/bin/pip install --quiet --disable-pip-version-check pyopenssl==26.2.0
venv/bin/python -W ignore -c 'import model_signing; print("with pyOpenSSL: imported")'
