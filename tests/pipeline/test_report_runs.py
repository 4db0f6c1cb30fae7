"""The report of a run of the whole DAG, against the served models' own answers."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics

from pipeline import cli
from pipeline.layout import OutputLayout
from serving.local_client import predict_files
from serving.prediction import Prediction

if TYPE_CHECKING:
    from tests.pipeline.conftest import Outcome, Run, Snapshot

pytestmark = pytest.mark.slow

MODELS = ["tiny", "tinier", "ensemble", "cascade"]


@pytest.fixture(scope="module")
def outcome(
    run: Run, two_backbones: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """A run whose models are bad enough to make mistakes."""
    output = tmp_path_factory.mktemp("reported") / "output"
    config = {
        "backbones": two_backbones,
        "gate": {"min_accuracy": 0.0},
        "training": {"learning_rate": 0.01, "epochs": 3},
    }
    outcome = run(output, config=config)
    assert outcome.exit_code == 0, outcome.printed
    return outcome


@pytest.fixture(scope="module")
def numbers(outcome: Outcome) -> dict[str, Any]:
    """report.json."""
    content: dict[str, Any] = json.loads(_report(outcome, "report.json").read_text())
    return content


def _report(outcome: Outcome, name: str) -> Path:
    return OutputLayout(outcome.output).report / name


def _test_files(outcome: Outcome, data: Path) -> list[tuple[Path, str, str]]:
    """File, class and digest of the test split, from the manifest."""
    manifest = Path(outcome.summary["data"]["manifest"]) / "manifest.csv"
    with manifest.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    return [(data / row["file"], row["class"], row["sha256"]) for row in rows]


def test_the_figures_are_those_of_the_pushed_models(
    outcome: Outcome, numbers: dict[str, Any], phantom_folder: Path
) -> None:
    files = _test_files(outcome, phantom_folder)
    classes = numbers["classes"]
    labels = np.array([classes.index(name) for _, name, _ in files])
    raw = json.loads(_report(outcome, "answers.json").read_text())
    for model in MODELS:
        found = list(
            predict_files([f for f, _, _ in files], OutputLayout(outcome.output).serving, model)
        )
        assert all(isinstance(one, Prediction) for one in found)
        served = np.array([list(o.probabilities.values()) for o in found])  # type: ignore[union-attr]
        kept = dict(zip(raw[model]["sha256"], raw[model]["probabilities"], strict=True))
        np.testing.assert_allclose([kept[d] for _, _, d in files], served, atol=2e-5)
        _check_figures(numbers["models"][model], labels, np.array([kept[d] for _, _, d in files]))


def _check_figures(figures: dict[str, Any], labels: np.ndarray, probabilities: np.ndarray) -> None:
    predicted = probabilities.argmax(axis=1)
    right = int((predicted == labels).sum())
    assert figures["accuracy"]["count"] == right
    assert figures["accuracy"]["value"] == metrics.accuracy_score(labels, predicted)
    interval = binomtest(right, len(labels)).proportion_ci(method="wilson")
    assert figures["accuracy"]["wilson95"] == [interval.low, interval.high]
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


def test_every_slice_is_counted_rightly(
    outcome: Outcome, numbers: dict[str, Any], phantom_folder: Path
) -> None:
    with (phantom_folder / "metadata.csv").open(newline="") as file:
        known = {row["file"]: row for row in csv.DictReader(file)}
    raw = json.loads(_report(outcome, "answers.json").read_text())["ensemble"]
    right = {
        digest: int(np.argmax(p)) == label
        for digest, label, p in zip(raw["sha256"], raw["labels"], raw["probabilities"], strict=True)
    }
    expected: dict[tuple[str, str], list[bool]] = {}
    for path, name, digest in _test_files(outcome, phantom_folder):
        row = known[path.relative_to(phantom_folder).as_posix()]
        values = {"class": name} | {
            column.replace("_", " "): row[column] or "unknown"
            for column in ("sex", "age_group", "view", "source")
        }
        # A further one, found by its few values; `number` has too many.
        values["scanner"] = row["Scanner"] or "unknown"
        for feature, value in values.items():
            expected.setdefault((feature, value), []).append(right[digest])
    found = {
        (row["feature"], row["value"]): (row["images"], row["accuracy"]["count"])
        for row in numbers["models"]["ensemble"]["slices"]
    }
    assert found == {key: (len(values), sum(values)) for key, values in expected.items()}
    assert all(row["too_small"] for row in numbers["models"]["ensemble"]["slices"])


def test_every_error_is_shown_with_its_overlay(outcome: Outcome, numbers: dict[str, Any]) -> None:
    page = _report(outcome, "index.html").read_text()
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
    explained = sum(
        model in ("tiny", "tinier") or model == numbers["champion"] for _, model in wrong
    )
    assert page.count('<img src="data:image/jpeg') >= len(numbers["errors"]) + explained


def test_the_page_needs_nothing_else(outcome: Outcome) -> None:
    page = _report(outcome, "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert "@import" not in page
    assert "<script" not in page
    pictures = sorted(p.name for p in _report(outcome, "figures").glob("*.png"))
    assert len(pictures) == page.count("<svg ")


def test_the_main_models_card_is_on_it(outcome: Outcome, numbers: dict[str, Any]) -> None:
    page = _report(outcome, "index.html").read_text()
    assert f"Model card of {numbers['champion']}" in page
    assert page.count(numbers["digest"]) >= 1


def test_what_the_audit_found_is_on_it(outcome: Outcome, numbers: dict[str, Any]) -> None:
    page = html.unescape(_report(outcome, "index.html").read_text())
    assert numbers["audit"]["findings"]
    for finding in numbers["audit"]["findings"]:
        # At the top and in the section of its own.
        assert page.count(finding) == 2
    assert _report(outcome, "figures/shortcuts.png").is_file()


def test_it_is_built_again_without_the_pipeline(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _report(outcome, ".")
    before = {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    shutil.rmtree(folder)
    monkeypatch.setattr("sys.argv", ["cxr", "report", "--output", str(outcome.output)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code, capsys.readouterr()
    assert {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_a_second_run_computes_nothing_and_brings_a_deleted_page_back(
    outcome: Outcome, run: Run, two_backbones: list[str], snapshot: Snapshot
) -> None:
    before = _report(outcome, "index.html").read_bytes()
    shutil.rmtree(_report(outcome, "."))
    config = {
        "backbones": two_backbones,
        "gate": {"min_accuracy": 0.0},
        "training": {"learning_rate": 0.01, "epochs": 3},
    }
    second = run(outcome.output, config=config)
    assert second.executed == set()
    assert "Report" in second.cached
    assert _report(outcome, "index.html").read_bytes() == before


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


@pytest.mark.skipif(_CHROMIUM is None, reason="there is no chromium here")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_all_of_it(outcome: Outcome, tmp_path: Path, width: int) -> None:
    page = _report(outcome, "index.html")
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


@pytest.mark.skipif(_CHROMIUM is None, reason="there is no chromium here")
def test_it_is_readable_light_and_dark(outcome: Outcome, tmp_path: Path) -> None:
    page = _report(outcome, "index.html")
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
