"""scripts/trixie.sh, with a debootstrap and a chroot that only write down how they were called."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "trixie.sh"
TOOLS = (
    *("awk", "bash", "cat", "chmod", "cp", "dirname", "env", "flock", "git", "mkdir"),
    *("mktemp", "mv", "rm", "sleep", "true"),
)
FAKES = {
    "id": "echo ${USER_ID:-0}",
    "apt-get": 'printf "%s" "$APT"',
    "debootstrap": r"""
        echo "debootstrap $*" >>"$LOG"
        [ -z "${BROKEN:-}" ] || { echo 'no network'; exit 1; }
        mkdir -p "$4"/{etc/ssl/certs,srv,proc,sys,dev}
    """,
    # Their own options, then a command that is run as if nothing were.
    "unshare": r"""
        [ -z "${FORBIDDEN:-}" ] || exit 1
        while [[ $1 == -* ]]; do [ "$1" != --propagation ] || shift; shift; done
        exec "$@"
    """,
    "setpriv": 'shift 2; exec "$@"',
    "mount": 'echo "mount $*" >>"$LOG"',
    # CHROOT env -i NAME=VALUE… env --chdir=FOLDER COMMAND…
    "chroot": r"""
        root=$1
        shift 3
        while [[ $1 == *=* ]]; do echo "$1" >>"$LOG.environment"; shift; done
        folder=$root${2#--chdir=}
        shift 2
        echo "run $* in a clone of $(cat "$folder/file")" >>"$LOG"
        [ "$*" != "${FAIL:-}" ] || exit 7
        [ -z "${SLEEP:-}" ] || exec sleep "$SLEEP"
    """,
}
NAMESPACES = ("id", "mount", "setpriv", "unshare")

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="needs git")


class Machine:
    """A checkout, and a PATH that holds little else than what pretends."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp = tmp_path
        self.checkout = tmp_path / "check out"
        (self.checkout / "scripts").mkdir(parents=True)
        self.script = self.checkout / "scripts" / "trixie.sh"
        shutil.copy(SCRIPT, self.script)
        (self.checkout / "file").write_text("what is committed")
        for command in (
            ["init", "--quiet"],
            ["add", "--all"],
            ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "a"],
        ):
            subprocess.run(["git", "-C", str(self.checkout), *command], check=True)
        self.path = tmp_path / "bin"
        self.path.mkdir()
        for tool in TOOLS:
            (self.path / tool).symlink_to(shutil.which(tool) or "")
        for name, content in FAKES.items():
            (self.path / name).write_text(f"#!/bin/bash\nset -eu\n{content}\n")
            (self.path / name).chmod(0o755)
        self.root = tmp_path / "cache" / "trixie root"
        self.log = tmp_path / "log"
        self.environment = {
            "PATH": str(self.path),
            "HOME": str(tmp_path),
            "LOG": str(self.log),
            "APT": "Debian-Security|main|http://mirror/security/\n"
            "Debian|contrib|http://mirror/contrib/\n"
            "Debian|main|http://mirror/debian/\nDebian|main|http://mirror/more/\n",
            "CXR_TRIXIE_ROOT": str(self.root),
        }

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the script to its end."""
        return subprocess.run(
            [str(self.script), *arguments],
            env={**self.environment, **environment},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self, of: str) -> list[str]:
        """How one of the fakes was called since the last time that any was asked for."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.removeprefix(f"{of} ") for line in lines if line.startswith(f"{of} ")]

    def clones(self) -> list[Path]:
        """Clones that are still there."""
        return list((self.root / "srv").iterdir())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_runs_the_commands_of_the_readme(machine: Machine) -> None:
    run = machine.run()
    assert run.returncode == 0, run.stderr
    assert machine.calls("run") == [
        f"{command} in a clone of what is committed"
        for command in ("make test", "make test-long", "make run")
    ]
    assert re.search(r"^trixie: make test-long: exit status 0 after \d+ s$", run.stdout, re.M)
    assert machine.clones() == []


def test_options_of_pytest(machine: Machine) -> None:
    machine.run(CXR_TEST_ARGS="tests/models -x")
    assert machine.calls("run")[0].startswith("make test ARGS=tests/models -x in ")


