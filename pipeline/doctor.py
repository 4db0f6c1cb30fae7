"""Looks at the machine and the environment, and says what to do about what is wrong.

It must answer at once, and answer even where TensorFlow crashes on import: so versions
come from the installed packages' metadata, and nothing of TFX is imported.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from common import kernel
from common.errors import InputError
from common.generations import Generation, derive_generation, read_note
from models.backbones import BACKBONES
from models.openvino_runtime import gains_by_bf16
from models.weights import IMAGENET, find_weights, keras_cache

Status = Literal["ok", "warn", "fail"]
SEVERITY: Final[tuple[Status, ...]] = ("ok", "warn", "fail")  # from good to bad

CPUINFO: Final = Path("/proc/cpuinfo")
MEMINFO: Final = kernel.MEMINFO
DOCKER_SOCKET: Final = Path("/var/run/docker.sock")

_GIB: Final = 1 << 30
_REINSTALL: Final = "Run `make clean setup`."

# In the kernel's spelling: what oneDNN picks its kernels by, slowest first.
_CPU_FEATURES: Final = ("avx", "avx2", "avx512f", "avx512_bf16", "amx_bf16")
_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what was looked at.
        status: "ok"; "warn" where the pipeline runs, but slower or without a part;
            "fail" where it can't run.
        found: what is there.
        advice: what to do, exactly; empty only where the status is "ok".
    """

    name: str
    status: Status
    found: str
    advice: str = ""

    def __post_init__(self) -> None:
        if self.status != "ok" and not self.advice:
            raise ValueError(f"check {self.name!r} finds fault and gives no advice")


def diagnose(weights_dir: Path | None) -> list[Check]:
    """Look at everything.

    Args:
        weights_dir: the folder of backbone weights that a run would be given.
    """
    generation, why = _generation()
    return [
        Check("TFX generation", "ok", f"{generation.tfx}: {why}"),
        _python(generation),
        _platform(generation),
        *_packages(generation),
        _pip(),
        _tfx_cli(),
        _kfp(generation),
        _cpu(),
        _cpu_features(),
        _openvino(),
        _memory(),
        _disk(),
        _temp_dir(),
        *_weights(weights_dir),
        _docker(),
    ]


def worst(checks: Sequence[Check]) -> Status:
    """Return the worst status among the checks; "ok" where there is none."""
    return max((check.status for check in checks), key=SEVERITY.index, default="ok")


