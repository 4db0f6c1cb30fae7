"""scripts/setup.sh, with interpreters that only pretend: nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "setup.sh"
TOOLS = ("bash", "cat", "dirname", "flock", "grep", "id", "mv", "rm", "sed", "sha256sum")

# Answers the probe, and makes an environment whose pip and uv only write down how they
# were called. FAIL names what breaks off: "uv", "pip", or both.
FAKE_PYTHON = r"""#!/bin/bash
me=$(cd "$(dirname "$0")" && pwd)/${0##*/}
case "$*" in
    -I\ -c\ *) echo "${VERDICT:-ok $me}" ;;
    *'-m venv'*)
        echo "venv $*" >>"$LOG"
        /bin/rm -rf .venv
        /bin/mkdir -p .venv/bin
        /bin/cp "$0" .venv/bin/python
        ;;
    *--target*)
        echo "bootstrap" >>"$LOG"
        /bin/mkdir -p .venv/uv/bin
        printf '#!/bin/bash\necho "uv $*" >>"$LOG"\n[[ $FAIL != *uv* ]]\n' >.venv/uv/bin/uv
        /bin/chmod +x .venv/uv/bin/uv
        ;;
    *'-m pip'*)
        echo "pip $* constraint=$PIP_CONSTRAINT" >>"$LOG"
        [[ $FAIL != *pip* ]]
        ;;
