"""The worktree of the earlier commit, the code's name, and what a side's processes see."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.side_by_side import sides
from benchmarks.side_by_side.sides import (
    NEW,
    Side,
    add_worktree,
    full_commit,
    label_of,
    remove_worktree,
)
from common.errors import InputError
from tests.benchmarks.side_by_side.stand_in import git, repository


def test_a_worktree_is_made_taken_again_and_removed(tmp_path: Path) -> None:
    here, old = tmp_path / "here", tmp_path / "old"
    earlier = repository(here)
    assert full_commit(here, "HEAD~1") == full_commit(here, earlier[:7]) == earlier
    add_worktree(here, earlier, old)
    assert git(old, "rev-parse", "HEAD").strip() == earlier
    add_worktree(here, earlier, old)
    with pytest.raises(InputError, match="is no clean checkout of"):
        add_worktree(here, full_commit(here, "HEAD"), old)
    (old / "Makefile").write_text("")
    with pytest.raises(InputError, match="is no clean checkout of"):
        add_worktree(here, earlier, old)
    remove_worktree(here, old)
    assert not old.exists()
    assert len(git(here, "worktree", "list").splitlines()) == 1


def test_a_commit_that_there_is_not(tmp_path: Path) -> None:
    repository(tmp_path)
    with pytest.raises(InputError, match=r"BASE: .* has no commit 'v9'"):
        full_commit(tmp_path, "v9")


def test_changed_code_has_another_name(tmp_path: Path) -> None:
    repository(tmp_path)
    head = git(tmp_path, "rev-parse", "--short=7", "HEAD").strip()
    names = [label_of(tmp_path)]
    assert names == [head]
    for text in ("a", "b"):
        (tmp_path / "new.py").write_text(text)
        names.append(label_of(tmp_path))
    (tmp_path / "Makefile").write_text("")
    names.append(label_of(tmp_path))
    assert len(set(names)) == 4
    assert all(name.startswith(f"{head} + ") for name in names[1:])


def test_no_cache_is_another_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor has a make that runs the bench a say in the one that is measured."""
    for name in ("DATA", "MAKEFLAGS", "CXR_CONFIG", "XDG_CACHE_HOME", "KERAS_HOME", "PYTHONPATH"):
        monkeypatch.setenv(name, "/elsewhere")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    side = Side(NEW, tmp_path / "checkout", Path(sys.executable), tmp_path / "home")
    seen = side.environment(tmp_path / "networks")
    assert "/elsewhere" not in seen.values()
    assert seen["OMP_NUM_THREADS"] == "3"
    assert seen["PYTHONPATH"] == str(tmp_path / "checkout")
    assert seen["CXR_NETWORK_CACHE"] == str(tmp_path / "networks")
    for name in ("HOME", "XDG_CACHE_HOME", "KERAS_HOME", "MPLCONFIGDIR", "UV_CACHE_DIR", "TMPDIR"):
        assert Path(seen[name]).is_relative_to(tmp_path / "home")


def test_code_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    repository(here)
    side = Side(NEW, here, Path(sys.executable), tmp_path / "home")
    side.prepare()
    assert list((here / "pipeline" / "__pycache__").glob("cli*.pyc"))
    monkeypatch.setattr(sides, "_WARM_UP", "import no_such_library")
    with pytest.raises(InputError, match=r"(?s)--base-python.*no_such_library"):
        side.warm_up()
    # Another checkout's code comes where this one has none.
    (here / "pipeline" / "cli.py").unlink()
    (here / "pipeline" / "__init__.py").unlink()
    with pytest.raises(InputError, match=r"not its own code|doesn't run with"):
        side.prepare()