def test_a_command_of_ones_own(machine: Machine) -> None:
    assert machine.run("bash", "-c", "make setup && true").returncode == 0
    assert machine.calls("run") == ["bash -c make setup && true in a clone of what is committed"]


def test_first_command_that_fails_is_the_last(machine: Machine) -> None:
    run = machine.run(FAIL="make test-long")
    assert run.returncode == 7
    assert [call.split(" in ")[0] for call in machine.calls("run")] == [
        "make test",
        "make test-long",
    ]
    assert "trixie: make test-long: exit status 7 after" in run.stdout
    assert machine.clones() == []


def test_system_is_made_once(machine: Machine) -> None:
    first = machine.run("true")
    assert "making a Debian 13" in first.stdout
    (call,) = machine.calls("debootstrap")
    assert "python3-dev,python3-venv,g++" in call
    assert f" trixie {machine.root}.new." in call
    assert call.endswith(" http://mirror/debian/")
    second = machine.run("true")
    assert "making" not in second.stdout
    assert machine.calls("debootstrap") == []


@pytest.mark.parametrize(
    ("environment", "mirror"),
    [
        ({"CXR_TRIXIE_MIRROR": "http://mine/"}, "http://mine/"),
        # Ubuntu's archive has no Debian; debootstrap knows a mirror by itself.
        ({"APT": "Ubuntu|main|http://mirror/ubuntu/\n"}, None),
    ],
)
def test_mirror(machine: Machine, environment: dict[str, str], mirror: str | None) -> None:
    assert machine.run("true", **environment).returncode == 0
    (call,) = machine.calls("debootstrap")
    assert call.rpartition(str(machine.root))[2].split()[1:] == ([mirror] if mirror else [])


def test_failed_debootstrap_leaves_nothing(machine: Machine) -> None:
    run = machine.run("true", BROKEN="1")
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    log = Path(f"{machine.root}.log")
    assert f"debootstrap failed, {log} says why" in run.stderr
    assert log.read_text() == "no network\n"
    assert not [file for file in machine.root.parent.iterdir() if file.is_dir()]
    assert machine.run("true").returncode == 0


def test_a_folder_that_is_no_such_system_is_left_alone(machine: Machine) -> None:
    machine.root.mkdir(parents=True)
    (machine.root / "mine").touch()
    run = machine.run("true")
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "was made with other packages, or by something else" in run.stderr
    assert [file.name for file in machine.root.iterdir()] == ["mine"]


def test_environment_that_is_passed_on(machine: Machine) -> None:
    machine.run(
        "true",
        PIP_INDEX_URL="http://mirror/simple",
        UV_HTTP_TIMEOUT="300",
        https_proxy="http://proxy:3128",
        NO_PROXY="localhost",
        PIP_FIND_LINKS=str(machine.tmp),
        PIP_EXTRA_INDEX_URL="http://mirror/more file:///wheels",
        PIP_CONSTRAINT="~/constraints.txt",
        PIP_CERT=str(machine.tmp / "bundle"),
        CXR_PYTHON="python3",
    )
    passed = dict(
        line.split("=", 1) for line in Path(f"{machine.log}.environment").read_text().splitlines()
    )
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    assert passed["PIP_INDEX_URL"] == "http://mirror/simple"
    assert passed["UV_HTTP_TIMEOUT"] == "300"
    assert passed["https_proxy"] == "http://proxy:3128"
    assert passed["NO_PROXY"] == "localhost"
    assert passed["PIP_CERT"] == passed["SSL_CERT_FILE"] == bundle
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "CXR_PYTHON"):
        assert name not in passed


def test_certificates_and_names_of_this_machine(machine: Machine) -> None:
    bundle = machine.tmp / "bundle"
    bundle.write_text("whom to trust")
    machine.run("true", SSL_CERT_FILE=str(bundle))
    assert (machine.root / "etc/ssl/certs/ca-certificates.crt").read_text() == "whom to trust"
    assert (machine.root / "etc/hosts").read_text() == Path("/etc/hosts").read_text()