esac
"""


class Checkout:
    """A copy of what setup.sh needs, and a PATH that holds nothing else."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp = tmp_path
        self.root = tmp_path / "check out"
        (self.root / "scripts").mkdir(parents=True)
        (self.root / "requirements").mkdir()
        shutil.copy(SCRIPT, self.root / "scripts")
        for name in ("py310.lock", "bootstrap.lock"):
            (self.root / "requirements" / name).write_text("a==1 \\\n    --hash=sha256:0\n")
        (self.root / "setup.py").write_text("")
        self.path = tmp_path / "bin"
        self.path.mkdir()
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.path / tool).symlink_to(found)
        self.add("bin/c++", "#!/bin/bash\n")
        self.log = tmp_path / "log"
        self.environment = {
            "PATH": str(self.path),
            "HOME": str(tmp_path / "home"),
            "LOG": str(self.log),
            "FAIL": "",
        }

    def add(self, name: str, content: str = FAKE_PYTHON) -> Path:
        """Puts an executable under the temporary folder."""
        file = self.tmp / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(0o755)
        return file

    def run(self, *arguments: str, **environment: str | Path) -> subprocess.CompletedProcess[str]:
        """Runs setup.sh from another folder, as a person might."""
        return subprocess.run(
            [str(self.root / "scripts" / "setup.sh"), *arguments],
            cwd=self.tmp,
            env={**self.environment, **{key: str(value) for key, value in environment.items()}},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self) -> list[str]:
        """What was called since the last time this was asked."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    @property
    def stamp(self) -> Path:
        """The file that says that the environment is whole."""
        return self.root / ".venv" / "cxr-setup.stamp"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


needs_no_python_in_opt = pytest.mark.skipif(
    any(Path("/opt").glob("python*")), reason="this machine may have a Python 3.10 in /opt"
)


def test_takes_python_on_the_path(checkout: Checkout) -> None:
    python = checkout.add("bin/python3.10")
    assert checkout.run("--print-python").stdout == f"{python}\n"


@needs_no_python_in_opt
@pytest.mark.parametrize(
    ("place", "variable", "value"),
    [
        ("pyenv root/versions/3.10.13/bin/python", "PYENV_ROOT", "pyenv root"),
        ("home/.pyenv/versions/3.10.4/bin/python", "PYENV_ROOT", "elsewhere"),
        ("home/.pyenv/versions/3.10.4/bin/python", None, ""),
        (
            "home/.local/share/uv/python/cpython-3.10.16-linux-x86_64-gnu/bin/python3.10",
            None,
            "",
        ),
        ("uv/cpython-3.10.16-linux-x86_64-gnu/bin/python3.10", "UV_PYTHON_INSTALL_DIR", "uv"),
        ("bin/python3", None, ""),
    ],
)
def test_looks_behind_a_shim_that_does_not_run(
    checkout: Checkout, place: str, variable: str | None, value: str
) -> None:
    checkout.add("bin/python3.10", "#!/bin/bash\necho 'pyenv: command not found' >&2\nexit 127\n")
    python = checkout.add(place)
    extra = {variable: str(checkout.tmp / value)} if variable else {}
    run = checkout.run("--print-python", **extra)
    assert (run.stdout, run.stderr) == (f"{python}\n", "")


def test_takes_the_interpreter_behind_an_environment(checkout: Checkout) -> None:
    checkout.add("bin/python3.10", "#!/bin/bash\necho ok /usr/real/python3.10\n")
    assert checkout.run("--print-python").stdout == "/usr/real/python3.10\n"


def test_cxr_python_is_the_only_one_tried(checkout: Checkout) -> None:
    checkout.add("bin/python3.10")
    chosen = checkout.add("my python/python")
    assert checkout.run("--print-python", CXR_PYTHON=chosen).stdout == f"{chosen}\n"
    _assert_refused(checkout.run(CXR_PYTHON=checkout.tmp / "gone"), "gone can't be run")
    run = checkout.run(CXR_PYTHON=chosen, VERDICT="version")
    _assert_refused(run, "is not CPython 3.10: point CXR_PYTHON")


@needs_no_python_in_opt
def test_no_python(checkout: Checkout) -> None:
    _assert_refused(checkout.run(), "no CPython 3.10 was found", "run `")
    checkout.add("bin/python3.10", "#!/bin/bash\necho version\n")
    _assert_refused(checkout.run(), "no CPython 3.10 was found", "run `")


@needs_no_python_in_opt
@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("headers", "Python.h"),
        ("venv", "can't make virtual environments"),
        ("libc", "glibc 2.28"),
        ("platform", "x86_64"),
    ],
)
def test_python_that_lacks_something(checkout: Checkout, verdict: str, words: str) -> None:
    lacking = checkout.add("bin/python3.10", f"#!/bin/bash\necho {verdict}\n")
    _assert_refused(checkout.run(), words, str(lacking))
    whole = checkout.add("home/.pyenv/versions/3.10.4/bin/python")
    assert checkout.run("--print-python").stdout == f"{whole}\n"


def test_no_compiler(checkout: Checkout) -> None:
    checkout.add("bin/python3.10")
    (checkout.path / "c++").unlink()
    _assert_refused(checkout.run(), "no C++ compiler", "pyfarmhash")
    checkout.add("bin/my-g++", "#!/bin/bash\n")
    assert checkout.run(CXX="my-g++ -O2").returncode == 0


def _assert_refused(run: subprocess.CompletedProcess[str], *words: str) -> None:
    """One sentence on standard error, and the exit status of a wrong input."""
    assert run.returncode == 2, run.stderr
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    assert run.stderr.startswith("setup: ")
    for word in words:
        assert word in run.stderr


def test_second_call_does_nothing(checkout: Checkout) -> None:
    checkout.add("bin/python3.10")
    first = checkout.run()
    assert first.returncode == 0, first.stderr
    calls = checkout.calls()
    assert [call.split()[0] for call in calls] == ["venv", "bootstrap", "uv", "uv"]
    assert "--require-hashes" in calls[2]
    assert "--no-deps" in calls[3]
    second = checkout.run()
    assert (second.returncode, second.stdout, checkout.calls()) == (0, "", [])


def test_change_installs_again(checkout: Checkout) -> None:
    checkout.add("bin/python3.10")
    checkout.run()
    for name in ("requirements/py310.lock", "requirements/bootstrap.lock", "setup.py"):
        with (checkout.root / name).open("a") as file:
            file.write("# changed\n")
        checkout.calls()
        assert checkout.run().returncode == 0
        assert checkout.calls(), name
    # The scripts in a moved environment point to where it was.
    checkout.root = checkout.root.rename(checkout.tmp / "moved")
    assert checkout.run().returncode == 0
    assert checkout.calls()
    # The interpreter behind the environment is gone.
    (checkout.root / ".venv/bin/python").unlink()
    assert checkout.run().returncode == 0
    assert checkout.calls()


@pytest.mark.parametrize(("fail", "no_uv"), [("uv", ""), ("", "1")])
def test_falls_back_to_pip(checkout: Checkout, fail: str, no_uv: str) -> None:
    checkout.add("bin/python3.10")
    run = checkout.run(FAIL=fail, CXR_NO_UV=no_uv)
    assert run.returncode == 0, run.stderr
    pip = [call for call in checkout.calls() if call.startswith("pip")]
    assert "--require-hashes -r requirements/py310.lock" in pip[0]
    assert pip[0].endswith("constraint=.venv/build-versions.txt")
    assert (checkout.root / ".venv/build-versions.txt").read_text() == "a==1\n"
    assert "--no-deps --no-build-isolation -e ." in pip[1]
    assert checkout.stamp.exists()


def test_failed_install_leaves_no_stamp(checkout: Checkout) -> None:
    checkout.add("bin/python3.10")
    assert checkout.run().returncode == 0
    assert checkout.stamp.exists()
    (checkout.root / "requirements/py310.lock").write_text("b==2 \\\n    --hash=sha256:0\n")
    run = checkout.run(FAIL="uv pip")
    assert run.returncode == 2
    assert "could not be installed" in run.stderr
    assert not checkout.stamp.exists()
    assert checkout.run().returncode == 0
    assert checkout.stamp.exists()


def test_killed_install_leaves_no_stamp(checkout: Checkout) -> None:
    killer = FAKE_PYTHON.replace('echo "bootstrap"', 'kill -KILL $PPID; echo "bootstrap"')
    checkout.add("bin/python3.10", killer)
    assert checkout.run().returncode not in (0, 2)
    assert not checkout.stamp.exists()
    checkout.add("bin/python3.10")
    assert checkout.run().returncode == 0


def test_unknown_argument(checkout: Checkout) -> None:
    _assert_refused(checkout.run("--help-me"), "unknown argument --help-me")


def test_is_executable() -> None:
    for script in (SCRIPT, ROOT / ".ci" / "run"):
        assert os.access(script, os.X_OK), script
