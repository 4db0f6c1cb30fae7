"""What `cxr run` prints: a line a node, and at the end the split and the table."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.layout import OutputLayout
from pipeline.local.console import Console, time_left
from serving.prediction import Prediction, print_results

ExampleSummary = Callable[[Path], dict[str, Any]]
PUSHED = "out/serving/vgg16/17"
OTHER_WEIGHTS = "xception_paediatric_notop.h5"
REASON = "no split that keeps every patient's images together has the exact counts"


class Page:
    """A console that writes into memory."""

    def __init__(self) -> None:
        self._file = io.StringIO()
        self.console = Console(self._file)

    @property
    def text(self) -> str:
        return self._file.getvalue()

    @property
    def lines(self) -> list[str]:
        return [" ".join(line.split()) for line in self.text.splitlines()]

    @property
    def rows(self) -> list[list[str]]:
        """The table's lines below its heading, each as a list of cells."""
        lines = [line for line in self.text.splitlines() if line.startswith("│")]
        return [[" ".join(cell.split()) for cell in line.split("│")[1:-1]] for line in lines]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """An empty page that is no terminal, whatever the tests' own is told to be."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Page()


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A relative output folder, as users give it: its name alone is printed."""
    monkeypatch.chdir(tmp_path)
    return Path("out")


@pytest.fixture
def show(page: Page, output: Path, example_summary: ExampleSummary) -> Callable[..., Page]:
    """(output folder, changes of the summary's data) -> the page with the result on it."""

    def call(folder: Path = output, **data: Any) -> Page:
        summary = example_summary(folder)
        summary["data"] |= data
        page.console.result(summary, OutputLayout(folder))
        return page

    return call


def test_each_node_has_a_line_with_its_number_and_what_was_done(page: Page) -> None:
    page.console.node_started("RadiographExampleGen")
    page.console.node_finished("RadiographExampleGen", 12.34, "cached")
    page.console.node_started("Trainer.vgg16")
    page.console.node_finished("Trainer.vgg16", 100.06, "executed")
    page.console.node_finished("Baseline.vgg16", 0, "resolved")
    assert page.lines == [
        "1 cached RadiographExampleGen 12.3 s",
        "2 executed Trainer.vgg16 100.1 s",
        "3 resolved Baseline.vgg16 0.0 s",
    ]


