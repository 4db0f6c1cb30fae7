"""scripts/setup.sh, with interpreters that only pretend: nothing is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.generations import GENERATIONS

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "setup.sh"
TOOLS = ("bash", "cat", "dirname", "flock", "grep", "id", "mv", "rm", "sed", "sha256sum")

# Answers the probe, and makes an environment whose pip and uv only write down how they
# were called. FAIL names what breaks off: "uv", "pip", or both.
FAKE_PYTHON = r"""#!/bin/bash
me=$(cd "$(dirname "$0")" && pwd)/${0##*/}
case "$*" in
    -I\ -c\ *)
        # What is asked for comes behind the code, as `3.13=2.39`.
        glibc=GLIBC asked=" ${*:4} " verdict=VERDICT
        needed=${asked##* VERSION=}
        needed=${needed%% *}
        if [[ $asked != *" VERSION="* ]]; then
            verdict=version
        elif [ $verdict = ok ] && ((10#${needed#*.} > 10#${glibc#*.})); then
            verdict=libc
        fi
        echo "$verdict VERSION GLIBC $me"
        ;;
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


def fake(version: str = "3.10", verdict: str = "ok", glibc: str = "2.36") -> str:
    """An interpreter of this version on a machine with this C library.

    Args:
        verdict: what the probe finds: "ok", or what is missing.
    """
    values = {"VERSION": version, "VERDICT": verdict, "GLIBC": glibc}
    return re.sub("VERSION|VERDICT|GLIBC", lambda match: values[match[0]], FAKE_PYTHON)


class Checkout:
    """A copy of what setup.sh needs, and a PATH that holds nothing else."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp = tmp_path
        self.root = tmp_path / "check out"
        (self.root / "scripts").mkdir(parents=True)
        (self.root / "requirements").mkdir()
        shutil.copy(SCRIPT, self.root / "scripts")
        for name in ("tfx-1.16.lock", "tfx-1.21.lock", "bootstrap.lock"):
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

    def add(self, name: str, content: str | None = None) -> Path:
        """Puts an executable under the temporary folder: a whole Python 3.10, if no other."""
        file = self.tmp / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(fake() if content is None else content)
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

    def on(self, os_release: str, glibc: str) -> None:
        """Lets the script see another distribution, and what it says of its C library."""
        (self.tmp / "os-release").write_text(os_release)
        script = self.root / "scripts" / "setup.sh"
        text = script.read_text()
        assert "/etc/os-release" in text
        script.write_text(text.replace("/etc/os-release", str(self.tmp / "os-release")))
        self.add("bin/getconf", f"#!/bin/bash\necho glibc {glibc}\n")
        # Only root needs no sudo.
        (self.path / "id").unlink()
        self.add("bin/id", "#!/bin/bash\necho 0\n")

    @property
    def note(self) -> str:
        """What the environment says about its TFX."""
        return (self.root / ".venv" / "cxr-generation").read_text()

    @property
    def stamp(self) -> Path:
        """The file that says that the environment is whole."""
        return self.root / ".venv" / "cxr-setup.stamp"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


needs_no_python_in_opt = pytest.mark.skipif(
    any(Path("/opt").glob("python*")), reason="this machine may have a Python in /opt"
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
    checkout.add("bin/python3.10", "#!/bin/bash\necho ok 3.10 2.36 /usr/real/python3.10\n")
    assert checkout.run("--print-python").stdout == "/usr/real/python3.10\n"


def test_cxr_python_is_the_only_one_tried(checkout: Checkout) -> None:
    checkout.add("bin/python3.10")
    chosen = checkout.add("my python/python")
    assert checkout.run("--print-python", CXR_PYTHON=chosen).stdout == f"{chosen}\n"
    _assert_refused(checkout.run(CXR_PYTHON=checkout.tmp / "gone"), "gone can't be run")
    old = checkout.add("old/python", fake("3.9"))
    _assert_refused(checkout.run(CXR_PYTHON=old), "is not CPython 3.10 to 3.13: point CXR_PYTHON")


@needs_no_python_in_opt
def test_no_python(checkout: Checkout) -> None:
    _assert_refused(checkout.run(), "no CPython 3.10 was found", "run `")
    checkout.add("bin/python3.10", fake("3.9"))
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
    lacking = checkout.add("bin/python3.10", fake(verdict=verdict))
    _assert_refused(checkout.run(), words, str(lacking))
    whole = checkout.add("home/.pyenv/versions/3.10.4/bin/python")
    assert checkout.run("--print-python").stdout == f"{whole}\n"


DEBIAN_13 = 'ID=debian\nVERSION_ID="13"\n'
UBUNTU_24 = 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n'
DEBIAN_12 = 'ID=debian\nVERSION_ID="12"\n'
RHEL_9 = 'ID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.4"\n'


def test_table_is_that_of_generations_py() -> None:
    text = SCRIPT.read_text()
    for prefix, generation in zip(("NEW", "OLD"), GENERATIONS, strict=True):
        pythons = " ".join(generation.pythons)
        glibc = ".".join(map(str, generation.glibc))
        line = f"readonly {prefix}_TFX={generation.tfx} {prefix}_PYTHONS='{pythons}' "
        assert f"\n{line}{prefix}_GLIBC={glibc}\n" in text


def test_probe_of_a_real_interpreter(checkout: Checkout) -> None:
    """The one that runs this test is one that setup.sh takes."""
    run = checkout.run("--print-python", CXR_PYTHON=sys.executable)
    assert Path(run.stdout.strip()).resolve() == Path(sys.executable).resolve(), run.stderr
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    text = SCRIPT.read_text()
    probe = text[text.index("readonly PROBE='") + len("readonly PROBE='") :].split("'\n")[0]

    def ask(*wanted: str) -> list[str]:
        command = [sys.executable, "-I", "-c", probe, *wanted]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    assert ask(f"{version}=2.28")[:2] == ["ok", version]
    assert ask("3.9=2.28")[:2] == ["version", version]
    assert ask(f"{version}=2.999")[:2] == ["libc", version]


@needs_no_python_in_opt
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(
    "place",
    [
        "bin/python{}",
        "bin/python3",
        "home/.pyenv/versions/{}.4/bin/python",
        "home/.local/share/uv/python/cpython-{}.4-linux-x86_64-gnu/bin/python{}",
    ],
)
def test_new_tfx_where_the_c_library_is_new(checkout: Checkout, place: str, version: str) -> None:
    checkout.add("bin/python3.10", fake("3.10", glibc="2.39"))
    python = checkout.add(place.format(version, version), fake(version, glibc="2.39"))
    assert checkout.run("--print-python").stdout == f"{python}\n"


def test_newest_python_first(checkout: Checkout) -> None:
    for version in ("3.10", "3.11", "3.12", "3.13", "3.14"):
        checkout.add(f"bin/python{version}", fake(version, glibc="2.41"))
    checkout.add("bin/python3", fake("3.14", glibc="2.41"))
    run = checkout.run()
    assert "setup: TFX 1.21: Python 3.13 and glibc 2.41 are there\n" in run.stdout
    assert checkout.note == "1.21: Python 3.13 and glibc 2.41 are there\n"
    venv, _, sync, _ = checkout.calls()
    assert venv.startswith("venv ")
    assert "requirements/tfx-1.21.lock" in sync
    assert "1.16" not in sync


@needs_no_python_in_opt
def test_old_tfx_where_the_c_library_is_old(checkout: Checkout) -> None:
    for version in ("3.10", "3.11", "3.12", "3.13"):
        checkout.add(f"bin/python{version}", fake(version, glibc="2.38"))
    run = checkout.run()
    why = "1.16: glibc 2.38 is older than 2.39, which TFX 1.21 needs\n"
    assert f"setup: TFX {why}" in run.stdout
    assert checkout.note == why
    assert "requirements/tfx-1.16.lock" in checkout.calls()[2]


@needs_no_python_in_opt
def test_old_tfx_where_only_its_python_is_there(checkout: Checkout) -> None:
    checkout.add("bin/python3.10", fake("3.10", glibc="2.41"))
    assert checkout.run().returncode == 0
    assert checkout.note == "1.16: no CPython 3.11 to 3.13 was found, which TFX 1.21 needs\n"


@needs_no_python_in_opt
def test_new_python_that_lacks_something(checkout: Checkout) -> None:
    checkout.on(DEBIAN_13, "2.41")
    lacking = checkout.add("bin/python3.13", fake("3.13", "headers", "2.41"))
    command = "run `apt-get install -y python3-dev python3-venv g++`, then set up again"
    _assert_refused(checkout.run(), f"{lacking} is Python 3.13 but its C headers", command)
    # The other TFX's Python does, and the note says what would have been better.
    checkout.add("bin/python3.10", fake("3.10", glibc="2.41"))
    assert checkout.run().returncode == 0
    assert checkout.note.startswith(f"1.16: {lacking} is Python 3.13 but its C headers")
    # An older Python of the new TFX is better still.
    checkout.stamp.unlink()
    checkout.add("bin/python3.11", fake("3.11", glibc="2.41"))
    assert checkout.run().returncode == 0
    assert checkout.note == "1.21: Python 3.11 and glibc 2.41 are there\n"


@needs_no_python_in_opt
@pytest.mark.parametrize(
    ("os_release", "glibc", "command"),
    [
        (DEBIAN_13, "2.41", "`apt-get install -y python3-dev python3-venv g++`"),
        (UBUNTU_24, "2.39", "`apt-get install -y python3-dev python3-venv g++`"),
        (DEBIAN_12, "2.36", "~/.uv/bin/uv python install 3.10`"),
        (RHEL_9, "2.34", "`dnf install -y python3-pip gcc-c++ && "),
        ("ID=arch\n", "2.42", "~/.uv/bin/uv python install 3.13`"),
    ],
)
def test_no_python_with_the_command_for_the_distribution(
    checkout: Checkout, os_release: str, glibc: str, command: str
) -> None:
    checkout.on(os_release, glibc)
    wanted = "no CPython 3.11 to 3.13" if glibc >= "2.39" else "no CPython 3.10 was found"
    _assert_refused(checkout.run(), wanted, command)


def test_cxr_python_picks_the_tfx(checkout: Checkout) -> None:
    old = checkout.add("old/python", fake("3.10", glibc="2.41"))
    new = checkout.add("new/python", fake("3.12", glibc="2.41"))
    assert checkout.run(CXR_PYTHON=old).returncode == 0
    assert checkout.note == "1.16: CXR_PYTHON is a Python 3.10\n"
    checkout.stamp.unlink()
    assert checkout.run(CXR_PYTHON=new).returncode == 0
    assert checkout.note == "1.21: CXR_PYTHON is a Python 3.12\n"


def test_cxr_python_too_new_for_the_c_library(checkout: Checkout) -> None:
    new = checkout.add("new/python", fake("3.12", glibc="2.36"))
    words = (f"{new} is Python 3.12", "TFX 1.21 needs glibc 2.39", "its C library is 2.36")
    _assert_refused(checkout.run(CXR_PYTHON=new), *words)


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
    # Both TFX's locks: which of them counts is only decided in a new set-up.
    locks = [f"requirements/{lock}.lock" for lock in ("tfx-1.16", "tfx-1.21", "bootstrap")]
    for name in (*locks, "setup.py"):
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
    assert "--require-hashes -r requirements/tfx-1.16.lock" in pip[0]
    assert pip[0].endswith("constraint=.venv/build-versions.txt")
    assert (checkout.root / ".venv/build-versions.txt").read_text() == "a==1\n"
    assert "--no-deps --no-build-isolation -e ." in pip[1]
    assert checkout.stamp.exists()


def test_build_versions_keep_their_conditions(checkout: Checkout) -> None:
    """Else pip would be held to a version that is another Python's."""
    checkout.add("bin/python3.13", fake("3.13", glibc="2.41"))
    lock = checkout.root / "requirements" / "tfx-1.21.lock"
    pins = ["a==1 ; python_full_version < '3.12'", "a==2 ; python_full_version >= '3.12'"]
    lock.write_text("".join(f"{pin} \\\n    --hash=sha256:0\n" for pin in pins))
    run = checkout.run(CXR_NO_UV="1")
    assert "tfx-1.21.lock, 2 in all" in run.stdout
    assert (checkout.root / ".venv/build-versions.txt").read_text().splitlines() == pins


def test_failed_install_leaves_no_stamp(checkout: Checkout) -> None:
    checkout.add("bin/python3.10")
    assert checkout.run().returncode == 0
    assert checkout.stamp.exists()
    (checkout.root / "requirements/tfx-1.16.lock").write_text("b==2 \\\n    --hash=sha256:0\n")
    run = checkout.run(FAIL="uv pip")
    assert run.returncode == 2
    assert "could not be installed" in run.stderr
    assert not checkout.stamp.exists()
    assert checkout.run().returncode == 0
    assert checkout.stamp.exists()


def test_killed_install_leaves_no_stamp(checkout: Checkout) -> None:
    killer = fake().replace('echo "bootstrap"', 'kill -KILL $PPID; echo "bootstrap"')
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
