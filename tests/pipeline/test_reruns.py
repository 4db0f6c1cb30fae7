"""What a second `cxr run` into the same output folder computes again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline import cli

if TYPE_CHECKING:
    from tests.pipeline.conftest import Run

pytestmark = pytest.mark.slow

JUDGED = {"Evaluator.tiny", "ModelCard.tiny", "Pusher.tiny", "Champion", "Pusher.champion"}


def test_a_rerun_computes_what_changed_and_what_depends_on_it(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "output"
    first = run(output)
    assert first.exit_code == cli.EXIT_PUSHED, first.printed
    assert first.cached == set()

    again = run(output)
    assert again.exit_code == cli.EXIT_PUSHED, again.printed
    assert again.executed == set()
    assert again.cached == first.executed
    assert again.served == first.served
    for key in ("data", "models", "champion", "champion_pushed_to"):
        assert again.summary[key] == first.summary[key]

    other = run(output, config={"training": {"learning_rate": 0.02, "epochs": 60}})
    # Whether the other rate gives a better model is not what is tested.
    assert other.exit_code in (cli.EXIT_PUSHED, cli.EXIT_NONE_BLESSED), other.printed
    assert other.executed == {"Trainer.tiny"} | JUDGED
    assert other.cached == first.executed - other.executed

    # The first model has another rival now, so it may be judged again, but isn't trained.
    back = run(output)
    assert back.exit_code in (cli.EXIT_PUSHED, cli.EXIT_NONE_BLESSED), back.printed
    assert back.executed <= JUDGED
    assert "Trainer.tiny" in back.cached
    model, same = first.summary["models"]["tiny"], back.summary["models"]["tiny"]
    assert same["confusion"] == model["confusion"]
