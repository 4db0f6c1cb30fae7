"""A run killed with -9 at start, middle and end of each node, and started again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from pipeline import cli
from pipeline.config.layout import OutputLayout
from pipeline.local.folder.contents import look_through
from pipeline.phantoms import write_phantoms
from pipeline.runs.record import Node, read_records
from tests.pipeline.forked_runs import Done, ForkedRuns, Moment

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]

KILLED: Final = -9
EXAMPLES: Final = "RadiographExampleGen"
MOMENTS: Final = get_args(Moment)


@dataclass(frozen=True)
class Killed:
    """Two output folders of the same images.

    Attributes:
        whole: a run that nobody disturbed.
        attempts: node, moment -> the run that was killed there.
        last: the run after all those, in their folder.
        folder: of both.
    """

    whole: Done
    attempts: dict[tuple[str, Moment], Done]
    last: Done
    folder: Path

    @property
    def nodes(self) -> list[str]:
        """In their order."""
        return list(self.whole.how)

    def layout(self, name: str) -> OutputLayout:
        """Of `whole` or `killed`."""
        return OutputLayout(self.folder / name)

    def summary(self, name: str) -> dict[str, Any]:
        """summary.json of `whole` or `killed`."""
        content: dict[str, Any] = json.loads(self.layout(name).summary.read_text())
        return content


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    """Each attempt goes on where the one before was killed: every node is computed three times."""
    folder = tmp_path_factory.mktemp("killed runs")
    data = folder / "data"
    write_phantoms(data, (10, 12, 11), size=64, seed=7)
    runs = ForkedRuns(folder)
    try:
        whole = runs.run(data, folder / "whole")
        attempts = {
            (node, moment): runs.run(data, folder / "killed", node=node, moment=moment)
            for node in whole.how
            for moment in MOMENTS
        }
        last = runs.run(data, folder / "killed")
    finally:
        runs.close()
    yield Killed(whole, attempts, last, folder)


def test_every_node_was_killed_at_every_moment(killed: Killed) -> None:
    assert killed.whole.exit_code == cli.EXIT_PUSHED, killed.whole.printed
    assert len(killed.nodes) == 19
    survived = {
        at: done.printed for at, done in killed.attempts.items() if done.exit_code != KILLED
    }
    assert survived == {}


def test_what_was_done_before_a_kill_comes_from_the_cache(killed: Killed) -> None:
    resolvers = killed.whole.nodes("resolved")
    for (node, moment), attempt in killed.attempts.items():
        before = killed.nodes[: killed.nodes.index(node)]
        assert list(attempt.how) == before, (node, moment)
        # The node before was itself killed at its end, and is computed in the next attempt.
        just_before = set(before[-1:]) - resolvers if moment == "start" else set()
        assert attempt.nodes("executed") == just_before, (node, moment)
        assert attempt.nodes("cached") == set(before) - resolvers - just_before, (node, moment)
    assert killed.last.nodes("executed") == {"Report"}


def test_after_all_kills_the_result_is_that_of_an_undisturbed_run(killed: Killed) -> None:
    assert killed.last.exit_code == cli.EXIT_PUSHED, killed.last.printed
    whole, after = killed.summary("whole"), killed.summary("killed")
    assert after["data"]["digest"] == whole["data"]["digest"]
    assert after["data"]["counts"] == whole["data"]["counts"]
    assert after["champion"] == whole["champion"]
    same = ("accuracy", "confusion", "blessed", "gate", "training", "weights")
    for name, model in whole["models"].items():
        assert {key: after["models"][name][key] for key in same} == {
            key: model[key] for key in same
        }
        assert after["models"][name]["pushed_to"]


def test_what_killed_runs_left_is_cleared_or_read_by_nobody(killed: Killed) -> None:
    layout = killed.layout("killed")
    names = {path.name for path in killed.layout("whole").root.iterdir()}
    # No scratch folder, no journal, nothing damaged.
    assert {path.name for path in layout.root.iterdir()} == names
    found = look_through(layout, mend=False)
    assert found["damaged"] == []
    assert found["unchecked"] == 0
    assert found["unfinished"] != []
    assert look_through(killed.layout("whole"), mend=False)["unfinished"] == []


def test_a_pushed_version_is_whole_whenever_a_pusher_was_killed(killed: Killed) -> None:
    """What servers take is the highest version."""
    for name in ("vgg16", "champion"):
        whole = max((killed.layout("whole").serving / name).iterdir(), key=lambda p: int(p.name))
        after = max((killed.layout("killed").serving / name).iterdir(), key=lambda p: int(p.name))
        files = [
            {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
            for root in (whole, after)
        ]
        assert files[0] == files[1]


def test_the_runs_are_listed_with_the_node_at_which_they_stopped(killed: Killed) -> None:
    found = read_records(killed.layout("killed"))
    assert found.unreadable == {}
    *stopped, last = found.readable
    assert (last.state, last.exit) == ("complete", cli.EXIT_PUSHED)
    assert [(record.state, record.at) for record in stopped] == [
        ("stopped", node) for node, _ in killed.attempts
    ]
    knew = [record.digest is not None for record in stopped]
    assert knew == [
        record.nodes.get(EXAMPLES, Node(how="unfinished")).how != "unfinished" for record in stopped
    ]
