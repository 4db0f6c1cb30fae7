"""scripts/prism.sh and `make test-portable`, with a Go that builds nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "chmod", "dirname", "env", "make", "mkdir", "mktemp", "mv", "rm")
GO = r"""#!/bin/sh
echo "go $*" >>"$LOG"
# What Go keeps lies in its own folders.
echo "$GOPATH $GOCACHE $GOTMPDIR" >>"$LOG.folders"
[ -z "$BROKEN" ] || { echo 'no route to host' >&2; exit 1; }
mkdir -p "$GOBIN" "$GOPATH/pkg" && echo prism >"$GOBIN/prism" && chmod +x "$GOBIN/prism"
"""
PYTHON = r"""#!/bin/sh
case $1 in
    -c) echo 2.74.0 ;;
    *) echo "python $* with $CXR_PRISM" >>"$LOG" ;;
esac
"""

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


class Machine:
    """A checkout, and a PATH that holds little else than what pretends."""

    def __init__(self, folder: Path, *, go: bool) -> None:
        self.checkout = folder / "check out"
        self.log = folder / "log"
        self.cache = folder / "the cache"
        self._bin = folder / "bin"
        self._bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found
            (self._bin / tool).symlink_to(found)
        for path in (".venv/bin", "scripts"):
            (self.checkout / path).mkdir(parents=True)
        for path in ("scripts/prism.sh", "Makefile"):
            shutil.copy(ROOT / path, self.checkout / path)
        self._write(self.checkout / "scripts" / "setup.sh", "#!/bin/sh\n")
        self._write(self.checkout / ".venv" / "bin" / "python", PYTHON)
        if go:
            self._write(self._bin / "go", GO)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Whatever comes of it."""
        environment = {
            "PATH": str(self._bin),
            "LOG": str(self.log),
            "XDG_CACHE_HOME": str(self.cache),
            "BROKEN": "",
            **variables,
        }
        return subprocess.run(
            command, cwd=self.checkout, env=environment, capture_output=True, text=True, check=False
        )

    def called(self) -> list[str]:
        """Calls of Go and of Python."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def left(self) -> list[str]:
        """Files in the cache."""
        return [str(p.relative_to(self.cache)) for p in self.cache.rglob("*") if p.is_file()]

    def _write(self, path: Path, content: str) -> None:
        path.write_text(content)
        path.chmod(0o755)


def test_prism_is_built_once_of_the_version_of_beam(tmp_path: Path) -> None:
    machine = Machine(tmp_path, go=True)
    first, second = (machine.run("scripts/prism.sh") for _ in range(2))
    assert first.stdout == second.stdout
    assert first.stdout == f"{machine.cache}/cxr-tfx/prism/2.74.0/prism\n", first.stderr
    assert machine.called() == [
        "go install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.74.0",
    ]
    assert machine.left() == ["cxr-tfx/prism/2.74.0/prism"]
    own = f"{machine.cache}/cxr-tfx/prism/2.74.0/.go-"
    folders = Path(f"{machine.log}.folders").read_text()
    assert folders.count(own) == 3
    # No other folder of Go's is touched.
    assert folders.count("/path ") == folders.count("/cache ") == 1


def test_what_go_can_not_build_is_a_failure_and_leaves_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, go=True)
    done = machine.run("make", "test-portable", BROKEN="yes")
    assert done.returncode != 0
    assert "no route to host" in done.stderr
    assert "Prism 2.74.0 can't be built" in done.stderr
    assert machine.left() == []


def test_without_go_the_tests_are_left_out_with_the_reason(tmp_path: Path) -> None:
    machine = Machine(tmp_path, go=False)
    assert machine.run("scripts/prism.sh").returncode == 3
    done = machine.run("make", "test-portable")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "left out: Prism is built with Go, which is not here\n"
    assert machine.called() == []


def test_the_tests_are_told_where_prism_is(tmp_path: Path) -> None:
    machine = Machine(tmp_path, go=True)
    done = machine.run("make", "test-portable", "ARGS=-k killed")
    assert done.returncode == 0, done.stderr
    assert machine.called()[1] == (
        "python -m pytest tests/pipeline/test_prism.py -k killed with "
        f"{machine.cache}/cxr-tfx/prism/2.74.0/prism"
    )
