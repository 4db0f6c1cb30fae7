"""The report of the golden run, against its models' own answers (test_local_run.py asks them)."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn import metrics

from common.intervals import wilson_by_group
from pipeline import cli
from pipeline.config.layout import OutputLayout
from pipeline.runs.record import read_records, write_record

if TYPE_CHECKING:
    from components.report.sources import ReportSources
    from tests.golden_run import GoldenRun

pytestmark = pytest.mark.slow

BACKBONES = ["vgg16", "xception", "densenet121"]
MODELS = [*BACKBONES, "ensemble", "cascade", "fusion"]


@pytest.fixture(scope="module")
def numbers(golden: GoldenRun) -> dict[str, Any]:
    """report.json."""
    content: dict[str, Any] = json.loads(_report(golden, "report.json").read_text())
    return content


def _report(golden: GoldenRun, name: str) -> Path:
    return golden.layout.report / name


def _test_files(golden: GoldenRun) -> list[dict[str, str]]:
    """The rows of the test split, from the manifest."""
    manifest = Path(golden.summary["data"]["manifest"]) / "manifest.csv"
    with manifest.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == "test"]


def test_the_figures_are_those_of_the_models_answers(
    golden: GoldenRun, numbers: dict[str, Any]
) -> None:
    rows = _test_files(golden)
    classes = numbers["classes"]
    labels = np.array([classes.index(row["class"]) for row in rows])
    _, groups = np.unique([row["patient"] for row in rows], return_inverse=True)
    assert len(set(groups)) < len(rows), "a patient has several images"
    raw = json.loads(_report(golden, "answers.json").read_text())
    assert list(raw) == list(numbers["models"]) == MODELS
    for model in MODELS:
        kept = dict(zip(raw[model]["sha256"], raw[model]["probabilities"], strict=True))
        assert len(kept) == len(rows)
        probabilities = np.array([kept[row["sha256"]] for row in rows])
        _check_figures(numbers["models"][model], labels, probabilities, groups)


def _check_figures(
    figures: dict[str, Any], labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray
) -> None:
    predicted = probabilities.argmax(axis=1)
    right = int((predicted == labels).sum())
    assert figures["accuracy"]["count"] == right
    assert figures["accuracy"]["value"] == metrics.accuracy_score(labels, predicted)
    patients = range(groups.max() + 1)
    by_patient = [(predicted == labels)[groups == patient] for patient in patients]
    interval = wilson_by_group(
        np.array([part.sum() for part in by_patient]), np.array([len(part) for part in by_patient])
    )
    assert figures["accuracy"]["wilson95"] == list(interval)
    assert figures["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    assert figures["loss"] == pytest.approx(metrics.log_loss(labels, probabilities), rel=1e-6)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, predicted, labels=[0, 1, 2], zero_division=np.nan
    )
    for index, one in enumerate(figures["classes"].values()):
        positive, score = labels == index, probabilities[:, index]
        assert _same(one["precision"]["value"], precision[index])
        assert _same(one["recall"]["value"], recall[index])
        assert _same(one["f1"], f1[index])
        assert one["auc"] == metrics.roc_auc_score(positive, score)
        assert one["average_precision"] == metrics.average_precision_score(positive, score)
        negatives = labels != index
        wrongly = (predicted == index)[negatives].mean()
        assert one["false_positive_rate"]["value"] == pytest.approx(wrongly, rel=1e-12)
    assert figures["coverage"][0]["coverage"] == 1
    assert figures["coverage"][0]["accuracy"] == figures["accuracy"]["value"]


def _same(value: float | None, expected: float) -> bool:
    return np.isnan(expected) if value is None else value == pytest.approx(expected, rel=1e-12)


def test_every_slice_is_counted_rightly(golden: GoldenRun, numbers: dict[str, Any]) -> None:
    with (golden.data / "metadata.csv").open(newline="") as file:
        known = {row["file"]: row for row in csv.DictReader(file)}
    raw = json.loads(_report(golden, "answers.json").read_text())["ensemble"]
    right = {
        digest: int(np.argmax(p)) == label
        for digest, label, p in zip(raw["sha256"], raw["labels"], raw["probabilities"], strict=True)
    }
    expected: dict[tuple[str, str], list[bool]] = {}
    for entry in _test_files(golden):
        row = known[entry["file"]]
        values = {"class": entry["class"]} | {
            column.replace("_", " "): row[column] or "unknown"
            for column in ("sex", "age_group", "view", "source")
        }
        # A further one, found by its few values; `number` has too many.
        values["scanner"] = row["Scanner"] or "unknown"
        for feature, value in values.items():
            expected.setdefault((feature, value), []).append(right[entry["sha256"]])
    found = {
        (row["feature"], row["value"]): (row["images"], row["accuracy"]["count"])
        for row in numbers["models"]["ensemble"]["slices"]
    }
    assert found == {key: (len(values), sum(values)) for key, values in expected.items()}
    assert all(row["too_small"] for row in numbers["models"]["ensemble"]["slices"])


def test_every_error_is_shown_with_its_overlay(golden: GoldenRun, numbers: dict[str, Any]) -> None:
    page = _report(golden, "index.html").read_text()
    wrong = {
        (row["sha256"], model)
        for row in numbers["errors"]
        for model, answer in row["answers"].items()
        if not answer["right"]
    }
    totals = {
        name: model["accuracy"]["total"] - model["accuracy"]["count"]
        for name, model in numbers["models"].items()
    }
    assert {name: sum(model == name for _, model in wrong) for name in MODELS} == totals
    assert wrong, "models that make no mistake show nothing here"
    for row in [*numbers["errors"], *numbers["read_rightly"]]:
        assert page.count(row["path"]) >= 1
    # An image, and a map by each backbone that is wrong and by the champion.
    explained = sum(model in BACKBONES or model == numbers["champion"] for _, model in wrong)
    assert page.count('<img src="data:image/jpeg') >= len(numbers["errors"]) + explained


def test_the_page_needs_nothing_else(golden: GoldenRun) -> None:
    page = _report(golden, "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert "@import" not in page
    assert "<script" not in page
    pictures = sorted(p.name for p in _report(golden, "figures").glob("*.png"))
    assert len(pictures) == page.count("<svg ")


def test_the_main_models_card_is_on_it(golden: GoldenRun, numbers: dict[str, Any]) -> None:
    page = _report(golden, "index.html").read_text()
    assert f"Model card of {numbers['champion']}" in page
    assert page.count(numbers["digest"]) >= 1


def test_what_the_audit_found_is_on_it(golden: GoldenRun, numbers: dict[str, Any]) -> None:
    page = html.unescape(_report(golden, "index.html").read_text())
    assert numbers["audit"]["findings"]
    for finding in numbers["audit"]["findings"]:
        assert page.count(finding) == 1
    assert _report(golden, "figures/shortcuts.png").is_file()


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def elsewhere(golden: GoldenRun, tmp_path: Path) -> OutputLayout:
    """An output folder whose last run is the golden one, and whose report is gone."""
    layout = OutputLayout(tmp_path / "output")
    layout.root.mkdir()
    # A copy reads its own artifacts, wherever the first run's were.
    shutil.copytree(golden.layout.runs, layout.runs)
    layout.artifacts.symlink_to(golden.layout.artifacts)
    return layout


def _sources_of_the_node(golden: GoldenRun) -> ReportSources:
    """What the Report node was given."""
    from ml_metadata.proto import metadata_store_pb2
    from tfx.types import artifact_utils

    from components.report.executor import NAMES, SETTINGS, sources_of
    from pipeline.local.metadata_store import open_store

    store = open_store(golden.layout)
    context = store.get_context_by_type_and_name("node", "cxr-tfx.Report")
    execution = min(store.get_executions_by_context(context.id), key=lambda one: one.id)
    artifacts: dict[str, list[Any]] = {}
    for event in store.get_events_by_execution_ids([execution.id]):
        if event.type == metadata_store_pb2.Event.INPUT:
            (artifact,) = store.get_artifacts_by_id([event.artifact_id])
            (kind,) = store.get_artifact_types_by_id([artifact.type_id])
            found = artifact_utils.deserialize_artifact(kind, artifact)
            artifacts.setdefault(event.path.steps[0].key, []).append(found)
    properties = execution.custom_properties
    names, settings = (json.loads(properties[key].string_value) for key in (NAMES, SETTINGS))
    return sources_of(artifacts, names, settings)


@pytest.mark.long
def test_it_is_built_again_without_the_pipeline(
    golden: GoldenRun,
    elsewhere: OutputLayout,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From what the node was given, and to what it wrote: of the champion, without the others."""
    from components.report import writing

    used: list[ReportSources] = []

    def write(sources: ReportSources, folder: str) -> object:
        used.append(sources)
        champion = tuple(one for one in sources.models if one.name == sources.champion)
        return write_report(dataclasses.replace(sources, models=champion), folder)

    write_report = writing.write_report
    monkeypatch.setattr(writing, "write_report", write)
    monkeypatch.setattr("sys.argv", ["cxr", "report", "--output", str(elsewhere.root)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr()
    assert not stopped.value.code, printed
    assert str(elsewhere.report / "index.html") in printed.out.replace("\n", "")
    (read,) = used
    own, first = str(elsewhere.root.resolve()), str(golden.layout.root.resolve())
    assert repr(read).replace(own, first) == repr(_sources_of_the_node(golden))
    again, before = _files(elsewhere.report), _files(golden.layout.report)
    assert set(again) <= set(before)
    pictures = {name for name in again if name.startswith("figures/")}
    # It compares the models.
    pictures.remove("figures/accuracies.png")
    numbers, whole = (json.loads(files["report.json"]) for files in (again, before))
    champion = whole["champion"]
    others = tuple(f"figures/{name}-" for name in whole["models"] if name != champion)
    of_it = {n for n in before if n.startswith("figures/") and not n.startswith(others)}
    assert pictures == of_it - {"figures/accuracies.png"}
    assert f"figures/{champion}-confusion.png" in pictures
    assert {name for name in pictures if again[name] != before[name]} == set()
    assert numbers["models"] == {champion: whole["models"][champion]}
    for key in ("data", "audit", "digest", "drift", "read_rightly"):
        assert numbers[key] == whole[key]
    answers, kept = (json.loads(files["answers.json"]) for files in (again, before))
    assert answers == {champion: kept[champion]}


def test_a_deleted_one_is_brought_back_from_the_artifact(
    golden: GoldenRun, elsewhere: OutputLayout
) -> None:
    """As the golden run's second run does, which finds none."""
    from pipeline.local.report_folder import publish_report

    record = read_records(golden.layout).readable[-1]
    artifact = golden.layout.artifacts / record.nodes["Report"].outputs["report"]
    for _ in range(2):
        publish_report(elsewhere, record)
        assert _files(elsewhere.report) == _files(artifact) == _files(golden.layout.report)
        # What somebody changed there comes back, too.
        (elsewhere.report / "index.html").write_text("mine")
        (elsewhere.report / "notes.txt").touch()


def test_what_it_cannot_read_is_named_with_its_node(
    golden: GoldenRun,
    elsewhere: OutputLayout,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    elsewhere.artifacts.unlink()
    shutil.copytree(golden.layout.artifacts, elsewhere.artifacts)
    shutil.copy(golden.layout.inventory, elsewhere.inventory)
    evaluation = read_records(elsewhere).readable[-1].place("Evaluator.vgg16", "evaluation")
    assert evaluation is not None
    (file,) = (elsewhere.artifacts / evaluation).glob("metrics-*")
    file.write_bytes(file.read_bytes()[:-30])
    monkeypatch.setattr("sys.argv", ["cxr", "report", "--output", str(elsewhere.root)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == cli.EXIT_INPUT
    said = capsys.readouterr().err
    assert f"made by Evaluator.vgg16, is damaged: {file.name} has" in said
    assert f"cxr cache --output {elsewhere.root} --mend, and then cxr run" in said
    assert said.count("\n") == 1


def test_of_a_run_that_was_stopped_there_is_none(
    elsewhere: OutputLayout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_records(elsewhere).readable[-1]
    record.nodes.pop("Champion")
    write_record(record, elsewhere)
    monkeypatch.setattr("sys.argv", ["cxr", "report", "--output", str(elsewhere.root)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == cli.EXIT_INPUT
    assert "has no model of Champion: it was stopped; run it to the end." in capsys.readouterr().err


def test_without_a_run_there_is_nothing_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["cxr", "report", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == cli.EXIT_INPUT
    assert "holds no run" in capsys.readouterr().err


# Opens the page in a frame as wide as asked, everything unfolded, and notes what it looks like.
_MEASURE = """
<!DOCTYPE html><meta charset="utf-8"><body><pre id="measured"></pre><script>
const frame = document.createElement("iframe");
frame.style.cssText = "border:0;width:WIDTHpx;height:1000px";
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  page.querySelectorAll("details").forEach(d => d.open = true);
  const box = e => { const r = e.getBoundingClientRect(); return [r.width, r.height]; };
  const pictures = [...page.querySelectorAll("main svg, main img")];
  document.getElementById("measured").textContent = JSON.stringify({
    overflow: root.scrollWidth - root.clientWidth,
    boxes: pictures.map(box),
    described: pictures.map(e => e.getAttribute("alt") || e.getAttribute("aria-label") || ""),
    broken: [...page.images].filter(i => !i.complete || !i.naturalWidth).length,
    background: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    ink: frame.contentWindow.getComputedStyle(page.body).color,
  });
};
frame.srcdoc = SOURCE;
document.body.append(frame);
</script>
"""
_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def _measured(page: Path, folder: Path, width: int, *arguments: str) -> dict[str, Any]:
    assert _CHROMIUM is not None
    source = json.dumps(page.read_text()).replace("</", "<\\/")
    wrapper = folder / f"measure-{width}.html"
    wrapper.write_text(_MEASURE.replace("WIDTH", str(width)).replace("SOURCE", source))
    done = subprocess.run(
        [_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1100", *arguments,
         "--virtual-time-budget=10000", "--dump-dom", wrapper.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found and found[1], done.stdout[:500]
    content: dict[str, Any] = json.loads(found[1])
    return content


@pytest.mark.long
@pytest.mark.skipif(_CHROMIUM is None, reason="there is no chromium here")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_all_of_it(golden: GoldenRun, tmp_path: Path, width: int) -> None:
    page = _report(golden, "index.html")
    seen = _measured(page, tmp_path, width)
    # Wide tables scroll in themselves; the page doesn't.
    assert seen["overflow"] <= 0
    assert seen["broken"] == 0
    text = page.read_text()
    assert len(seen["boxes"]) == text.count("<svg ") + text.count("<img ") > 30
    for (wide, high), said in zip(seen["boxes"], seen["described"], strict=True):
        assert 60 < wide <= width, said
        assert high > 60, said
        assert said


@pytest.mark.long
@pytest.mark.skipif(_CHROMIUM is None, reason="there is no chromium here")
def test_it_is_readable_light_and_dark(golden: GoldenRun, tmp_path: Path) -> None:
    page = _report(golden, "index.html")
    themes = [
        _measured(page, tmp_path, 1280, f"--blink-settings=preferredColorScheme={scheme}")
        for scheme in (0, 1)
    ]
    contrasts = [_contrast(theme["ink"], theme["background"]) for theme in themes]
    # WCAG 2.1's level AAA for text.
    assert min(contrasts) > 7
    assert themes[0]["background"] != themes[1]["background"]


def _contrast(one: str, other: str) -> float:
    """WCAG 2.1's contrast ratio of two colours as CSS writes them."""

    def luminance(colour: str) -> float:
        channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
