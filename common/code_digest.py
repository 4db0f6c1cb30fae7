"""Digests of the code that a node's result depends on.

Nodes name their functions by import path, so TFX's cache doesn't see edits of the code.
A digest among the execution properties makes it see them. What code that is follows from the
imports: no list is kept.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

_ROOT = Path(__file__).parent.parent
_ROOMS: Final = ("common", "components", "models", "pipeline", "schema", "serving")
# Beside a module, or in a folder `templates` beside it.
_TEMPLATES: Final = (".j2", ".css")


@lru_cache
def code_digest(*modules: str) -> str:
    """Hash (SHA-256) modules, all that they import of this project, and the templates beside them.

    Imports within functions count, those for type checkers alone don't. Of a package that only lies
    on the way to a module, `__init__.py` doesn't count: here these hold no code that a result
    depends on.

    Args:
        modules: names, such as `components.featurizer.executor`.

    Returns:
        A hex digest that depends on names and contents alone.

    Raises:
        ModuleNotFoundError: there is no such module in this project.
    """
    digest = hashlib.sha256()
    files = {_file(module) for module in closure(*modules)}
    folders = {file.parent for file in files}
    files |= {template for folder in folders for template in _templates(folder)}
    for file in sorted(files):
        digest.update(f"{file.relative_to(_ROOT).as_posix()}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def closure(*modules: str) -> frozenset[str]:
    """Find the modules of this project that are imported, directly or not, and those given.

    Args:
        modules: names.

    Raises:
        ModuleNotFoundError: there is no such module in this project.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += _imports(_file(module))
    return frozenset(found)


def modules_in(*packages: str) -> frozenset[str]:
    """List all modules of packages: a package alone is its `__init__.py`, and what that imports.

    Args:
        packages: names, such as `components`.
    """
    files = (file for name in packages for file in _ROOT.joinpath(*name.split(".")).rglob("*.py"))
    parts = (file.relative_to(_ROOT).with_suffix("").parts for file in files)
    return frozenset(".".join(names).removesuffix(".__init__") for names in parts)


def _file(module: str) -> Path:
    path = _find(module)
    if path is None:
        raise ModuleNotFoundError(f"no source code of {module}", name=module)
    return path


def _find(module: str) -> Path | None:
    if module.partition(".")[0] not in _ROOMS:
        return None
    place = _ROOT.joinpath(*module.split("."))
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _imports(file: Path) -> set[str]:
    found = set()
    for module, name in _imported(file.read_bytes()):
        inner = f"{module}.{name}"
        found.add(inner if name and _find(inner) else module)
    return {name for name in found if _find(name)}


@lru_cache(maxsize=1024)
def _imported(source: bytes) -> frozenset[tuple[str, str]]:
    """Find module and name of each import. By content: one module is behind many nodes."""
    names = _Names()
    names.visit(ast.parse(source))
    return frozenset(names.found)


class _Names(ast.NodeVisitor):
    """A visitor that collects what a module imports, in functions, too."""

    def __init__(self) -> None:
        self.found: set[tuple[str, str]] = set()

    def generic_visit(self, node: ast.AST) -> None:
        """Look at statements alone: no expression imports anything."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
                self.visit(child)

    def visit_If(self, node: ast.If) -> None:
        """Pass over what only type checkers see."""
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                self.visit(other)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        """Note `import a.b`."""
        self.found.update((alias.name, "") for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Note `from a import b`: the module b where there is one, else a. None is relative."""
        assert node.module and not node.level
        self.found.update((node.module, alias.name) for alias in node.names)


def _templates(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / "templates"):
        if place.is_dir():
            yield from (file for file in place.iterdir() if file.suffix in _TEMPLATES)
