"""Which places earlier versions gave to the images of spans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest

from components.radiograph_example_gen.kept_splits import read_kept, write_kept
from components.radiograph_example_gen.settings import Settings, parse_settings
from pipeline.kubeflow.object_stores import register_object_stores


@pytest.mark.parametrize("remote", [False, True])
def test_the_places_that_pushed_versions_were_made_with_are_kept(
    remote: bool, tmp_path: Path
) -> None:
    lines = {
        "vgg16/20": ["b,Normal,train,[]", 'a,Normal,train,"[""p""]"'],
        "xception/3": ["a,Normal,test,[]"],
    }
    pushed = tmp_path / "pushed"
    rule = _rule_file(tmp_path)
    for version, rows in lines.items():
        folder = pushed / version / "splits"
        folder.mkdir(parents=True)
        (folder / rule).write_text("\n".join(["sha256,class,split,patients", *rows]) + "\n")
    # Of a run without spans, half copied, or nobody's: passed over.
    (pushed / "vgg16" / "7").mkdir()
    (pushed / "vgg16" / "notes").mkdir()
    (pushed / "notes.txt").write_text("")
    place = str(pushed)
    if remote:
        register_object_stores()
        system = fsspec.filesystem("memory")
        if system.exists("/kept"):
            system.rm("/kept", recursive=True)
        system.put(f"{pushed}/", "/kept/", recursive=True)
        place = "memory://kept"
    kept = read_kept(_settings(splits_dir=place))
    # The earliest version says where an image is; whose it is, any.
    assert {sha256: each.split for sha256, each in kept.items()} == {"a": "test", "b": "train"}
    assert kept["a"].patients == {"p"}
    # Of another seed, other shares or other classes nothing is known.
    others = json.dumps([{"name": name, "folders": [name]} for name in ("COVID-19", "Other")])
    for other in ({"seed": 1}, {"test_fraction": "0.25"}, {"classes": others}):
        assert read_kept(_settings(splits_dir=place, **other)) == {}


def test_a_history_that_is_not_there_yet_keeps_nothing(tmp_path: Path) -> None:
    register_object_stores()
    for place in (f"{tmp_path}/none", "memory://nowhere/pushed"):
        assert read_kept(_settings(splits_dir=place)) == {}


def _settings(**more: Any) -> Settings:
    classes = [{"name": name, "folders": [name]} for name in ("COVID-19", "Normal")]
    return parse_settings({
        "data_dir": "/d", "classes": json.dumps(classes), "seed": 0, "limits": "{}",
        "test_fraction": "0.2", "eval_fraction": "0.3", **more,
    })  # fmt: skip


def _rule_file(tmp_path: Path) -> str:
    write_kept(str(tmp_path / "named"), _settings(), {})
    (file,) = (tmp_path / "named" / "splits").iterdir()
    return file.name
