"""Signatures of pushed versions: what is served is, byte for byte, what was signed.

The format is that of OpenSSF's model-signing 1.1 (https://github.com/sigstore/model-transparency):
a Sigstore bundle around a DSSE envelope around an in-toto statement, which lists each file with its
digest. That package itself can't be imported beside TFX 1.16 (`findings/tuf_with_urllib3_1.sh`), so
the part for plain keys is written here, on `cryptography`; each reads what the other wrote.
"""
