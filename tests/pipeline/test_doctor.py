"""The doctor: what it says on a bad machine, and that it imports nothing heavy."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from common import generations
from common.generations import GENERATIONS, Generation, derive_generation
from models.backbones import BACKBONES
from pipeline import doctor
from pipeline.doctor import Check, Status

ROOT = Path(__file__).parents[2]
# The one that this environment was made for.
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
HERE = next(generation for generation in GENERATIONS if PYTHON in generation.pythons)
FLAGS = "model name : Some CPU\nflags : fpu avx avx2 avx512f\nmodel name : Other\n"


every_generation = pytest.mark.parametrize(
    "generation", GENERATIONS, ids=[generation.tfx for generation in GENERATIONS]
)


@pytest.fixture(autouse=True)
def good_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of a good machine instead of this one's; the weights folder is returned."""
    proc = tmp_path / "proc"
    proc.mkdir()
    _write(monkeypatch, "CPUINFO", proc / "cpuinfo", FLAGS)
    _write(monkeypatch, "MEMINFO", proc / "meminfo", _meminfo(8))
    socket = proc / "docker.sock"
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    _write(monkeypatch, "DOCKER_SOCKET", socket, "")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", HERE.glibc_text))
    monkeypatch.setattr(generations, "NOTE", tmp_path / "cxr-generation")
    generations.NOTE.write_text(f"{HERE.tfx}: a reason\n")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr("shutil.disk_usage", lambda path: _usage(50))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    weights = tmp_path / "weights"
    weights.mkdir()
    for backbone in BACKBONES.values():
        (weights / backbone.imagenet_file).write_bytes(b"weights")
    return weights


def _write(monkeypatch: pytest.MonkeyPatch, constant: str, path: Path, content: str) -> None:
    path.write_text(content)
    monkeypatch.setattr(doctor, constant, path)


def _meminfo(gib: float) -> str:
    return f"MemTotal: {32 << 20} kB\nMemAvailable: {int(gib * (1 << 20))} kB\n"


class _usage:  # noqa: N801 - stands in for a function's result
    def __init__(self, gib: float) -> None:
        self.free = int(gib * (1 << 30))