def test_a_terminal_shows_how_far_a_node_is(
    page: Page, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page.console.node_started("Report")
    page.console.node_progressed("Report", "heat maps", 1, 9)
    assert page.text == "", "in a file it is noise"
    monkeypatch.setenv("FORCE_COLOR", "1")
    console, now = Console(), iter((10.0, 10.0, 40.0, 50.0, 50.0))
    monkeypatch.setattr("pipeline.local.console.monotonic", lambda: next(now))
    console.node_started("Report")
    shown = []
    for what, done in (("heat maps", 0), ("heat maps", 3), ("pages", 0)):
        console.node_progressed("Report", what, done, 9)
        assert console._status is not None
        shown.append(str(console._status.status))
    console.node_finished("Report", 60, "executed")
    assert shown == [
        "Report … 0 of 9 heat maps",
        "Report … 3 of 9 heat maps, about 60 s left",
        "Report … 0 of 9 pages",
    ]
    assert "executed" in capsys.readouterr().out


def test_a_node_that_failed_is_said_while_another_is_finished(page: Page) -> None:
    page.console.node_started("Trainer.vgg16")
    page.console.node_failed("Trainer.vgg16")
    assert page.text == "", "the run's own error says it"
    for node in ("Trainer.vgg16", "Trainer.xception"):
        page.console.node_started(node)
    page.console.node_failed("Trainer.vgg16")
    assert page.lines == [
        "Trainer.vgg16 failed. Trainer.xception: finished first, so that it is kept."
    ]


@pytest.mark.parametrize(
    ("seconds", "done", "said"),
    [(5, 0, ""), (5, 1, ", about 45 s left"), (100, 1, ", about 15 min left"), (9, 10, "")],
)
def test_the_rest_takes_as_long_as_what_is_done(seconds: float, done: int, said: str) -> None:
    assert time_left(seconds, done, 10) == said


def test_the_table_has_a_row_a_model(show: Callable[..., Page]) -> None:
    page = show()
    heading = next(line for line in page.lines if "weights" in line)
    assert [cell.strip() for cell in heading.split("┃")[1:-1]] == [
        *("model", "weights", "accuracy", "95 % Wilson", "confusion (rows true)", "blessed"),
        "pushed to",
    ]
    assert page.rows == [
        ["vgg16", "imagenet", "94.57% (122/129)", "0.892–0.973", "40 1 2", "yes", PUSHED],
        ["", "", "", "", "0 43 0", "", ""],
        ["", "", "", "", "3 1 39", "", ""],
        ["xception", OTHER_WEIGHTS, "33.33% (43/129)", "0.258–0.418", "0 43 0", "no", "–"],
        ["", "", "", "", "0 43 0", "", ""],
        ["", "", "", "", "0 43 0", "", ""],
    ]


def test_a_combination_says_what_it_is_made_of(
    page: Page, output: Path, example_summary: ExampleSummary
) -> None:
    summary = example_summary(output)
    members = ["vgg16", "xception"]
    ensemble = summary["models"]["vgg16"] | {"weights": None, "members": members}
    summary["models"]["ensemble"] = ensemble
    page.console.result(summary, OutputLayout(output))
    assert [row[:2] for row in page.rows if row[0]] == [
        ["vgg16", "imagenet"],
        ["xception", OTHER_WEIGHTS],
        ["ensemble", "of vgg16, xception"],
    ]


def test_the_rest_of_the_result_has_a_line_each(show: Callable[..., Page], output: Path) -> None:
    page = show()
    assert page.lines[0] == (
        "Split per class (COVID-19, Normal, Viral Pneumonia): train 123/123/123; "
        "eval 53/53/53; test 43/43/43. Duplicates dropped: 2; bad images left out: 0; "
        "images of other formats, not read: 0; "
        "patients in two splits: 0."
    )
    assert page.lines[-2] == "Champion: vgg16 → out/serving/champion/18"
    assert page.lines[-1] == f"62 s in all; details in {OutputLayout(output).summary}"
    assert "WARNING" not in page.text


def test_a_refused_model_has_a_sentence_that_says_why(show: Callable[..., Page]) -> None:
    (sentence,) = (line for line in show().lines if "not blessed" in line)
    assert sentence == (
        "xception is not blessed: accuracy 0.3333 is below 0.9 (gate.min_accuracy)."
    )


def test_the_audit_has_a_line_that_says_where_it_is_and_one_for_each_limit(
    page: Page, output: Path, example_summary: ExampleSummary
) -> None:
    summary = example_summary(output)
    place = "Leaks and shortcuts: out/artifacts/ShortcutAudit/audit/5/audit.json"
    page.console.result(summary, OutputLayout(output))
    assert page.lines.count(place) == 1
    assert "Nothing is pushed" not in page.text
    failure = "2 patients in two splits, more than 0 (audit.max_patients_across_splits)"
    summary["audit"] |= {"passed": False, "failures": [failure]}
    page.console.result(summary, OutputLayout(output))
    assert page.lines.count(f"Nothing is pushed: {failure}.") == 1


def test_without_an_audit_nothing_is_said_of_it(
    page: Page, output: Path, example_summary: ExampleSummary
) -> None:
    page.console.result(example_summary(output) | {"audit": None}, OutputLayout(output))
    assert "shortcuts" not in page.text


@pytest.mark.parametrize(("failed", "trials"), [(0, "30 trials"), (2, "28 trials (2 more failed)")])
def test_a_tuned_model_has_a_line_that_says_what_was_found(
    failed: int, trials: str, page: Page, output: Path, example_summary: ExampleSummary
) -> None:
    summary = example_summary(output)
    summary["models"]["vgg16"]["tuned"] = {
        "values": {"boundary": "head", "learning_rate": 0.00123456, "batch_size": 32},
        "validation_loss": 0.150157,
        "trials": 30 - failed,
        "failed": failed,
    }
    page.console.result(summary, OutputLayout(output))
    (line,) = (line for line in page.lines if " tuned" in line)
    assert line == (
        "vgg16 tuned: boundary head, learning_rate 0.00123, batch_size 32; "
        f"validation loss 0.1502, best of {trials}"
    )


def test_without_a_blessed_model_there_is_no_champion(
    page: Page, output: Path, example_summary: ExampleSummary
) -> None:
    summary = example_summary(output)
    summary |= {"champion": None, "champion_pushed_to": None}
    del summary["models"]["vgg16"]
    page.console.result(summary, OutputLayout(output))
    assert "Champion: none → –" in page.lines


def test_bad_images_and_where_their_list_is(show: Callable[..., Page]) -> None:
    page = show(bad=3, manifest="out/artifacts/RadiographExampleGen/manifest/1")
    assert "bad images left out: 3" in page.text
    assert (
        "WARNING left out, with reasons: "
        "out/artifacts/RadiographExampleGen/manifest/1/left_out.csv" in page.lines
    )


def test_deviations_have_a_line_a_class(show: Callable[..., Page]) -> None:
    counts = [
        ("COVID-19", "train", 11, 10),
        ("COVID-19", "eval", 5, 6),
        ("Viral Pneumonia", "test", 4, 5),
    ]
    keys = ("class_name", "split", "wanted", "got")
    deviations = [dict(zip(keys, row, strict=True)) | {"reason": REASON} for row in counts]
    warnings = [line for line in show(deviations=deviations).lines if "WARNING" in line]
    assert warnings == [
        f"WARNING split: class COVID-19: train 10 instead of 11, eval 6 instead of 5: {REASON}",
        f"WARNING split: class Viral Pneumonia: test 5 instead of 4: {REASON}",
    ]


@pytest.mark.parametrize("name", ["[bold]", "[/]", "a[0]b", ":x:", "[red]x[/red]", "\\[x]"])
def test_brackets_in_names_and_paths_are_printed_as_they_are(
    name: str, page: Page, output: Path, example_summary: ExampleSummary
) -> None:
    folder = output / name
    summary = example_summary(folder)
    data = summary["data"]
    data["classes"][1] = f"class {name}"
    data |= {"bad": 1, "manifest": f"manifest {name}"}
    data["deviations"] = [
        {"class_name": name, "split": "eval", "wanted": 5, "got": 6, "reason": f"why {name}"}
    ]
    summary["models"]["vgg16"]["weights"] = f"w {name}"
    page.console.warn(f"of {name} beware")
    page.console.result(summary, OutputLayout(folder))

    assert page.lines[0] == f"WARNING of {name} beware"
    assert f"Split per class (COVID-19, class {name}, Viral Pneumonia)" in page.lines[1]
    assert f"WARNING left out, with reasons: manifest {name}/left_out.csv" in page.lines
    assert f"WARNING split: class {name}: eval 6 instead of 5: why {name}" in page.lines
    assert page.rows[0][1] == f"w {name}"
    assert page.rows[0][-1] == f"{folder}/serving/vgg16/17"
    assert f"Champion: vgg16 → {folder}/serving/champion/18" in page.lines
    assert page.lines[-1].endswith(f"details in {OutputLayout(folder).summary}")


def test_predictions_name_files_and_classes_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    name = "chest [copy] :x:.png"
    print_results([Prediction(Path(name), "[/ill]", {"[/ill]": 0.75, "well": 0.25})])
    row = next(line for line in capsys.readouterr().out.splitlines() if name in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [name, "[/ill]", "0.750", "0.250"]
