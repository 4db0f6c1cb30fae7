"""The beginnings of docstrings. That functions' are in the imperative, ruff sees (D401)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = ("benchmarks", "common", "components", "models", "pipeline", "schema", "scripts",
                  "serving")  # fmt: skip
# A docstring that begins so is the rest of a sentence that stands nowhere.
HALF: Final = frozenset({
    "How", "Of", "That", "What", "When", "Where", "Whether", "Which", "Who", "Whoever", "Whose",
    "Why",
})  # fmt: skip


def _half_sentences(source: str) -> Iterator[tuple[int, str]]:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            words = (ast.get_docstring(node) or "").split()
            if words and words[0].rstrip(",:") in HALF:
                yield node.body[0].lineno, words[0]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_docstring_begins_with_a_question_word(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = [
        f"{file.relative_to(ROOT)}:{line}: {word} …"
        for file in files
        for line, word in _half_sentences(file.read_text())
    ]
    assert not found, "say what the thing is, or does, from the first word on"


def test_half_a_sentence_is_found_wherever_it_stands() -> None:
    source = '''"""What is here."""

class Box:
    """A box."""

    def open(self):
        """Whether it opens."""

    async def close(self):
        """Close it."""
'''
    assert list(_half_sentences(source)) == [(1, "What"), (7, "Whether")]
