"""The command line: start-up, exit codes, and the small commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.errors import InputError
from pipeline import cli
from pipeline.config.pipeline_config import PipelineConfig, load_config
from pipeline.doctor import Check, Status
from pipeline.local.exit_codes import EXIT_INTERRUPTED
from tests.command_line import cxr

HEAVY = ("tensorflow", "tfx", "keras", "apache_beam", "numpy", "PIL", "openvino")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["predict", "--help"], ["export-openvino", "--help"]],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from pipeline import cli\n"
        f"sys.argv = ['cxr', *{arguments!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print('loaded:', [m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "Usage" in ran.stdout
    assert ran.stdout.rstrip().endswith("loaded: []")


def test_a_wrong_configuration_exits_with_2_without_starting_anything(tmp_path: Path) -> None:
    """As a process of its own; the other tests call the command in this one."""
    said = ["run", "--data", str(tmp_path), "--min-accuracy", "90", "--output", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *said],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == cli.EXIT_INPUT
    assert "gate.min_accuracy" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_data_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cxr(monkeypatch, "run") == cli.EXIT_INPUT
    assert "data" in capsys.readouterr().err


class FakeRun:
    """In the place of `pipeline.local_runner.run`: keeps the configuration, runs nothing."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[PipelineConfig], Any]
    ) -> None:
        self._monkeypatch = monkeypatch
        self.answer = answer
        self.configs: list[PipelineConfig] = []
        monkeypatch.setattr("pipeline.local_runner.run", self._run)

    def _run(self, config: PipelineConfig, listener: object) -> Any:
        self.configs.append(config)
        return self.answer(config)

    def cxr(self, *arguments: str) -> int:
        """`cxr run` with these arguments; returns the exit code."""
        self._monkeypatch.setattr(sys, "argv", ["cxr", "run", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0)


@pytest.fixture
def fake_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, example_summary: Callable[..., dict[str, Any]]
) -> FakeRun:
    """A run that pushes, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return FakeRun(monkeypatch, lambda config: example_summary(config.output))


def test_each_flag_of_run_sets_its_field(fake_run: FakeRun) -> None:
    code = fake_run.cxr(
        *("--data", "my images", "--metadata", "table.csv", "--weights-dir", "my weights"),
        *("--output", "my output", "--backbones", "xception, vgg16", "--preset", "paper"),
        *("--seed", "7", "--min-accuracy", "0.25"),
    )
    assert code == cli.EXIT_PUSHED
    (config,) = fake_run.configs
    assert config.data.dir == Path("my images")
    assert config.data.metadata == Path("table.csv")
    assert config.weights_dir == Path("my weights")
    assert config.output == Path("my output")
    assert config.backbones == ("xception", "vgg16")
    assert config.preset == "paper"
    assert config.paper_recipe
    assert config.seed == 7
    assert config.gate.min_accuracy == 0.25


@pytest.mark.parametrize(
    ("flags", "mode"), [((), "off"), (("--tune",), "search"), (("--tuned",), "reuse")]
)
def test_tuning_is_a_flag_that_leaves_its_fields(
    flags: tuple[str, ...], mode: str, fake_run: FakeRun, tmp_path: Path
) -> None:
    own = {"data": {"dir": "images"}, "tuning": {"trials": 7}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    assert fake_run.cxr("--config", "own.yaml", *flags) == cli.EXIT_PUSHED
    (config,) = fake_run.configs
    assert (config.tuning.mode, config.tuning.trials) == (mode, 7)


def test_searching_and_reusing_at_once_is_refused(
    fake_run: FakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fake_run.cxr("--data", "images", "--tune", "--tuned") == cli.EXIT_INPUT
    assert "either --tune or --tuned" in capsys.readouterr().err
    assert fake_run.configs == []


def test_run_without_flags_takes_the_defaults(fake_run: FakeRun) -> None:
    assert fake_run.cxr("--data", "images") == cli.EXIT_PUSHED
    assert fake_run.configs == [load_config(overrides={"data": {"dir": Path("images")}})]
    assert fake_run.configs[0].backbones == ("vgg16", "xception", "densenet121")
    assert fake_run.configs[0].gate.min_accuracy == 0.90


def test_flags_win_over_the_file_and_only_where_they_are_given(
    fake_run: FakeRun, tmp_path: Path
) -> None:
    own = {
        "preset": "paper",
        "data": {"dir": "images", "metadata": "table.csv"},
        "output": "results",
        "seed": 5,
        "backbones": ["vgg16"],
        "gate": {"min_accuracy": 0.5, "against_baseline": False},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    # Zero is a value, not the absence of one.
    flags = ("--seed", "0", "--min-accuracy", "0", "--preset", "demo", "--data", "others")
    assert fake_run.cxr("--config", "own.yaml", *flags) == cli.EXIT_PUSHED
    (config,) = fake_run.configs
    assert (config.seed, config.gate.min_accuracy, config.preset) == (0, 0.0, "demo")
    assert config.data.dir == Path("others")
    assert config.data.metadata == tmp_path / "table.csv"
    assert config.output == tmp_path / "results"
    assert config.backbones == ("vgg16",)
    assert config.gate.against_baseline is False


@pytest.mark.parametrize("names", ["", ","])
def test_no_backbones_are_not_all_backbones(
    names: str, fake_run: FakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fake_run.cxr("--data", "images", "--backbones", names) == cli.EXIT_INPUT
    assert "backbones: at least one" in capsys.readouterr().err
    assert fake_run.configs == []


def test_predict_names_a_damaged_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    version = tmp_path / "champion" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"no model")
    (tmp_path / "a.png").write_bytes(b"x")
    said: list[str | Path] = ["predict", tmp_path / "a.png", "--model-dir", tmp_path]
    assert cxr(monkeypatch, *said) == cli.EXIT_INPUT
    printed = capfd.readouterr().err
    assert f"{version} is no model that can be served" in printed
    assert "Traceback" not in printed


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (lambda _: _raise(InputError("data.dir: no images")), cli.EXIT_INPUT, "data.dir: no"),
        (lambda _: _raise(RuntimeError("Trainer failed")), cli.EXIT_ERROR, "logs/run.log"),
        (lambda _: _raise(OSError("disk full")), cli.EXIT_ERROR, "disk full"),
        (lambda _: None, cli.EXIT_ERROR, "ran nothing"),
    ],
)
def test_what_goes_wrong_in_a_run_is_one_line_and_an_exit_code(
    answer: Callable[[PipelineConfig], Any],
    code: int,
    said: str,
    fake_run: FakeRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_run.answer = answer
    assert fake_run.cxr("--data", "images") == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_run_that_blesses_none_exits_with_3(
    fake_run: FakeRun,
    example_summary: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def none_blessed(config: PipelineConfig) -> dict[str, Any]:
        summary = example_summary(config.output)
        del summary["models"]["vgg16"]
        return summary | {"champion": None, "champion_pushed_to": None}

    fake_run.answer = none_blessed
    assert fake_run.cxr("--data", "images") == cli.EXIT_NONE_BLESSED
    assert "No model was blessed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("blessed", "said"),
    [
        (True, "The audit's limits are exceeded, so no model was pushed."),
        # Without the audit, none would be pushed either.
        (False, "No model was blessed, so none was pushed."),
    ],
)
def test_a_run_that_the_audit_stops_exits_with_3(
    blessed: bool,
    said: str,
    fake_run: FakeRun,
    example_summary: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(config: PipelineConfig) -> dict[str, Any]:
        summary = example_summary(config.output)
        for model in summary["models"].values():
            model.update(blessed=model["blessed"] and blessed, pushed_to=None)
        audit = summary["audit"] | {"passed": False, "failures": ["a phrase (audit.a_field)"]}
        return summary | {"champion_pushed_to": None, "audit": audit}

    fake_run.answer = stopped
    assert fake_run.cxr("--data", "images") == cli.EXIT_NONE_BLESSED
    out = capsys.readouterr().out
    assert said in out
    assert "Nothing is pushed: a phrase (audit.a_field)." in out


def test_an_interrupt_ends_with_its_code_and_without_a_trace(
    fake_run: FakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: PipelineConfig) -> None:
        raise KeyboardInterrupt

    fake_run.answer = interrupted
    assert fake_run.cxr("--data", "images") == EXIT_INTERRUPTED
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("status", "code"), [("ok", cli.EXIT_PUSHED), ("warn", cli.EXIT_PUSHED), ("fail", 1)]
)
def test_the_doctor_fails_only_where_a_run_cannot_be(
    status: Status,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []

    def diagnose(weights_dir: Path | None) -> list[Check]:
        asked.append(weights_dir)
        return [Check("Memory", "ok", "8 GiB"), Check("Disk", status, "2 GiB", "Free some.")]

    monkeypatch.setattr("pipeline.doctor.diagnose", diagnose)
    monkeypatch.setattr(sys, "argv", ["cxr", "doctor", "--weights-dir", "somewhere"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert int(stopped.value.code or 0) == code
    assert asked == [Path("somewhere")]
    assert "Disk: Free some." in capsys.readouterr().out


def test_phantoms_are_made_and_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "phantoms"
    assert cxr(monkeypatch, "phantoms", "--out", out, "--per-class", "2,3,1", "--size", "64") == 0
    assert "not medical data" in capsys.readouterr().out
    assert [len(list((out / c).glob("*.png"))) for c in ("COVID-19", "NORMAL")] == [2, 3]


@pytest.mark.parametrize("per_class", ["2,3", "a,b,c", "0,1,1"])
def test_phantoms_refuse_wrong_counts(
    tmp_path: Path, per_class: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str | Path] = ["phantoms", "--out", tmp_path / "p", "--per-class", per_class]
    assert cxr(monkeypatch, *said) == cli.EXIT_INPUT
    assert not (tmp_path / "p").exists()


def test_predict_without_a_pushed_model_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str | Path] = ["predict", tmp_path / "a.png", "--model-dir", tmp_path]
    assert cxr(monkeypatch, *said) == cli.EXIT_INPUT
    assert "no pushed model" in capsys.readouterr().err


def test_predict_takes_the_highest_version(tmp_path: Path) -> None:
    from serving.local_client import latest_version

    for version in ("9", "10", "notes"):
        (tmp_path / "champion" / version).mkdir(parents=True)
    assert latest_version(tmp_path, "champion").name == "10"
