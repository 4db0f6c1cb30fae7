"""Digests of source code."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import code_digest as module


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    module.code_digest.cache_clear()
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "a.py").write_text("a = 1\n")
    (tmp_path / "pkg" / "notes.md").write_text("text")
    return tmp_path


def _digest(*paths: str) -> str:
    module.code_digest.cache_clear()
    return module.code_digest(*paths)


def test_an_edit_or_a_new_file_changes_it_and_a_note_does_not(root: Path) -> None:
    before = _digest("pkg")
    (root / "pkg" / "notes.md").write_text("other")
    assert _digest("pkg") == before
    (root / "pkg" / "b.py").write_text("")
    added = _digest("pkg")
    assert added != before
    (root / "pkg" / "a.py").write_text("a = 2\n")
    assert _digest("pkg") != added


@pytest.mark.parametrize("name", ["page.html.j2", "style.css"])
def test_templates_are_code(root: Path, name: str) -> None:
    before = _digest("pkg")
    (root / "pkg" / "templates").mkdir()
    (root / "pkg" / "templates" / name).write_text("")
    assert _digest("pkg") != before


def test_the_order_of_the_paths_does_not_matter(root: Path) -> None:
    (root / "c.py").write_text("")
    assert _digest("pkg", "c.py") == _digest("c.py", "pkg")


def test_a_path_that_leads_nowhere_is_an_error(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        _digest("gone")
