"""OpenSSF's own model-signing takes our signatures, and we take its."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from schema import contract
from serving.signing.errors import SignatureError
from serving.signing.folder import check_version, sign_version
from serving.signing.keys import read_private_key, read_public_key
from tests.serving.signing.versions import FILES, write_keys, write_version

pytestmark = pytest.mark.long

# A Python that has model-signing, for a machine without a package index.
OPENSSF = os.environ.get("MODEL_SIGNING_PYTHON")
# pyOpenSSL is what its metadata forget (findings/model_signing_without_pyopenssl.sh).
PACKAGES = ("model-signing==1.1.1", "sigstore==4.5.1", "pyopenssl==26.2.0")


@pytest.fixture(scope="module")
def openssf(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with model-signing, in an environment of its own: it needs urllib3 2."""
    if OPENSSF:
        return OPENSSF
    folder = tmp_path_factory.mktemp("openssf")
    python = str(folder / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True, timeout=600)
    if done.returncode:
        pytest.skip(f"model-signing can't be installed here: {done.stderr.strip()[-300:]}")
    return python


def _openssf(python: str, action: str, version: Path, *options: str) -> tuple[int, str]:
    signature = str(version / contract.MODEL_SIGNATURE_FILE)
    command = [python, "-m", "model_signing", action, "key", str(version)]
    done = subprocess.run(
        [*command, "--signature", signature, *options], capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_it_takes_what_we_signed(openssf: str, curve: ec.EllipticCurve, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path, curve=curve)
    version = write_version(tmp_path / "1")
    sign_version(version, read_private_key(private))
    status, said = _openssf(openssf, "verify", version, "--public_key", str(public))
    assert status == 0, said
    (version / "good").write_bytes(b"2")
    status, said = _openssf(openssf, "verify", version, "--public_key", str(public))
    assert status != 0
    assert "good" in said


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_we_take_what_it_signed(openssf: str, curve: ec.EllipticCurve, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path, curve=curve)
    version = write_version(tmp_path / "1")
    status, said = _openssf(openssf, "sign", version, "--private_key", str(private))
    assert status == 0, said
    keys = [read_public_key(public)]
    assert check_version(version, keys) == len(FILES)
    (version / "added").touch()
    with pytest.raises(SignatureError, match="not signed: added"):
        check_version(version, keys)