def test_shared_data_can_not_be_written_to(machine: Machine) -> None:
    machine.run("true")
    assert not [call for call in machine.calls("mount") if call.endswith("/shared")]
    (machine.tmp / "shared").mkdir()
    machine.run("true")
    bind, remount = (call for call in machine.calls("mount") if call.endswith("/shared"))
    assert bind.startswith(f"--bind {machine.checkout}/../shared {machine.root}/srv/cxr.")
    assert remount == f"-o remount,bind,ro {bind.split('../shared ')[1]}"


def test_what_is_not_committed_is_not_taken(machine: Machine) -> None:
    (machine.checkout / "file").write_text("changed")
    run = machine.run("true")
    assert "uncommitted changes are not taken" in run.stdout
    assert machine.calls("run") == ["true in a clone of what is committed"]


@pytest.mark.parametrize(
    ("missing", "environment", "words"),
    [
        ("", {"USER_ID": "1000"}, "needs root"),
        ("debootstrap", {}, "debootstrap is missing: run `apt-get install -y debootstrap"),
        ("setpriv", {}, "util-linux`"),
        ("", {"FORBIDDEN": "1"}, "this machine allows no mounts"),
    ],
)
@pytest.mark.parametrize("argument", ["--check", "true"])
def test_refusal_is_one_sentence(
    machine: Machine, missing: str, environment: dict[str, str], words: str, argument: str
) -> None:
    if missing:
        (machine.path / missing).unlink()
    run = machine.run(argument, **environment)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert run.stderr.startswith("trixie: ")
    assert words in run.stderr
    assert not machine.root.exists()


def test_check_says_and_makes_nothing(machine: Machine) -> None:
    run = machine.run("--check")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert not machine.root.parent.exists()


# --- With namespaces that are real -----------------------------------------------------


def _has_namespaces() -> bool:
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "true"]
    return (
        os.getuid() == 0
        and all(shutil.which(tool) for tool in NAMESPACES)
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


def _find(seconds: str) -> list[int]:
    """Processes of a `sleep` for so many seconds."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if file.read_bytes() == f"sleep\0{seconds}\0".encode():
                found.append(int(file.parent.name))
        except OSError:
            continue
    return found


def _wait_until_gone(seconds: str) -> bool:
    end = time.monotonic() + 30
    while _find(seconds) and time.monotonic() < end:
        time.sleep(0.05)
    return not _find(seconds)


@pytest.fixture
def running(machine: Machine) -> Iterator[tuple[Machine, subprocess.Popen[bytes], str]]:
    """The script, while a command sleeps in real namespaces."""
    for name in NAMESPACES:
        (machine.path / name).unlink()
        (machine.path / name).symlink_to(shutil.which(name) or "")
    seconds = f"600.{os.getpid()}"
    process = subprocess.Popen(
        [str(machine.script), "true"],
        env={**machine.environment, "SLEEP": seconds},
        stdout=subprocess.DEVNULL,
    )
    end = time.monotonic() + 30
    while not _find(seconds) and time.monotonic() < end:
        time.sleep(0.05)
    yield machine, process, seconds
    process.kill()
    process.wait()
    for pid in _find(seconds):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not _has_namespaces(), reason="needs root, and mounts of its own")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_call_leaves_no_process_and_no_mount(
    running: tuple[Machine, subprocess.Popen[bytes], str], number: signal.Signals
) -> None:
    machine, process, seconds = running
    assert len(_find(seconds)) == 1
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(machine.root).replace(" ", "\\040") not in mounts
    # Another call leaves the clone of one that lives alone.
    assert machine.run("true").returncode == 0
    assert len(machine.clones()) == 1
    process.send_signal(number)
    process.wait(timeout=30)
    assert _wait_until_gone(seconds)
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert machine.clones() == []
    # What couldn't be removed by itself is by the next call.
    assert machine.run("true").returncode == 0
    assert machine.clones() == []


def test_root_is_only_said(machine: Machine) -> None:
    run = machine.run("--root")
    assert (run.stdout, run.returncode) == (f"{machine.root}\n", 0)
    assert not machine.root.exists()
