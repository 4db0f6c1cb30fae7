"""The compiled IR is what was reviewed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.kubeflow.golden_ir import CONFIGURATIONS, FOLDER, compiled


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_it_is_what_was_reviewed(name: str, tmp_path: Path) -> None:
    kept = (FOLDER / f"{name}.yaml").read_text()
    assert compiled(name, tmp_path).splitlines() == kept.splitlines(), (
        "if the change is meant: python -m tests.pipeline.kubeflow.golden_ir, and look at git diff"
    )