def _check(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_good_machine_is_ok(good_machine: Path) -> None:
    checks = doctor.diagnose(good_machine)
    assert doctor.worst(checks) == "ok", [c for c in checks if c.status != "ok"]
    assert checks[0] == Check("TFX generation", "ok", f"{HERE.tfx}: a reason")
    assert _check(checks, "CPU").found == "Some CPU, 2 cores"
    assert _check(checks, "CPU features").found == "avx, avx2, avx512f"
    assert str(good_machine) in _check(checks, "Weights vgg16").found


def _without(distribution: str) -> Callable[[pytest.MonkeyPatch], None]:
    return _with(distribution, None)


def _with(distribution: str, version: str | None) -> Callable[[pytest.MonkeyPatch], None]:
    real = importlib.metadata.version

    def fake(name: str) -> str:
        if name != distribution:
            return real(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    return lambda patch: patch.setattr("importlib.metadata.version", fake)


def _attribute(target: str, value: object) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(target, value)


def _content(constant: str, content: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: getattr(doctor, constant).write_text(content) and None


def _missing(constant: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(doctor, constant, Path("/nonexistent/file"))


def _no_temp_dir() -> str:
    raise FileNotFoundError("no usable temporary directory")


@pytest.mark.parametrize(
    ("harm", "name", "status", "advice"),
    [
        (_attribute("sys.version_info", (3, 9, 1)), "Python", "fail", "CXR_PYTHON"),
        (_attribute("platform.machine", lambda: "aarch64"), "Platform", "fail", "x86_64"),
        (_attribute("platform.libc_ver", lambda: ("", "")), "Platform", "fail", "glibc"),
        (
            _attribute("platform.libc_ver", lambda: ("glibc", "2.17")),
            "Platform",
            "fail",
            HERE.glibc_text,
        ),
        (_without("tfx"), "tfx", "fail", "make clean setup"),
        (_with("tfx", "1.15.0"), "tfx", "fail", f"{HERE.tfx}.*"),
        (_without("dill"), "dill", "fail", "make clean setup"),
        (_with("keras", "2.15.0"), "keras", "fail", "keras 3.*"),
        (_without("pip"), "pip", "warn", "ensurepip"),
        (_without("openvino"), "OpenVINO", "warn", "TensorFlow"),
        (_without("kfp"), "kfp", "warn", "Kubeflow"),
        (_with("kfp", "1.8.22"), "kfp", "warn", "kfp 2"),
        (
            _attribute("importlib.util.find_spec", lambda name: None),
            "tfx command line",
            "warn",
            "cxr run",
        ),
        (_attribute("os.sched_getaffinity", lambda pid: {0}), "CPU", "warn", "two"),
        (_content("CPUINFO", "flags : fpu\n"), "CPU features", "fail", "AVX"),
        (_content("CPUINFO", "flags : fpu avx\n"), "CPU features", "warn", "AVX2"),
        (_missing("CPUINFO"), "CPU features", "warn", "avx"),
        (_content("MEMINFO", _meminfo(3)), "Memory", "warn", "train one"),
        (_content("MEMINFO", _meminfo(1)), "Memory", "fail", "4 GiB"),
        (_missing("MEMINFO"), "Memory", "warn", "free -g"),
        (
            _attribute("shutil.disk_usage", lambda path: _usage(1.5)),
            "Disk",
            "warn",
            "--output",
        ),
        (
            _attribute("shutil.disk_usage", lambda path: _usage(0.5)),
            "Disk",
            "fail",
            "--output",
        ),
        (
            _attribute("tempfile.gettempdir", _no_temp_dir),
            "Temporary folder",
            "fail",
            "TMPDIR",
        ),
        (_attribute("shutil.which", lambda name: None), "Docker", "warn", "Install Docker"),
        (_missing("DOCKER_SOCKET"), "Docker", "warn", "start it"),
    ],
)
def test_fault_is_found_with_advice(
    harm: Callable[[pytest.MonkeyPatch], None],
    name: str,
    status: Status,
    advice: str,
    good_machine: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        harm(patch)
        checks = doctor.diagnose(good_machine)
    check = _check(checks, name)
    assert (check.status, doctor.worst(checks)) == (status, status)
    assert advice in check.advice


@pytest.mark.parametrize(("flags", "precision"), [("amx_bf16", "bf16"), ("avx512_bf16", "f32")])
def test_openvino_with_the_precision_that_a_run_takes(
    good_machine: Path, monkeypatch: pytest.MonkeyPatch, flags: str, precision: str
) -> None:
    _content("CPUINFO", f"flags : avx avx2 {flags}\n")(monkeypatch)
    check = _check(doctor.diagnose(good_machine), "OpenVINO")
    assert check.found == f"{importlib.metadata.version('openvino')}, {precision}"


def test_unwritable_temp_dir(good_machine: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
        check = _check(doctor.diagnose(good_machine), "Temporary folder")
    assert check.status == "fail"
    assert "gone" in check.found


def test_docker_host_counts_as_daemon(good_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DOCKER_SOCKET", Path("/nonexistent"))
    monkeypatch.setenv("DOCKER_HOST", "tcp://somewhere:2376")
    check = _check(doctor.diagnose(good_machine), "Docker")
    assert check.status == "ok"
    assert "tcp://somewhere:2376" in check.found


def test_weights_of_other_pre_training_are_not_called_imagenet(good_machine: Path) -> None:
    (good_machine / BACKBONES["densenet121"].imagenet_file).unlink()
    (good_machine / "densenet121_chest_notop.h5").write_bytes(b"other")
    check = _check(doctor.diagnose(good_machine), "Weights densenet121")
    assert check.status == "ok"
    assert check.found.startswith("not ImageNet's")


def test_missing_weights_name_the_file_and_the_places(good_machine: Path, tmp_path: Path) -> None:
    file = good_machine / BACKBONES["xception"].imagenet_file
    file.unlink()
    check = _check(doctor.diagnose(good_machine), "Weights xception")
    assert check.status == "warn"
    assert str(good_machine) in check.found
    assert str(tmp_path / "keras") in check.found
    assert file.name in check.advice


def test_weights_in_the_keras_cache_count(good_machine: Path, tmp_path: Path) -> None:
    cache = tmp_path / "keras" / "models"
    cache.parent.mkdir()
    good_machine.rename(cache)
    checks = doctor.diagnose(None)
    assert doctor.worst(checks) == "ok"


def test_weights_dir_that_is_none_fails(tmp_path: Path) -> None:
    checks = doctor.diagnose(tmp_path / "nowhere")
    check = _check(checks, "Weights vgg16")
    assert check.status == "fail"
    assert "nowhere" in check.found
    assert check.advice


def test_fault_without_advice_is_a_defect() -> None:
    with pytest.raises(ValueError, match="no advice"):
        Check("x", "warn", "found")


def test_worst_of_nothing_is_ok() -> None:
    assert doctor.worst([]) == "ok"


def test_render_shows_findings_and_advice() -> None:
    console = Console(width=100, record=True, file=None, quiet=False)
    checks = [
        Check("Disk", "ok", "9 GiB free in /a [b]"),
        Check("Docker", "warn", "no docker command", "Install [it]."),
    ]
    with console.capture() as capture:
        doctor.render(checks, console)
    text = capture.get()
    assert "/a [b]" in text
    assert "Docker: Install [it]." in text


def test_imports_nothing_of_tfx() -> None:
    code = (
        "import json, sys\n"
        "from pipeline import doctor\n"
        "doctor.diagnose(None)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    heavy = {"tfx", "tensorflow", "keras", "apache_beam", "numpy", "kfp", "ml_metadata"}
    assert not heavy & set(json.loads(run.stdout))


@every_generation
def test_expected_versions_are_the_locked_ones(generation: Generation) -> None:
    lock = (ROOT / "requirements" / f"tfx-{generation.tfx}.lock").read_text()
    pins = [line.split()[0].split("==") for line in lock.splitlines() if line[:1].strip()]
    for name, wanted in generation.packages.items():
        versions = [version for pinned, version in pins if pinned == name]
        assert versions, name
        assert all(version.startswith(wanted) for version in versions), name


def _environment(
    generation: Generation, python: str, glibc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment with the packages of a generation, and without a note."""
    generations.NOTE.unlink()
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", glibc))
    monkeypatch.setattr("sys.version_info", (*map(int, python.split(".")), 1))
    versions = {name: f"{wanted}9" for name, wanted in generation.packages.items()}
    real = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: versions.get(name) or real(name))


@pytest.mark.parametrize(
    ("generation", "python"),
    [(generation, python) for generation in GENERATIONS for python in generation.pythons],
    ids=lambda value: value.tfx if isinstance(value, Generation) else value,
)
def test_each_generation_on_its_pythons(
    generation: Generation, python: str, good_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is installed says which it is, where setup.sh left no note."""
    _environment(generation, python, generation.glibc_text, monkeypatch)
    checks = doctor.diagnose(good_machine)
    assert doctor.worst(checks) == "ok", [check for check in checks if check.status != "ok"]
    assert checks[0].found == f"{generation.tfx}: tfx {generation.tfx}.9 is installed"


@every_generation
def test_a_note_counts_more_than_what_is_installed(
    generation: Generation, good_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = next(one for one in GENERATIONS if one is not generation)
    _environment(other, other.pythons[0], "2.27", monkeypatch)
    generations.NOTE.write_text(f"{generation.tfx}: a reason: with a colon\n")
    checks = doctor.diagnose(good_machine)
    assert checks[0].found == f"{generation.tfx}: a reason: with a colon"
    assert f"CPython {generation.python_range}: run" in _check(checks, "Python").advice
    platform = _check(checks, "Platform").advice
    assert f"glibc {generation.glibc_text} or newer" in platform
    assert generation.system in platform
    for name in ("tfx", "tensorflow", "protobuf"):
        assert f"{name} {generation.packages[name]}*" in _check(checks, name).advice


@pytest.mark.parametrize("note", ["", "1.16", "2.0: from a later version", "1.160: x", "\udcff"])
def test_a_note_that_says_nothing_is_none(note: str) -> None:
    generations.NOTE.write_bytes(note.encode(errors="surrogateescape"))
    assert generations.read_note() is None


@pytest.mark.parametrize(
    ("tfx", "python", "glibc", "expected"),
    [
        ("1.16.0", "3.13", (2, 41), "1.16"),
        ("1.21.3", "3.10", (2, 36), "1.21"),
        # Without a TFX that is known: what the Python fits, then what the machine fits.
        (None, "3.10", (2, 41), "1.16"),
        (None, "3.12", (2, 39), "1.21"),
        (None, "3.12", (2, 38), "1.16"),
        (None, "3.14", (2, 41), "1.21"),
        ("2.0.0", "3.9", (), "1.16"),
    ],
)
def test_derived_generation(
    tfx: str | None, python: str, glibc: tuple[int, ...], expected: str
) -> None:
    generation, why = derive_generation(tfx, python, glibc)
    assert generation.tfx == expected
    assert why
