"""Debian's Orthanc, a real PACS, on loopback: not installed, only taken apart into a folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from serving.process import free_port

_ROOT: Final = Path(__file__).parents[3]
# Kept from one run to the next.
_FOLDER: Final = _ROOT / "output" / "orthanc"
_INSTALLED: Final = Path("/")
_PACKAGES: Final = ("orthanc", "orthanc-dicomweb")


def orthanc_folder() -> Path:
    """Where Debian's packages are taken apart; the test is skipped where there are none.

    Where Orthanc is installed, there is nothing to download.
    """
    if (_INSTALLED / "usr" / "sbin" / "Orthanc").exists():
        return _INSTALLED
    if not (_FOLDER / "usr" / "sbin" / "Orthanc").exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None or os.geteuid() != 0:
            pytest.skip("Orthanc comes from Debian's packages: needs apt-get, dpkg and root")
        archives = _FOLDER.with_name("orthanc-archives")
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        # Downloads, and installs nothing.
        command = ["apt-get", "install", "--download-only", "--yes", "--no-install-recommends"]
        command += ["-o", f"Dir::Cache::archives={archives}", *_PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        found = sorted(archives.glob("*.deb"))
        if done.returncode or not any(file.name.startswith("orthanc_") for file in found):
            pytest.skip(f"Debian has no Orthanc to download here: {done.stderr.strip()[-200:]}")
        fresh = _FOLDER.with_name(f"orthanc.{os.getpid()}")
        for file in found:
            subprocess.run(["dpkg", "-x", str(file), str(fresh)], check=True, timeout=60)
        shutil.rmtree(_FOLDER, ignore_errors=True)
        fresh.rename(_FOLDER)
        shutil.rmtree(archives)
    return _FOLDER


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc.

    Attributes:
        url: of its REST API.
        dicom_port: where it takes C-STORE, as ORTHANC.
    """

    url: str
    dicom_port: int

    def get(self, path: str) -> Any:
        return self._said(requests.get(self.url + path, timeout=60))

    def post(self, path: str, body: Any) -> Any:
        if isinstance(body, bytes):
            return self._said(requests.post(self.url + path, data=body, timeout=60))
        return self._said(requests.post(self.url + path, json=body, timeout=600))

    def put(self, path: str, body: Any) -> None:
        requests.put(self.url + path, json=body, timeout=60).raise_for_status()

    @staticmethod
    def _said(response: requests.Response) -> Any:
        response.raise_for_status()
        return response.json()


@contextlib.contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Run it with an empty store."""
    debian = orthanc_folder()
    port, dicom_port = free_port(), free_port()
    (dictionary,) = debian.glob("usr/share/libdcmtk*/dicom.dic")
    (plugin,) = {file.resolve() for file in debian.glob("usr/**/libOrthancDicomWeb.so*")}
    config = folder / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "store"),
                "IndexDirectory": str(folder / "store"),
                "HttpPort": port,
                "DicomPort": dicom_port,
                "DicomAet": "ORTHANC",
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "DicomAlwaysAllowStore": False,
                "DicomCheckModalityHost": True,
                "DicomModalitiesInDatabase": True,
                "UnknownSopClassAccepted": False,
                "OverwriteInstances": False,
                "ConcurrentJobs": 1,
                "Plugins": [str(plugin)],
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            }
        )
    )
    libraries = [debian / "usr" / "lib" / "x86_64-linux-gnu", debian / "usr" / "lib"]
    environment = os.environ | {
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "DCMDICTPATH": str(dictionary),
    }
    log = folder / "orthanc.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(debian / "usr" / "sbin" / "Orthanc"), str(config)],
            stdout=sink,
            stderr=sink,
            env=environment,
        )
    made = Orthanc(f"http://127.0.0.1:{port}", dicom_port)
    try:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(requests.RequestException):
                made.get("/system")
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield made
    finally:
        process.terminate()
        process.wait(60)
