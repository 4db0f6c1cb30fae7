"""The way back: what was served is chosen, labelled, trained on, judged and pushed."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from components.pushed_versions.rollouts import RECORD_FILE
from components.radiograph_example_gen.manifest import read_manifest
from pipeline import cli
from pipeline.config.layout import OutputLayout
from pipeline.phantoms import write_phantoms
from pipeline.watch.admission import admit
from pipeline.watch.judging import judge
from pipeline.watch.kept_folder import references_of
from pipeline.watch.log_rows import read_rows
from serving.client import Client
from serving.prediction import Prediction, files_in
from serving.process import running_server
from tests.serving.in_thread import until

if TYPE_CHECKING:
    from tests.pipeline.conftest import Outcome, Run

pytestmark = [pytest.mark.slow, pytest.mark.long]

CONFIG: dict[str, Any] = {
    # Blessed whatever chance says: what is tested is that the images come back.
    "gate": {"min_accuracy": 0.1, "baseline_significance": 1e-6},
    "audit": {"enabled": False},
}


def test_served_images_come_back_as_a_span_and_are_pushed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = tmp_path / "data" / "span-{SPAN}"
    write_phantoms(tmp_path / "data" / "span-1", (30, 33, 31), size=96, seed=1)
    first = run(tmp_path / "output", data=spans, config=CONFIG)
    assert first.exit_code == cli.EXIT_PUSHED, first.printed
    layout = OutputLayout(first.output)

    ward = tmp_path / "ward"
    write_phantoms(ward, (14, 13, 15), size=96, seed=5)
    files = files_in([ward])
    log = tmp_path / "log"
    with running_server(
        "--model-dir", str(layout.serving), "--prediction-log-dir", str(log)
    ) as server:
        answers = list(Client(server.url, "tiny").predict_files(files))
    assert all(isinstance(answer, Prediction) for answer in answers)

    words = ["cxr", "watch", "select", "--log", log, "--images", ward, "--spans", spans]
    words += ["--model-dir", layout.serving, "--model", "tiny", "--seed", "3"]
    monkeypatch.setattr("sys.argv", list(map(str, words)))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    folder = tmp_path / "data" / "span-2.unlabelled"
    # A run before the labels are there takes nothing of it.
    again = run(tmp_path / "output", data=spans, config=CONFIG)
    assert again.executed == set()

    truth = {hashlib.sha256(file.read_bytes()).hexdigest(): file.parent.name for file in files}
    labels = tmp_path / "labels.csv"
    with labels.open("w", newline="") as lines:
        csv.writer(lines).writerows([("digest", "label"), *truth.items()])
    admitted = admit(folder, labels)
    # As in a table, a label's case doesn't matter.
    plain = {name.casefold(): count for name, count in admitted.labelled.items()}
    assert plain == Counter(label.casefold() for label in truth.values())

    second = run(tmp_path / "output", data=spans, config=CONFIG)
    assert second.exit_code == cli.EXIT_PUSHED, second.printed
    model = second.summary["models"]["tiny"]
    assert model["pushed_to"] != first.summary["models"]["tiny"]["pushed_to"]
    assert model["continued"]["continued"]
    assert "baseline_accuracy" in model["gate"]
    entries = read_manifest(second.summary["data"]["manifest"])
    new = [entry for entry in entries if entry.file.startswith("span-2/")]
    assert {entry.sha256 for entry in new} <= truth.keys()
    assert {entry.split for entry in new} >= {"train", "test"}
    assert all(entry.class_name.casefold() == truth[entry.sha256].casefold() for entry in new)
    _try_it(layout, [first, second], files, log, monkeypatch)


def _try_it(
    layout: OutputLayout,
    runs: list[Outcome],
    files: list[Path],
    log: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Try the new version as a shadow and promote it, while a server answers."""
    old, new = (int(Path(run.summary["models"]["tiny"]["pushed_to"]).name) for run in runs)

    def cxr(*words: object) -> None:
        options = ["--model", "tiny", "--model-dir", layout.serving, "--why", "a test"]
        monkeypatch.setattr("sys.argv", [str(word) for word in ("cxr", *words, *options)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0

    cxr("promote", "--version", old)
    cxr("canary", "--version", new, "--share", 1, "--shadow")
    words = ("--model-dir", str(layout.serving), "--prediction-log-dir", str(log / "trial"))
    with running_server(*words) as server:

        def stable() -> int:
            url = f"{server.url}/v1/models/tiny/metadata"
            return int(requests.get(url, timeout=30).json()["model_spec"]["version"])

        def available() -> set[int]:
            told = requests.get(f"{server.url}/v1/models/tiny", timeout=30).json()
            versions = told["model_version_status"]
            return {int(one["version"]) for one in versions if one["state"] == "AVAILABLE"}

        # It is ready with one of them: the stable version answers meanwhile.
        until(lambda: available() == {old, new})
        assert stable() == old
        assert len(list(Client(server.url, "tiny").predict_files(files))) == len(files)
        cxr("promote")
        until(lambda: stable() == new)
        list(Client(server.url, "tiny").predict_files(files[:1]))
    rows = read_rows(log / "trial").rows
    assert Counter(row.version for row in rows) == {old: len(files), new: len(files)}
    found = judge(read_rows(log / "trial"), references_of(read_rows(log / "trial"), layout.pushed))
    (told,) = found["comparisons"]
    assert (told["first"], told["second"], told["both"]["images"]) == (old, new, len(files))
    for version in (old, new):
        record = json.loads((layout.pushed / "tiny" / str(version) / RECORD_FILE).read_text())
        assert record["rollouts"][-1]["what"] == "promoted"
        assert record["rollouts"][-1]["version"] == new
