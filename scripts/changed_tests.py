"""Print the test files that a change touches, for `make test-changed`.

    python scripts/changed_tests.py [BASE]

A change is what differs from BASE (a commit; where `origin/main` is, its merge base with it, else
HEAD), committed or not. Touched is each test file that imports what changed, however indirectly.
An import that passes through one of the modules that put the whole program together is not
followed: it would lead from everything to everything. What is only seen through a running program
(`cxr serve`) or is no Python is tested by its room: the folder of tests/ that mirrors it.

A quick look, and no proof: `make test` runs all.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import grimp

ROOT: Final = Path(__file__).parents[1]
ROOMS: Final = ("benchmarks", "common", "components", "models", "pipeline", "schema", "serving")
# What puts the program together, and thereby imports nearly all of it.
ASSEMBLERS: Final = (
    "pipeline.cli",
    "pipeline.dag.graph",
    "pipeline.kubeflow.cli",
    "pipeline.kubeflow.compiler",
    "pipeline.local_runner",
    "pipeline.runs.cli",
    "pipeline.study.command",
    "serving.commands.predict",
    "serving.commands.serve",
)
# Beginning of a path -> its tests. The first that fits counts.
_ELSEWHERE: Final = (
    ("scripts/", "tests/scripts"),
    (".ci/", "tests/scripts"),
    ("Makefile", "tests/scripts"),
    ("requirements/", "tests/scripts"),
    ("setup.py", "tests/scripts"),
    ("kubeflow/", "tests/pipeline/kubeflow"),
    ("README.md", "tests/test_readme.py"),
    ("docs/", "tests/test_readme.py"),
)


def changed_files(base: str | None) -> list[str]:
    """List what differs from a commit, and what git doesn't know yet.

    Args:
        base: a commit; None takes the merge base with origin/main, or HEAD.

    Returns:
        Paths relative to the root, with `/`.

    Raises:
        subprocess.CalledProcessError: git knows no such commit.
    """
    since = base or _merge_base()
    names = _git("diff", "--name-only", "-z", since) + _git(
        "ls-files", "--others", "--exclude-standard", "-z"
    )
    return sorted(set(filter(None, names.split("\0"))))


def touched_tests(changed: Iterable[str], graph: grimp.ImportGraph) -> list[str]:
    """Find the test files that a change touches.

    Args:
        changed: paths relative to the root.
        graph: of the product, the benchmarks and the tests.

    Returns:
        Files and folders below tests/, sorted; a file is left out where its folder is there.
    """
    found: set[str] = set()
    modules = {}
    for path in changed:
        module = _module(path)
        if path.endswith(".py") and module in graph.modules:
            modules[path] = module
        else:
            found.update(_of_its_room(path))
    for name in set(ASSEMBLERS) - set(modules.values()):
        if name in graph.modules:
            graph.remove_module(name)
    for path, module in modules.items():
        behind = {module, *graph.find_downstream_modules(module)}
        files = {_file(name) for name in behind if _is_test(name)}
        if path.startswith("tests/") and not _is_test(module):
            # A conftest's fixtures are found by their folder, not imported.
            files.add(str(PurePosixPath(path).parent))
        found.update(files or _of_its_room(path))
    folders = [name for name in found if not name.endswith(".py")]
    return sorted(
        name
        for name in found
        if not any(name != folder and name.startswith(f"{folder}/") for folder in folders)
    )


def build_graph() -> grimp.ImportGraph:
    """Read the imports of product, benchmarks and tests; those for types alone don't count."""
    return grimp.build_graph(*ROOMS, "tests", exclude_type_checking_imports=True)


def _of_its_room(path: str) -> list[str]:
    for begins, tests in _ELSEWHERE:
        if path.startswith(begins):
            return [tests]
    parts = PurePosixPath(path).parts
    if parts[0] not in (*ROOMS, "tests"):
        return []
    # The deepest folder of tests/ that mirrors the file's own.
    folder = PurePosixPath(path).parent
    while folder.parts:
        mirrored = folder if parts[0] == "tests" else "tests" / folder
        if (ROOT / mirrored).is_dir():
            return [str(mirrored)]
        folder = folder.parent
    return []


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _file(module: str) -> str:
    return module.replace(".", "/") + ".py"


def _is_test(module: str) -> bool:
    return module.startswith("tests.") and module.rpartition(".")[2].startswith("test_")


def _merge_base() -> str:
    try:
        return _git("merge-base", "HEAD", "origin/main").strip()
    except subprocess.CalledProcessError:
        return "HEAD"


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def main(arguments: Sequence[str]) -> int:
    """Print them, a line each; return the exit status."""
    sys.path.insert(0, str(ROOT))
    try:
        changed = changed_files(arguments[0] if arguments else None)
    except subprocess.CalledProcessError as error:
        print(f"changed_tests: {error.stderr.strip()}", file=sys.stderr)
        return 2
    for name in touched_tests(changed, build_graph()):
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