def render(checks: Sequence[Check], console: Console) -> None:
    """Print the checks as a table, and under it what to do."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("check")
    table.add_column("found", overflow="fold")
    for check in checks:
        # As Text: brackets in a path are no markup.
        table.add_row(
            Text(check.status, _STYLES[check.status]), Text(check.name), Text(check.found)
        )
    console.print(table)
    for check in checks:
        if check.advice:
            console.print()
            style = _STYLES[check.status]
            console.print(Text(f"{check.name}: ", style) + Text(check.advice, "default"))


def _generation() -> tuple[Generation, str]:
    """Read what setup.sh picked; in an environment that it did not make, find what is closest."""
    return read_note() or derive_generation(_installed("tfx"), _python_version(), _glibc())


def _python_version() -> str:
    major, minor, *_ = sys.version_info
    return f"{major}.{minor}"


def _glibc() -> tuple[int, ...]:
    """Read the version of glibc; empty where the C library is another one."""
    libc, release = platform.libc_ver()
    return _version(release) if libc == "glibc" else ()


def _python(generation: Generation) -> Check:
    found = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    fits = _python_version() in generation.pythons
    if not fits or platform.python_implementation() != "CPython":
        advice = (
            f"TFX {generation.tfx} needs CPython {generation.python_range}: run `make clean`, then "
            f"`CXR_PYTHON=/path/to/python{generation.pythons[0]} make setup`."
        )
        return Check("Python", "fail", found, advice)
    return Check("Python", "ok", found)


def _platform(generation: Generation) -> Check:
    libc, release = platform.libc_ver()
    found = f"{platform.system()} {platform.machine()}, {libc or 'unknown C library'} {release}"
    fits = (
        platform.system() == "Linux"
        and platform.machine() == "x86_64"
        and _glibc() >= generation.glibc
    )
    if not fits:
        advice = (
            f"The packages of TFX {generation.tfx} are built for x86_64 Linux with glibc "
            f"{generation.glibc_text} or newer: use such a machine or container, for instance "
            f"{generation.system}."
        )
        return Check("Platform", "fail", found.strip(), advice)
    return Check("Platform", "ok", found)


def _packages(generation: Generation) -> Iterator[Check]:
    for name, wanted in generation.packages.items():
        version = _installed(name)
        if version is None:
            yield Check(name, "fail", "not installed", _REINSTALL)
        elif not version.startswith(wanted):
            advice = f"The pipeline is written for {name} {wanted}*. {_REINSTALL}"
            yield Check(name, "fail", version, advice)
        else:
            yield Check(name, "ok", version)


def _pip() -> Check:
    version = _installed("pip")
    if version is None:
        advice = (
            "The tfx command line lists packages with pip: run "
            f"`{sys.executable} -m ensurepip`, or `make clean setup`."
        )
        return Check("pip", "warn", "not installed", advice)
    return Check("pip", "ok", version)


def _tfx_cli() -> Check:
    name = "tfx command line"
    script = Path(sys.executable).with_name("tfx")
    # find_spec of a top-level package locates it and imports nothing.
    spec = importlib.util.find_spec("tfx")
    folders = list(spec.submodule_search_locations or []) if spec else []
    handler = Path("tools", "cli", "handler", "local_handler.py")
    if not script.is_file() or not any((Path(folder) / handler).is_file() for folder in folders):
        advice = f"`tfx pipeline` and `tfx run` won't work; `cxr run` does. {_REINSTALL}"
        return Check(name, "warn", "its local engine is not installed", advice)
    # With kfp installed, the CLI's automatic choice runs into an import of code that
    # TFX no longer has.
    return Check(name, "ok", "local engine is there; always give it --engine=local")


def _kfp(generation: Generation) -> Check:
    version = _installed("kfp")
    if version is None:
        advice = f"Compiling for Kubeflow Pipelines won't work; local runs do. {_REINSTALL}"
        return Check("kfp", "warn", "not installed", advice)
    if not version.startswith("2."):
        advice = f"TFX {generation.tfx} compiles for kfp 2 only. {_REINSTALL}"
        return Check("kfp", "warn", version, advice)
    return Check("kfp", "ok", version)


def _cpu() -> Check:
    model = kernel.fields(CPUINFO).get("model name", platform.processor() or "unknown")
    # What this process may use: a container often gets fewer than the machine has.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{model}, {cores} core{'' if cores == 1 else 's'}"
    if cores == 1:
        advice = "Training on one core takes much longer: give the machine or container two."
        return Check("CPU", "warn", found, advice)
    return Check("CPU", "ok", found)


def _cpu_features() -> Check:
    name = "CPU features"
    flags = set(kernel.fields(CPUINFO).get("flags", "").split())
    present = [feature for feature in _CPU_FEATURES if feature in flags]
    found = ", ".join(present) or "none known"
    if not flags:
        advice = f"{CPUINFO} can't be read: check there that the CPU has avx, or TensorFlow stops."
        return Check(name, "warn", found, advice)
    if "avx" not in flags:
        advice = (
            "TensorFlow's packages stop with 'Illegal instruction' here: take a CPU with AVX, "
            "or let the virtual machine show it (CPU type `host`)."
        )
        return Check(name, "fail", found, advice)
    if "avx2" not in flags:
        advice = (
            "Training will be several times slower: take a CPU with AVX2, or let the virtual "
            "machine show it (CPU type `host`)."
        )
        return Check(name, "warn", found, advice)
    return Check(name, "ok", found)


def _openvino() -> Check:
    version = _installed("openvino")
    if version is None:
        advice = f"Featurizer takes TensorFlow, which is slower on a CPU. {_REINSTALL}"
        return Check("OpenVINO", "warn", "not installed", advice)
    return Check("OpenVINO", "ok", f"{version}, {'bf16' if gains_by_bf16(CPUINFO) else 'f32'}")


def _memory() -> Check:
    fields = kernel.fields(MEMINFO)
    total, free = (kernel.kibibytes(fields.get(key, "")) for key in ("MemTotal", "MemAvailable"))
    if total is None or free is None:
        advice = f"{MEMINFO} can't be read: check with `free -g` that 4 GiB are available."
        return Check("Memory", "warn", "unknown", advice)
    found = f"{free / _GIB:.1f} GiB available of {total / _GIB:.1f} GiB"
    if free < 2 * _GIB:
        advice = "A run needs 4 GiB: end other programs, or give the machine more memory."
        return Check("Memory", "fail", found, advice)
    if free < 4 * _GIB:
        advice = "A run with several backbones needs 4 GiB: end other programs, or train one."
        return Check("Memory", "warn", found, advice)
    return Check("Memory", "ok", found)


def _disk() -> Check:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    found = f"{free / _GIB:.1f} GiB free in {folder}"
    if free < 2 * _GIB:
        advice = "A run writes 1 GiB and more: free some space, or give --output on another disk."
        return Check("Disk", "fail" if free < _GIB else "warn", found, advice)
    return Check("Disk", "ok", found)


def _temp_dir() -> Check:
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        advice = "Beam and TFX write there: `export TMPDIR=` a folder that you may write to."
        return Check("Temporary folder", "fail", f"not writable ({error})", advice)
    return Check("Temporary folder", "ok", folder)


def _weights(weights_dir: Path | None) -> Iterator[Check]:
    for backbone in BACKBONES.values():
        name = f"Weights {backbone.name}"
        try:
            source = find_weights(backbone, weights_dir)
        except (InputError, OSError) as error:
            advice = f"Give --weights-dir a folder with {backbone.imagenet_file} that can be read."
            yield Check(name, "fail", str(error), advice)
            continue
        if source is None:
            places = f"{weights_dir} or {keras_cache()}" if weights_dir else str(keras_cache())
            advice = (
                f"The first run downloads them. Without a network, put {backbone.imagenet_file} "
                f"(or {backbone.name}_<name>_notop.h5) into a folder and give it as --weights-dir."
            )
            yield Check(name, "warn", f"none in {places}", advice)
        elif source.label == IMAGENET:
            yield Check(name, "ok", f"ImageNet, {source.path}")
        else:
            yield Check(name, "ok", f"not ImageNet's, {source.path}")


def _docker() -> Check:
    name = "Docker"
    client = shutil.which("docker")
    # A remote daemon can't be told from a missing one without asking it: not done here.
    daemon = os.environ.get("DOCKER_HOST") or (
        str(DOCKER_SOCKET) if os.access(DOCKER_SOCKET, os.R_OK | os.W_OK) else None
    )
    if client and daemon:
        return Check(name, "ok", f"{client}, daemon at {daemon}")
    found = "no docker command" if not client else f"{client}, but no daemon that it may use"
    advice = (
        "Only container images and InfraValidator need it; all else runs without. "
        "Install Docker, start it, and put yourself into the group `docker`."
    )
    return Check(name, "warn", found, advice)


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")
    return tuple(int(part) for part in parts) if all(p.isdigit() for p in parts) else ()
