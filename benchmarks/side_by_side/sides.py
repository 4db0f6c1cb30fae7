"""The two checkouts that are measured, and what their processes see of the machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from common.errors import InputError

SideName = Literal["old", "new"]
OLD: Final[SideName] = "old"
NEW: Final[SideName] = "new"
# What both sides are given of the caller's environment: nothing that names a file of this project,
# of its caches or of the make that may be running this.
_KEPT: Final = ("PATH", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LOGNAME", "TERM", "TZ", "USER")
_KEPT_BEGINNINGS: Final = ("GOMP_", "KMP_", "LC_", "MKL_", "OMP_", "OPENBLAS_", "ONEDNN_", "TF_")
# Nobody listens there: whether a download works mustn't count. Weights come from WEIGHTS.
_NO_PROXY: Final = "http://127.0.0.1:9"
_IMPORTED: Final = "import pipeline.cli; print(pipeline.cli.__file__)"
# Reads the libraries from the disk and has Matplotlib make its list of fonts.
_WARM_UP: Final = "import tensorflow, tfx.v1, openvino, matplotlib.font_manager"
_SHORT: Final = 7


@dataclass(frozen=True)
class Side:
    """A checkout.

    Attributes:
        name: which one.
        checkout: its folder.
        python: runs it.
        home: folder that its processes take for the user's; nothing else is there for them.
    """

    name: SideName
    checkout: Path
    python: Path
    home: Path

    def cxr(self, *arguments: object) -> list[str]:
        """Return the `cxr` command line of this checkout."""
        return [str(self.python), "-m", "pipeline.cli", *map(str, arguments)]

    def environment(self, networks: Path | None = None) -> dict[str, str]:
        """Return all that a process of this side has in its environment.

        Args:
            networks: folder for converted networks; None for one below `home`.
        """
        cache = self.home / "cache"
        scratch = self.home / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        return {
            **{name: value for name, value in os.environ.items() if _kept(name)},
            "PYTHONPATH": str(self.checkout),
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(cache),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "MPLCONFIGDIR": str(cache / "matplotlib"),
            "KERAS_HOME": str(cache / "keras"),
            "UV_CACHE_DIR": str(cache / "uv"),
            "TMPDIR": str(scratch),
            "CXR_NETWORK_CACHE": str(networks or cache / "networks"),
            "HTTP_PROXY": _NO_PROXY,
            "HTTPS_PROXY": _NO_PROXY,
            "http_proxy": _NO_PROXY,
            "https_proxy": _NO_PROXY,
            "no_proxy": "127.0.0.1,localhost",
        }

    def prepare(self) -> None:
        """Make sure that the checkout's own code runs, and that no first import is measured.

        Raises:
            InputError: the code can't be imported, or another checkout's is.
        """
        rooms = [str(file.parent) for file in sorted(self.checkout.glob("*/__init__.py"))]
        if rooms:
            self._python("-m", "compileall", "-q", *rooms)
        found = Path(self._python("-c", _IMPORTED).splitlines()[-1])
        if not found.resolve().is_relative_to(self.checkout.resolve()):
            raise InputError(f"{self.checkout}: its processes import {found}, not its own code.")

    def warm_up(self) -> None:
        """Import the libraries once, in this side's environment.

        Raises:
            InputError: one can't be imported.
        """
        self._python("-c", _WARM_UP)

    def _python(self, *arguments: str) -> str:
        ran = subprocess.run(
            [str(self.python), *arguments],
            env=self.environment(),
            cwd=self.checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise InputError(
                f"{self.checkout} doesn't run with {self.python}; make `make setup` there, and "
                f"give its .venv/bin/python as --base-python:\n{ran.stderr}"
            )
        return ran.stdout


def _kept(name: str) -> bool:
    return name in _KEPT or name.startswith(_KEPT_BEGINNINGS)


def full_commit(repository: Path, name: str) -> str:
    """Find the commit that a name stands for, in hex.

    Args:
        repository: a checkout.
        name: of a commit, as Git takes it.

    Raises:
        InputError: there is no such commit.
    """
    found = _git(repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", fails=True)
    if not found:
        raise InputError(
            f"BASE: {repository} has no commit {name!r}; of a shallow clone, "
            "`git fetch --unshallow` gets the older ones."
        )
    return found.strip()


def short(commit: str) -> str:
    """Shorten a commit's name."""
    return commit[:_SHORT]


def label_of(checkout: Path) -> str:
    """Name the code of a checkout: its commit, and a digest of what differs from it.

    Args:
        checkout: in which files may have been changed.
    """
    head = short(full_commit(checkout, "HEAD"))
    digest = hashlib.sha256(_git(checkout, "diff", "--binary", "HEAD").encode())
    changed = bool(_git(checkout, "diff", "--name-only", "HEAD"))
    listed = _git(checkout, "ls-files", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        changed = True
        digest.update(name.encode())
        digest.update((checkout / name).read_bytes())
    return f"{head} + {digest.hexdigest()[:_SHORT]}" if changed else head


def add_worktree(repository: Path, commit: str, folder: Path) -> None:
    """Check a commit out into a folder of its own, unless it is there.

    Args:
        repository: a checkout of the same repository.
        commit: in hex.
        folder: for the worktree.

    Raises:
        InputError: the folder holds something else.
    """
    if folder.exists():
        there = _git(folder, "rev-parse", "--show-toplevel", "HEAD", fails=True).split()
        clean = not _git(folder, "status", "--porcelain", fails=True)
        if there != [str(folder.resolve()), commit] or not clean:
            raise InputError(f"{folder}: is no clean checkout of {commit}; remove it.")
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    # By force: it may have been there, and removed behind Git's back.
    _git(repository, "worktree", "add", "--quiet", "--force", "--detach", str(folder), commit)


def remove_worktree(repository: Path, folder: Path) -> None:
    """Remove what `add_worktree` made.

    Args:
        repository: a checkout of the same repository.
        folder: of the worktree.
    """
    _git(repository, "worktree", "remove", "--force", str(folder))


def _git(folder: Path, *arguments: str, fails: bool = False) -> str:
    """Ask Git; where it `fails` and may, the answer is empty."""
    environment: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_")
    }
    ran = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        errors="surrogateescape",
    )
    if ran.returncode and not fails:
        raise InputError(f"git {' '.join(arguments)} in {folder} failed: {ran.stderr.strip()}")
    return "" if ran.returncode else ran.stdout
