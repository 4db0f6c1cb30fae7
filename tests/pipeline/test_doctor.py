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

from models.backbones import BACKBONES
from pipeline import doctor
from pipeline.doctor import Check, Status

ROOT = Path(__file__).parents[2]
FLAGS = "model name : Some CPU\nflags : fpu avx avx2 avx512f\nmodel name : Other\n"


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
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
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
        (_attribute("sys.version_info", (3, 12, 1)), "Python", "fail", "CXR_PYTHON"),
        (_attribute("platform.machine", lambda: "aarch64"), "Platform", "fail", "x86_64"),
        (_attribute("platform.libc_ver", lambda: ("", "")), "Platform", "fail", "glibc"),
        (
            _attribute("platform.libc_ver", lambda: ("glibc", "2.17")),
            "Platform",
            "fail",
            "2.28",
        ),
        (_without("tfx"), "tfx", "fail", "make clean setup"),
        (_with("tfx", "1.21.0"), "tfx", "fail", "1.16.*"),
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


@pytest.mark.parametrize(("flags", "precision"), [("avx512_bf16", "bf16"), ("avx512f", "f32")])
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


def test_expected_versions_are_the_locked_ones() -> None:
    lock = (ROOT / "requirements" / "py310.lock").read_text()
    versions = dict(line.split()[0].split("==") for line in lock.splitlines() if "==" in line)
    for name, wanted in doctor._PACKAGES.items():
        assert versions[name].startswith(wanted), name
