"""The check of what must not be committed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "check_tree.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_tree", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_tree = _load()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty repository in a folder whose name holds a space."""
    root = tmp_path / "a b"
    root.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return root


def _faults(root: Path) -> list[str]:
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(root)], check=False, capture_output=True, text=True
    )
    assert run.returncode in (0, 1), run.stderr
    lines = run.stdout.splitlines()
    return lines if run.returncode else []


def _join(*parts: str) -> str:
    """Spells what the tree must not hold, without this file holding it."""
    return "".join(parts)


@pytest.mark.parametrize(
    "line",
    [
        _join("--index-url https://py", "pi.org/simple"),
        _join("see files.python", "hosted.org."),
        _join("deb http://deb.deb", "ian.org/debian bookworm main"),
        _join('"resolved": "https://registry.npm', 'js.org/x"'),
        _join("PYPI", ".ORG"),
        _join('DATA = "/ro', 'ot/data"'),
        _join("cd /wo", "rk/main"),
        _join("# via -r /ho", "me/someone/x.in"),
        _join("file:///Us", "ers/someone/x"),
    ],
)
def test_forbidden_line(repository: Path, line: str) -> None:
    (repository / "naïve name.md").write_text(f"fine\n{line}\n")
    faults = _faults(repository)
    assert len(faults) == 1
    assert faults[0].startswith("naïve name.md:2: names the ")
    (repository / "naïve name.md").write_text(f"{line}  # tree-check: ok\n")
    assert _faults(repository) == []


@pytest.mark.parametrize(
    "line",
    [
        "pip reads the index of your choice; pypi is the usual one",
        "https://example.org/home/page and pages/root/index, ~/work/main",
        _join("notpy", "pi.org and py", "pi.organic"),
        "/usr/share and /tmp/x and /var/run/docker.sock",
    ],
)
def test_innocent_line(repository: Path, line: str) -> None:
    (repository / "a.md").write_text(line)
    assert _faults(repository) == []


@pytest.mark.parametrize("name", ["w.h5", "m.keras", "x.tfrecord", "x.tfrecord.gz", "M.ONNX"])
def test_data_and_weights(repository: Path, name: str) -> None:
    (repository / "d").mkdir()
    (repository / "d" / name).write_bytes(b"")
    assert _faults(repository) == [
        f"d/{name}: data and weights stay out of the repository; put it beside the checkout."
    ]


def test_large_file(repository: Path) -> None:
    (repository / "ok.bin").write_bytes(bytes(check_tree.MAX_BYTES))
    assert _faults(repository) == []
    (repository / "big.bin").write_bytes(bytes(check_tree.MAX_BYTES + 1))
    assert len(_faults(repository)) == 1


def test_ignored_files_are_left_alone_and_tracked_ones_are_not(repository: Path) -> None:
    (repository / "w.h5").write_bytes(b"")
    subprocess.run(["git", "add", "w.h5"], cwd=repository, check=True)
    (repository / ".gitignore").write_text("*.h5\n")
    (repository / "other.h5").write_bytes(b"")
    assert len(_faults(repository)) == 1
    (repository / "w.h5").unlink()
    assert _faults(repository) == []


def test_the_script_passes_itself() -> None:
    assert list(check_tree.find_faults(ROOT, SCRIPT)) == []
