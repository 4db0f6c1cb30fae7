"""`cxr config`: what a run would have, and where each value comes from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from common.errors import InputError
from pipeline import cli
from pipeline.config.layers import PRESETS
from pipeline.config.pipeline_config import load_config
from pipeline.config.provenance import as_yaml, resolve

ROOT = Path(__file__).parents[3]
TEXT = """\
# A comment
preset: demo
data: {dir: images}
gate:
  min_accuracy: 0.8
  slices: [{feature: sex, min_accuracy: 0.7}]
training_overrides:
  vgg16: {head: {l2: 0.5}}
beam_args: [--region=eu, --s3_secret_access_key=hunter2, --temp_location=gs://b/t]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return path


def test_each_value_says_where_it_comes_from(file: Path) -> None:
    overrides = {"seed": 4, "gate": {"min_wilson_lower": 0.6}}
    found = {each.field: each for each in resolve(file, overrides=overrides)}
    sources = {
        "preset": f"{file}:2",
        "data.dir": f"{file}:3",
        "data.min_side": "default",
        "gate.min_accuracy": f"{file}:5",
        "gate.min_wilson_lower": "command line",
        "gate.slices": f"{file}:6",
        "gate.against_baseline": "default",
        "seed": "command line",
        "allow_random_weights": "preset demo",
        "audit.min_correlation": "preset demo",
        "training.augmentations": "default",
        "training.head.l2": "default",
        "training_of.vgg16.head.l2": f"{file}:8",
        "training_of.vgg16.head.taps": "models/backbones.py",
        "training_of.xception.head.l2": "models/backbones.py",
        "training_of.xception.augmentations": "models/backbones.py",
        "training_of.xception.validation": "boundary and head",
        "training_of.xception.epochs": "default",
    }
    assert {field: found[field].source for field in sources} == sources
    assert found["training_of.vgg16.head.l2"].value == 0.5
    assert found["data.dir"].value == str(file.parent / "images")


def test_the_papers_recipe_is_named_but_for_what_is_given() -> None:
    overrides = {"data": {"dir": "x"}, "training": {"epochs": 7}}
    found = {each.field: each for each in resolve(preset="paper", overrides=overrides)}
    rate = found["training_of.vgg16.learning_rate"]
    assert rate[1:] == (1e-5, "the paper's recipe, models/backbones.py")
    assert found["training_of.vgg16.epochs"][1:] == (7, "command line")
    assert found["training_of.vgg16.boundary"][1:] == ("input", "preset paper")


@pytest.mark.parametrize("preset", PRESETS)
def test_the_values_are_those_of_the_run(preset: str, file: Path) -> None:
    values = resolve(file, preset=preset)
    whole = load_config(file, preset=preset)
    printed = yaml.safe_load(as_yaml(values))
    expected = whole.model_dump(mode="json")
    expected["beam_args"][1] = "--s3_secret_access_key=***"
    assert printed == expected
    for name in whole.backbones:
        recipe = whole.training_for(name).model_dump(mode="json")
        for field in ("boundary", "epochs", "learning_rate", "augmentations"):
            (value,) = (v.value for v in values if v.field == f"training_of.{name}.{field}")
            assert value == recipe[field]


def test_no_credential_is_shown(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ((), ("--json",)):
        with pytest.raises(SystemExit) as stopped:
            cli.app(["config", "--config", str(file), *more])
        assert not stopped.value.code
        printed = capsys.readouterr().out
        assert "hunter2" not in printed
        assert "gs://b/t" in printed
    assert json.loads(printed)["seed"] == {"value": 0, "source": "default"}


def test_what_a_run_refuses_it_refuses(file: Path) -> None:
    with pytest.raises(InputError, match=r"gate\.min_accuracy"):
        resolve(file, overrides={"gate": {"min_accuracy": 2}})
    with pytest.raises(InputError, match="preset: 'best' is unknown"):
        resolve(file, preset="best")


def test_it_imports_neither_tfx_nor_tensorflow(file: Path) -> None:
    code = (
        "import sys\nfrom pipeline import cli\n"
        "try: cli.app(sys.argv[1:])\nexcept SystemExit: pass\n"
        "sys.exit(bool({'tfx', 'tensorflow', 'apache_beam', 'keras'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "config", "--config", str(file)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
