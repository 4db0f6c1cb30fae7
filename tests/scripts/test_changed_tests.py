"""Which tests `make test-changed` takes for a change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.changed_tests import ASSEMBLERS, build_graph, touched_tests

ROOT = Path(__file__).parents[2]


def _touched(*changed: str) -> list[str]:
    # A graph each: an answer takes modules out of it.
    return touched_tests(changed, build_graph())


def test_what_imports_it_however_indirectly_is_touched() -> None:
    found = _touched("common/intervals.py")
    # By itself; through components/report/judgement.py.
    assert "tests/pipeline/test_slice_gate.py" in found
    assert "tests/components/report/test_judgement.py" in found
    assert "tests/serving/test_protocol.py" not in found


def test_the_way_through_what_puts_all_together_is_not_followed() -> None:
    far = "tests/serving/test_protocol.py"
    assert far not in _touched("components/schema_gate/executor.py")
    changed = _touched("pipeline/cli.py")
    assert "tests/pipeline/test_cli.py" in changed
    assert far not in changed


def test_the_modules_that_put_all_together_exist() -> None:
    assert set(ASSEMBLERS) <= build_graph().modules


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("serving/deploy/kserve/README.md", ["tests/serving"]),
        ("components/model_card/card.md.j2", ["tests/components/model_card"]),
        ("schema/schema.pbtxt", ["tests/schema"]),
        ("pipeline/config/presets/fast.yaml", ["tests/pipeline/config"]),
        ("scripts/setup.sh", ["tests/scripts"]),
        (".ci/run", ["tests/scripts"]),
        ("docs/architecture.md", ["tests/test_readme.py"]),
        ("tests/serving/conftest.py", ["tests/serving"]),
        ("tests/serving/test_protocol.py", ["tests/serving/test_protocol.py"]),
        ("LICENSE", []),
    ],
)
def test_what_no_import_leads_to_is_tested_by_its_room(changed: str, tests: list[str]) -> None:
    assert _touched(changed) == tests


def test_a_file_is_not_named_beside_its_folder() -> None:
    assert _touched("tests/serving/conftest.py", "tests/serving/test_protocol.py") == [
        "tests/serving"
    ]


def test_a_commit_that_git_does_not_know_is_said() -> None:
    run = subprocess.run(
        [sys.executable, "scripts/changed_tests.py", "no-such-commit"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert run.stderr.startswith("changed_tests: ")
    assert "no-such-commit" in run.stderr


def test_what_differs_is_asked_of_git() -> None:
    run = subprocess.run(
        [sys.executable, "scripts/changed_tests.py", "HEAD"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert all((ROOT / name).exists() for name in run.stdout.split())
