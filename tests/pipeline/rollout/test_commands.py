"""`cxr canary`, `cxr promote`, `cxr rollback`: what they write, and what they refuse."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.pushed_versions.record import MODEL, RECORD_FILE, SPLIT, read_kept
from components.pushed_versions.rollouts import ROLLOUTS
from pipeline.rollout import changing
from schema import contract
from serving.core.model_config import models_in
from serving.core.rollout import ROLLOUT_FILE, Rollout, read_rollout
from serving.local_client import latest_version

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Versions 1, 2 and 3 were pushed; 4 is served, and no push kept a record; 5 is half a copy."""
    for number in range(1, 6):
        version = tmp_path / "serving" / "lungs" / str(number)
        version.mkdir(parents=True)
        if number < 5:
            (version / contract.SAVED_MODEL_FILE).touch()
        if number < 4:
            kept = tmp_path / "pushed" / "lungs" / str(number)
            kept.mkdir(parents=True)
            record = {MODEL: f"digest {number}", SPLIT: "split"}
            (kept / RECORD_FILE).write_text(json.dumps(record))
    return tmp_path


@pytest.fixture
def cxr(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`cxr …` of the model -> exit status, and what it says."""

    def call(*arguments: str) -> tuple[int, str]:
        from pipeline import cli

        words = ["--model", "lungs", "--model-dir", str(output / "serving"), "--by", "Ada"]
        monkeypatch.setattr("sys.argv", ["cxr", *arguments, *words])
        status = 0
        try:
            cli.main()
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        said = capsys.readouterr()
        return status, (said.out + said.err).strip()

    return call


def _rollout(output: Path) -> Rollout:
    found = read_rollout(output / "serving" / "lungs")
    assert found is not None
    return found


def _noted(output: Path, number: int) -> list[dict[str, Any]]:
    record = json.loads((output / "pushed" / "lungs" / str(number) / RECORD_FILE).read_text())
    assert record[MODEL] == f"digest {number}"
    return list(record.get(ROLLOUTS, ()))


def test_tried_promoted_and_rolled_back_with_who_when_and_why(output: Path, cxr: Command) -> None:
    assert cxr("promote", "--version", "1", "--why", "for now") == (
        0, "lungs: version 1 is stable.",
    )  # fmt: skip
    assert cxr("canary", "--version", "2", "--share", "0.05", "--why", "it saw span 2") == (
        0, "lungs: version 1 is stable; version 2 answers 5 % of the requests.",
    )  # fmt: skip
    config = models_in(output / "serving")["lungs"]
    assert dict(config.labels) == {"stable": 1, "canary": 2}
    assert config.policy.specific == {1, 2}
    assert cxr("promote", "--why", "McNemar says so") == (0, "lungs: version 2 is stable.")
    assert _rollout(output).versions == {2}
    assert latest_version(output / "serving", "lungs").name == "2"
    assert cxr("rollback", "--why", "alarms at night") == (0, "lungs: version 1 is stable.")
    entries = [(e["what"], e["version"], e["from"], e["why"]) for e in _noted(output, 2)]
    assert entries == [
        ("tried", 2, 1, "it saw span 2"),
        ("promoted", 2, 1, "McNemar says so"),
        ("rolled back", 1, 2, "alarms at night"),
    ]
    assert {e["by"] for e in _noted(output, 1)} == {"Ada"}
    assert all(e["at"].endswith("+00:00") for e in _noted(output, 1))
    assert _noted(output, 3) == []
    # Whoever else reads the record finds what it looks for.
    assert read_kept(str(output / "pushed" / "lungs" / "2")).model == "digest 2"


def test_a_shadow_and_its_end(output: Path, cxr: Command) -> None:
    cxr("promote", "--version", "1", "--why", "x")
    assert cxr("canary", "--version", "3", "--share", "1", "--shadow", "--why", "x") == (
        0, "lungs: version 1 is stable; version 3 is asked beside it on 100 % of the requests.",
    )  # fmt: skip
    assert _rollout(output).shadow
    assert cxr("canary", "--stop", "--why", "x") == (0, "lungs: version 1 is stable.")
    assert cxr("canary", "--stop", "--why", "x") == (
        2, "cxr: No version of lungs is on trial.",
    )  # fmt: skip


def test_two_steps_back_are_two_versions_back(output: Path, cxr: Command) -> None:
    for number in "123":
        assert cxr("promote", "--version", number, "--why", "x")[0] == 0
    assert [cxr("rollback", "--why", "x")[1][15:16] for _ in range(2)] == ["2", "1"]
    # Before anybody chose, the latest answered.
    assert cxr("rollback", "--why", "x")[0] == 2


def test_the_first_rollback_goes_to_what_was_pushed_before(output: Path, cxr: Command) -> None:
    """A push has just gone live, and it is bad."""
    for folder in (output / "serving" / "lungs" / "4", output / "serving" / "lungs" / "5"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert cxr("rollback", "--why", "it abstains on all") == (0, "lungs: version 2 is stable.")
    assert cxr("rollback", "--why", "so does this")[1] == "lungs: version 1 is stable."
    status, said = cxr("rollback", "--why", "x")
    assert (status, said) == (2, "cxr: lungs has no version before 1 to go back to.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("promote --version 7 --why x", "lungs has no version 7; it has 1, 2, 3, 4."),
        ("promote --version 5 --why x", "lungs has no version 5; it has 1, 2, 3, 4."),
        ("promote --version 1 --why x", "Version 1 of lungs is stable already."),
        ("promote --why x", "No version of lungs is on trial; name one with --version."),
        ("promote --version 2", "why: say why, in a sentence that will be read later."),
        ("canary --version 1 --why x", "Version 1 of lungs is stable already."),
        ("canary --version 2 --why x --share 0", "share: 0 is none"),
        ("canary --version 2 --why x --share 1.5", "share: 1.5 is none"),
        ("canary --why x", "version: give the one to try"),
        ("canary --version 2 --stop --why x", "version: give the one to try"),
    ],
)
def test_what_cannot_be_is_one_sentence(output: Path, cxr: Command, words: str, said: str) -> None:
    assert cxr("promote", "--version", "1", "--why", "x")[0] == 0
    before = (output / "serving" / "lungs" / ROLLOUT_FILE).read_bytes()
    status, told = cxr(*words.split())
    assert (status, said in told, told.count("\n")) == (2, True, 0), told
    assert (output / "serving" / "lungs" / ROLLOUT_FILE).read_bytes() == before


@pytest.mark.parametrize("command", ["promote", "canary"])
def test_a_version_that_no_gate_blessed_is_refused(
    output: Path, cxr: Command, command: str
) -> None:
    cxr("promote", "--version", "1", "--why", "x")
    status, said = cxr(command, "--version", "4", "--why", "x")
    assert status == 2
    assert "Version 4 of lungs isn't blessed: no push left a record of it" in said


def test_a_version_that_is_live_by_its_push_cannot_be_tried(output: Path, cxr: Command) -> None:
    (output / "pushed" / "lungs" / "4").mkdir()
    (output / "pushed" / "lungs" / "4" / RECORD_FILE).write_text("{}")
    status, said = cxr("canary", "--version", "4", "--why", "x")
    assert (status, "`cxr promote --version` of an older one comes first" in said) == (2, True)


def test_another_model_and_a_broken_rollout_are_named(
    output: Path, cxr: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(changing.InputError, match="no version of a model 'knees'; it has lungs"):
        changing.place_of_model(output / "serving", None, "knees")
    (output / "serving" / "lungs" / ROLLOUT_FILE).write_text("{")
    status, said = cxr("rollback", "--why", "x")
    assert (status, "is no rollout" in said) == (2, True)


def test_what_a_kill_kept_from_the_record_comes_with_the_next_change(
    output: Path, cxr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rollout is what counts, and it is written first."""
    with monkeypatch.context() as patch:
        patch.setattr(changing, "_note", lambda *_: None)
        cxr("promote", "--version", "1", "--why", "first")
    assert _noted(output, 1) == []
    cxr("promote", "--version", "2", "--why", "second")
    assert [entry["why"] for entry in _noted(output, 1)] == ["first", "second"]
    assert [entry["why"] for entry in _noted(output, 2)] == ["second"]


def test_two_at_once_do_not_lose_each_other(output: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.rollout.changing import *\n"
        "place = place_of_model(Path(sys.argv[1]), None, 'lungs')\n"
        "for _ in range(20):\n"
        "    try: promote(place, int(sys.argv[2]), Signed(sys.argv[2], 'x'))\n"
        "    except InputError: pass\n"
    )
    words = [sys.executable, "-c", code, str(output / "serving")]
    both = [subprocess.Popen([*words, number]) for number in ("1", "2")]
    assert [one.wait(120) for one in both] == [0, 0]
    history = _rollout(output).history
    # Each goes on from where the one before it ended.
    assert all(b["from"] == a["version"] for a, b in itertools.pairwise(history))
    assert {entry["by"] for entry in history} == {"1", "2"}


def test_the_commands_import_no_tfx() -> None:
    code = (
        "import sys; import pipeline.rollout.command, pipeline.rollout.changing\n"
        "print([n for n in ('tfx', 'tensorflow', 'keras') if n in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert said.stdout.strip() == "[]"
