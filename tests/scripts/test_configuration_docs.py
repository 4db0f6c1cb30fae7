"""docs/configuration.md is what the models say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.pipeline_config import PipelineConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "configuration_docs.py"))


def test_the_page_is_what_the_program_writes_now(program: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == program["document"](), "write it anew: " + program["COMMAND"]


def test_every_field_of_every_model_stands_there_with_its_meaning(program: dict[str, Any]) -> None:
    rows = re.findall(
        r"^\| `([\w.*\[\]]+)` \| (.+) \| (.+) \| (.*) \|$", program["document"](), re.M
    )
    fields = [field for field, *_ in rows]
    assert len(fields) == len(set(fields)) > 60
    assert [field for field in fields if field.count(".") == 0] == list(PipelineConfig.model_fields)
    for field in ("data.classes[].name", "training.head.l2", "gate.slices[].min_images"):
        assert field in fields
    assert "kubeflow.resources.*.memory" in fields
    assert [field for field, *rest in rows if not all(part.strip() for part in rest)] == []
    (seed,) = (rest for field, *rest in rows if field == "seed")
    assert seed == ["whole number, ≥ 0, < 2147483648", "`0`", "Of every random choice."]
