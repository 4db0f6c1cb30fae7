"""Mistakes in a configuration that would otherwise go unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import InputError
from pipeline.cli import _without_tildes
from pipeline.config.pipeline_config import check_inputs, load_config


def _load(folder: Path, text: str) -> object:
    file = folder / "c.yaml"
    file.write_text(text)
    return load_config(file, overrides={"data": {"dir": folder}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "gate:\n  min_accuracy: 0.99\nseed: 1\ngate:\n  min_wilson_lower: 0.8\n",
            "'gate' stands in line 1 and again in line 4",
        ),
        (
            "gate:\n  min_accuracy: 0.99\n  min_accuracy: 0.9\n",
            "'min_accuracy' stands in line 2 and again in line 3",
        ),
        ("gate: {min_accuracy: 0.9, min_accuracy: 0.8}", "line 1 and again in line 1"),
        ("data:\n  classes:\n  - {name: a, name: b, folders: [c]}\n", "'name' stands in line 3"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        _load(tmp_path, text)


def test_one_key_in_several_blocks_is_none_twice(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        "training_overrides:\n  vgg16: {epochs: 3}\n  xception: {epochs: 4}\n",
    )
    assert config.training_overrides["xception"] == {"epochs": 4}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["run [2026-11]", "a*", "what?"])
@pytest.mark.parametrize("field", ["data.dir", "output"])
def test_a_folder_that_beam_takes_for_a_pattern_is_refused(
    tmp_path: Path, name: str, field: str
) -> None:
    odd = tmp_path / name
    odd.mkdir()
    folders = {"data.dir": tmp_path, "output": tmp_path / "out"} | {field: odd}
    config = load_config(
        overrides={"data": {"dir": folders["data.dir"]}, "output": folders["output"]}
    )
    with pytest.raises(InputError, match=rf"{field}: .*would take for a pattern"):
        check_inputs(config)


def test_a_folder_with_other_signs_is_fine(tmp_path: Path) -> None:
    fine = tmp_path / "run (2026-11), ä & b] {x}"
    fine.mkdir()
    check_inputs(load_config(overrides={"data": {"dir": fine}, "output": fine}))


def test_a_tilde_is_expanded_where_no_shell_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")  # tree-check: ok
    given = ["run", "--output=~/x", "--data=~", "--seed=~1", "~/y", "--name=a~b", "-o=~/x"]
    assert _without_tildes(given) == [
        "run",
        "--output=/home/me/x",  # tree-check: ok
        "--data=/home/me",  # tree-check: ok
        "--seed=~1",
        "~/y",
        "--name=a~b",
        "-o=~/x",
    ]
