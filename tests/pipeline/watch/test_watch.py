"""`cxr watch` on made-up logs: alarms, none, labels, and logs that are at fault."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.pushed_versions.record import RECORD_FILE
from pipeline.watch.command import EXIT_ALARM
from pipeline.watch.judging import NO_DAY, judge
from pipeline.watch.labels import read_labels
from pipeline.watch.log_rows import read_rows
from pipeline.watch.reference import Reference, read_reference
from schema import contract
from tests.pipeline.watch.kept import (
    CLASSES,
    DAY,
    NOON,
    VERSION,
    Source,
    images,
    keep_version,
    write_log,
)

Watch = Callable[..., tuple[int, dict[str, Any]]]
NOW = NOON + 20 * DAY


@pytest.fixture
def kept(tmp_path: Path) -> dict[tuple[str, int], Reference]:
    """The one version that was pushed."""
    keep_version(tmp_path / "pushed")
    found = read_reference(tmp_path / "pushed", "lungs", VERSION)
    assert found is not None
    return {("lungs", VERSION): found}


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Watch:
    """`cxr watch` -> exit status and watch.json."""
    (tmp_path / "serving").mkdir()
    # The command's clock is this machine's.
    monkeypatch.setattr("pipeline.watch.judging.time.time", lambda: NOW)

    def call(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
        from pipeline import cli

        words = ["--log", tmp_path / "log", "--model-dir", tmp_path / "serving"]
        words += ["--output", tmp_path / "watch", *arguments]
        monkeypatch.setattr("sys.argv", ["cxr", "watch", *map(str, words)])
        status = 0
        try:
            cli.main()
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        numbers = tmp_path / "watch" / "watch.json"
        return status, json.loads(numbers.read_text()) if numbers.exists() else {}

    return call


def _alarms(log: Path, kept: dict[tuple[str, int], Reference]) -> list[str]:
    (version,) = judge(read_rows(log), kept, now=NOW)["versions"]
    return sorted(row["feature"] for row in version["features"] if row["alarm"])


def test_three_hundred_of_the_same_source_raise_no_alarm(
    tmp_path: Path, kept: dict[tuple[str, int], Reference]
) -> None:
    for seed in range(2, 12):
        folder = tmp_path / f"log-{seed}"
        write_log(folder, images(Source(), 300, seed))
        assert _alarms(folder, kept) == []


@pytest.mark.parametrize(
    ("source", "features"),
    [
        (Source(mean=140.0), [contract.MEAN]),
        (Source(sure=0.75), ["answer/confidence"]),
        (Source(view="AP"), [contract.VIEW]),
    ],
)
def test_another_source_raises_the_alarm(
    tmp_path: Path,
    kept: dict[tuple[str, int], Reference],
    source: Source,
    features: list[str],
) -> None:
    write_log(tmp_path / "log", images(source, 100, 2))
    assert _alarms(tmp_path / "log", kept) == features


def test_ten_images_raise_no_alarm_however_far_they_are(
    tmp_path: Path, kept: dict[tuple[str, int], Reference]
) -> None:
    write_log(tmp_path / "log", images(Source(mean=220.0, sure=0.5, view="L"), 10, 2))
    found = judge(read_rows(tmp_path / "log"), kept, now=NOW)
    assert found["alarms"] == []
    assert found["versions"][0]["too_few"]


def test_a_feature_that_ten_images_have_raises_no_alarm(
    kept: dict[tuple[str, int], Reference], tmp_path: Path
) -> None:
    """The server measures grey levels of some images only."""
    write_log(tmp_path / "log", images(Source(mean=220.0), 100, 2))
    log = read_rows(tmp_path / "log")
    log.rows[10:] = [replace(row, numbers={contract.WIDTH: 299.0}) for row in log.rows[10:]]
    (version,) = judge(log, kept, now=NOW)["versions"]
    (mean,) = [row for row in version["features"] if row["feature"] == contract.MEAN]
    assert (mean["images"], mean["p_adjusted"], mean["alarm"]) == (10, None, False)
    assert mean["p"] < 1e-6


def test_a_difference_that_does_not_matter_raises_no_alarm(
    tmp_path: Path, kept: dict[tuple[str, int], Reference]
) -> None:
    """With images enough, everything is significant."""
    from pipeline.watch.judging import Thresholds

    write_log(tmp_path / "log", images(Source(mean=123.0), 4_000, 2))
    (version,) = judge(
        read_rows(tmp_path / "log"), kept, thresholds=Thresholds(distance=0.2), now=NOW
    )["versions"]
    (mean,) = [row for row in version["features"] if row["feature"] == contract.MEAN]
    assert (mean["p"] < 0.01, mean["distance"] < 0.2, mean["alarm"]) == (True, True, False)


def test_a_day_that_differs_is_named(
    tmp_path: Path, kept: dict[tuple[str, int], Reference]
) -> None:
    """Even where the whole log hides it."""
    usual = images(Source(), 400, 2)
    write_log(tmp_path / "log", usual, [NOON + index // 100 * DAY for index in range(400)])
    write_log(tmp_path / "log", images(Source(mean=165.0), 40, 3), NOON + 4 * DAY)
    found = judge(read_rows(tmp_path / "log"), kept, now=NOW)
    (version,) = found["versions"]
    assert [day["alarms"] for day in version["days"]] == [[], [], [], [], [contract.MEAN]]
    (alarm,) = found["alarms"]
    assert alarm["sentence"].startswith(f"On {version['days'][-1]['day']}, ")


def test_the_command_writes_page_numbers_and_metrics(tmp_path: Path, watch: Watch) -> None:
    keep_version(tmp_path / "pushed")
    write_log(tmp_path / "log", images(Source(), 120, 2))
    status, found = watch()
    assert (status, found["alarms"]) == (0, [])
    (version,) = found["versions"]
    low, high = version["expected_accuracy"]["interval95"]
    assert low < 0.9 < high
    assert version["held_out"]["images"] == 200
    # TFDV's own, beside.
    assert version["tfdv"][contract.MEAN]["measure"] == "JENSEN_SHANNON_DIVERGENCE"
    assert version["tfdv"][contract.VIEW]["measure"] == "L_INFTY"
    page = (tmp_path / "watch" / "index.html").read_text()
    assert "Is what is served still what was trained?" in page
    assert "no alarm" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    metrics = (tmp_path / "watch" / "metrics.prom").read_text()
    assert f'cxr_watch_images{{model="lungs",version="{VERSION}"}} 120.0' in metrics


def test_an_alarm_is_an_exit_status(tmp_path: Path, watch: Watch) -> None:
    keep_version(tmp_path / "pushed")
    write_log(tmp_path / "log", images(Source(mean=150.0), 120, 2))
    status, found = watch()
    assert status == EXIT_ALARM
    assert found["alarms"][0]["kind"] == "drift"
    page = (tmp_path / "watch" / "index.html").read_text()
    assert "isn't what it was trained with: image/mean" in page.replace("&#39;", "'")


def test_labels_that_come_later_hold_the_expectation_against_the_truth(
    tmp_path: Path, watch: Watch
) -> None:
    keep_version(tmp_path / "pushed")
    asked = images(Source(), 120, 2)
    write_log(tmp_path / "log", asked)
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["digest,label", *(f"{i.digest},{i.truth}" for i in asked[:60])]))
    status, found = watch("--labels", labels)
    (version,) = found["versions"]
    assert (status, version["truth"]["images"], version["truth"]["alarm"]) == (0, 60, False)
    right = sum(i.probabilities[i.label] == max(i.probabilities) for i in asked[:60])
    assert version["truth"]["right"] == right
    # A model that is sure, and wrong half of the time.
    wrong = [f"{i.digest},{CLASSES[(i.label + n % 2) % 3]}" for n, i in enumerate(asked[:60])]
    labels.write_text("\n".join(["digest,label", *wrong]))
    status, found = watch("--labels", labels)
    assert status == EXIT_ALARM
    assert [alarm["kind"] for alarm in found["alarms"]] == ["accuracy"]


def test_weights_of_a_selection_say_how_many_of_all_are_right(tmp_path: Path, watch: Watch) -> None:
    keep_version(tmp_path / "pushed")
    asked = images(Source(), 120, 2)
    write_log(tmp_path / "log", asked)
    right = [i for i in asked if i.probabilities[i.label] == max(i.probabilities)]
    wrong = [i for i in asked if i not in right][:5]
    labels = tmp_path / "labels.csv"
    lines = [f"{i.digest},{i.truth},1" for i in wrong] + [
        f"{i.digest},{i.truth},9" for i in right[:5]
    ]
    labels.write_text("\n".join(["digest,label,weight", *lines]))
    (version,) = watch("--labels", labels)[1]["versions"]
    assert version["truth"]["accuracy"] == 0.5
    assert version["truth"]["of_all"]["value"] == pytest.approx(0.9)
    assert version["truth"]["of_all"]["stands_for"] == 50
    page = (tmp_path / "watch" / "index.html").read_text()
    assert "they stand for 50 images" in page
    # Without a weight each, nothing is said of all.
    labels.write_text(
        "\n".join(["digest,label,weight", *lines, f"{right[9].digest},{right[9].truth},x"])
    )
    found = watch("--labels", labels)[1]
    assert "is no number from 1 on" in found["labels"]["refused"]["12"]


def test_labels_that_cannot_be_used_are_listed(tmp_path: Path, watch: Watch) -> None:
    keep_version(tmp_path / "pushed")
    asked = images(Source(), 40, 2)
    write_log(tmp_path / "log", asked)
    labels = tmp_path / "labels.csv"
    lines = [
        f"{'0' * 64},NORMAL",
        "4711,NORMAL",
        f"{asked[0].digest},Fracture",
        f"{asked[1].digest},NORMAL",
        f"{asked[1].digest},COVID-19",
        f"{asked[2].digest},NORMAL",
    ]
    labels.write_text("\n".join(["digest,label", *lines]))
    status, found = watch("--labels", labels)
    assert status == 0
    told = found["labels"]
    assert (told["used"], told["unknown"]) == (1, ["0" * 64])
    assert set(told["refused"]) == {"3", "4", "5", "6"}
    assert "no SHA-256" in told["refused"]["3"]
    assert "'Fracture' is no class" in told["refused"]["4"]
    assert "line 5" in told["refused"]["6"]
    page = (tmp_path / "watch" / "index.html").read_text()
    assert "1 digests are not in the log" in page


@pytest.mark.parametrize(
    ("content", "said"), [(b"sha,label\n", "no column 'digest'"), (b"\xff\xfe", "can't be read")]
)
def test_a_file_that_holds_no_labels_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    from common.errors import InputError

    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_labels(tmp_path / "labels.csv", CLASSES)


def test_a_torn_shard_is_read_up_to_the_tear_and_named(tmp_path: Path, watch: Watch) -> None:
    keep_version(tmp_path / "pushed")
    shard = write_log(tmp_path / "log", images(Source(), 50, 2))
    os.truncate(shard, shard.stat().st_size - 5)
    status, found = watch()
    assert (status, found["log"]["torn_shards"]) == (0, {shard.name: 49})
    assert found["versions"][0]["images"] == 49


def test_a_log_of_another_model_is_not_judged(tmp_path: Path, watch: Watch) -> None:
    keep_version(tmp_path / "pushed")
    write_log(tmp_path / "log", images(Source(mean=200.0), 50, 2), name="knees")
    write_log(tmp_path / "log", images(Source(mean=200.0), 50, 3), number=VERSION + 1)
    status, found = watch()
    assert (status, found["versions"], found["alarms"]) == (0, [], [])
    others = {f"knees {VERSION}": 50, f"lungs {VERSION + 1}": 50}
    assert found["log"]["other_models"] == others
    assert "knows nothing" in (tmp_path / "watch" / "index.html").read_text()


def test_a_clock_that_jumps_makes_no_day(tmp_path: Path, watch: Watch) -> None:
    keep_version(tmp_path / "pushed")
    times = [NOON] * 40 + [0] * 3 + [NOW + 400 * DAY] * 2
    write_log(tmp_path / "log", images(Source(), 45, 2), times)
    status, found = watch()
    (version,) = found["versions"]
    assert (status, version["images"], version["impossible_times"]) == (0, 45, 5)
    assert [day["images"] for day in version["days"] if day["day"] == NO_DAY] == [5]
    assert len(version["days"]) == 2


def test_an_image_that_is_asked_about_again_is_one_image(tmp_path: Path, watch: Watch) -> None:
    keep_version(tmp_path / "pushed")
    asked = images(Source(), 40, 2)
    write_log(tmp_path / "log", [*asked, *[asked[0]] * 500])
    status, found = watch()
    assert (status, found["versions"][0]["images"], found["log"]["repeated"]) == (0, 40, 500)


def test_images_of_the_training_are_told(tmp_path: Path, watch: Watch) -> None:
    trained = keep_version(tmp_path / "pushed")
    write_log(tmp_path / "log", trained[:40])
    _, found = watch()
    assert found["versions"][0]["seen_in_training"] == 40


def test_a_record_that_cannot_be_read_stops_it(tmp_path: Path, watch: Watch, capsys: Any) -> None:
    keep_version(tmp_path / "pushed")
    write_log(tmp_path / "log", images(Source(), 40, 2))
    (tmp_path / "pushed" / "lungs" / str(VERSION) / contract.SUMMARY_FILE).write_text("{")
    assert watch()[0] == 2
    assert "can't be read" in capsys.readouterr().err


def test_a_version_of_before_is_judged_by_what_was_kept(tmp_path: Path, watch: Watch) -> None:
    """Nothing but its manifest: neither facts of images nor answers."""
    keep_version(tmp_path / "pushed")
    folder = tmp_path / "pushed" / "lungs" / str(VERSION)
    for path in folder.iterdir():
        if path.name not in (RECORD_FILE, contract.SUMMARY_FILE, "manifest.csv"):
            path.unlink()
    write_log(tmp_path / "log", images(Source(mean=200.0), 40, 2))
    status, found = watch()
    assert (status, found["versions"][0]["features"]) == (0, [])
    assert found["versions"][0]["not_compared"] != []
    assert "wasn't kept" in (tmp_path / "watch" / "index.html").read_text().replace("&#39;", "'")


def test_the_champion_has_the_answers_of_whom_it_is_a_copy(tmp_path: Path) -> None:
    keep_version(tmp_path / "pushed")
    keep_version(tmp_path / "pushed", "champion", VERSION + 3)
    folder = tmp_path / "pushed" / "champion" / str(VERSION + 3)
    (folder / RECORD_FILE).write_text('{"model": "lungs", "split": "s"}')
    (folder / contract.PREDICTIONS_FILE).unlink()
    found = read_reference(tmp_path / "pushed", "champion", VERSION + 3)
    assert found is not None
    assert found.held_out is not None
    assert len(found.held_out.right) == 200


@pytest.mark.parametrize("missing", ["log", "pushed", "serving"])
def test_a_folder_that_is_missing_is_named(
    tmp_path: Path, watch: Watch, capsys: Any, missing: str
) -> None:
    keep_version(tmp_path / "pushed")
    write_log(tmp_path / "log", images(Source(), 40, 2))
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    assert watch()[0] == 2
    assert str(tmp_path / missing) in capsys.readouterr().err
