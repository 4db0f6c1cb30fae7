"""Files of artifacts that are cut, lost or changed: named, with their node, and set aside."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import InputError
from pipeline.config.layout import OutputLayout
from pipeline.local.folder.damage import name_damage
from pipeline.local.folder.inventory import FileState, find_damage, read_inventory, update_inventory
from pipeline.local.folder.opening import open_folder
from pipeline.local.folder.vanishing import damaged_files

TRANSFORM = "Transform/transformed_examples/2"
Harm = Callable[[Path], object]
CUT: list[tuple[Harm, str]] = [
    (lambda file: file.write_bytes(b"more"), "has 4 bytes instead of 11"),
    (lambda file: file.write_bytes(b""), "has 0 bytes instead of 11"),
    (lambda file: file.unlink(), "can't be found (No such file or directory)"),
]


def a_file(layout: OutputLayout) -> Path:
    """That may be harmed."""
    return layout.artifacts / TRANSFORM / "Split-train" / "data.gz"


@pytest.mark.parametrize(("harm", "how"), CUT)
def test_a_damaged_artifact_is_set_aside_before_the_run_with_a_warning(
    layout: OutputLayout, warnings: list[str], harm: Harm, how: str
) -> None:
    harm(a_file(layout))
    open_folder(layout, warnings.append)
    aside = layout.damaged / TRANSFORM
    assert warnings == [
        f"artifacts/{TRANSFORM}, made by Transform, is damaged: Split-train/data.gz {how}. "
        f"It is now in {aside}; a run that needs it makes it again."
    ]
    # TFX looks whether the place is there, and nothing else.
    assert not (layout.artifacts / TRANSFORM).exists()
    assert (aside / "Split-train" / "rest.gz").read_bytes() == b"the rest"
    assert (layout.artifacts / "RadiographExampleGen/examples/1/data.gz").exists()
    open_folder(layout, warnings.append)
    assert len(warnings) == 1


def test_what_was_set_aside_before_stays_there(layout: OutputLayout, warnings: list[str]) -> None:
    old = layout.damaged / TRANSFORM
    old.mkdir(parents=True)
    a_file(layout).unlink()
    open_folder(layout, warnings.append)
    assert (layout.damaged / f"{TRANSFORM}-2" / "Split-train" / "rest.gz").exists()
    assert list(old.iterdir()) == []


def test_a_folder_deleted_as_a_whole_is_no_damage(
    layout: OutputLayout, warnings: list[str]
) -> None:
    shutil.rmtree(layout.artifacts / TRANSFORM)
    open_folder(layout, warnings.append)
    assert warnings == []
    assert not layout.damaged.exists()


def test_numbers_that_are_given_out_again_are_of_other_files(
    layout: OutputLayout, warnings: list[str]
) -> None:
    """Who starts over removes the artifacts and the store, and leaves the rest."""
    shutil.rmtree(layout.artifacts)
    layout.metadata.unlink()
    open_folder(layout, warnings.append)
    assert warnings == []
    assert read_inventory(layout) == {}


def test_where_a_node_fails_contents_are_compared_too(
    layout: OutputLayout, warnings: list[str]
) -> None:
    uris = [str(layout.artifacts / folder) for folder in read_inventory(layout)]
    assert damaged_files(layout, uris, "Report") is None
    a_file(layout).write_bytes(b"MORE images")
    open_folder(layout, warnings.append)
    assert warnings == []
    # Of another run, say.
    assert damaged_files(layout, [u for u in uris if "Transform" not in u], "Report") is None
    found = damaged_files(layout, uris, "Report")
    assert isinstance(found, InputError)
    assert str(found) == (
        f"output: Report failed on damaged files. artifacts/{TRANSFORM}, made by Transform, is "
        "damaged: Split-train/data.gz has another content than was written. It is now in "
        f"{layout.damaged / TRANSFORM}. Run again: what is missing is made again, and all that "
        "depends on it."
    )
    assert not (layout.artifacts / TRANSFORM).exists()


def test_what_only_reads_names_it_and_leaves_it(layout: OutputLayout) -> None:
    uris = [str(layout.artifacts / TRANSFORM)]
    assert name_damage(layout, uris) is None
    a_file(layout).write_bytes(b"MORE images")
    assert str(name_damage(layout, uris)) == (
        f"output: artifacts/{TRANSFORM}, made by Transform, is damaged: Split-train/data.gz has "
        "another content than was written. To have all that is damaged made again: "
        f"cxr cache --output '{layout.root}' --mend, and then cxr run."
    )
    assert a_file(layout).exists()


def test_of_many_files_three_are_named(layout: OutputLayout, warnings: list[str]) -> None:
    folder = layout.artifacts / "Report/report/9"
    folder.mkdir(parents=True)
    for number in range(5):
        (folder / f"{number}.svg").write_text("figure")
    update_inventory(layout, [str(folder)])
    for number in range(5):
        (folder / f"{number}.svg").write_text("")
    found = damaged_files(layout, [str(folder)], "Report")
    assert "2.svg has 0 bytes instead of 6; 2 more files." in str(found)


def test_the_inventory_knows_each_file_of_what_is_there(layout: OutputLayout) -> None:
    before = read_inventory(layout)
    content = b"more images"
    state = FileState(len(content), hashlib.sha256(content).hexdigest())
    assert before[TRANSFORM]["Split-train/data.gz"] == state
    assert set(before) == {
        "RadiographExampleGen/examples/1",
        TRANSFORM,
        "Pusher.tiny/pushed_model/3",
    }
    shutil.rmtree(layout.artifacts / TRANSFORM)
    value = layout.artifacts / "SchemaGate/verdict/12/value"
    value.parent.mkdir(parents=True)
    value.write_text("1")
    # What lies elsewhere is nobody's to take down.
    update_inventory(layout, [str(value), "/weights/a.h5", f"{layout.artifacts}/../x/y/1"])
    after = read_inventory(layout)
    assert set(after) == set(before) - {TRANSFORM} | {"SchemaGate/verdict/12"}
    assert after["SchemaGate/verdict/12"]["value"].size == 1


def test_a_file_that_is_there_already_keeps_its_first_state(layout: OutputLayout) -> None:
    """Or a run that takes a damaged artifact from the cache would call it whole."""
    before = read_inventory(layout)
    a_file(layout).write_bytes(b"x")
    update_inventory(layout, [str(layout.artifacts / TRANSFORM)])
    assert read_inventory(layout) == before
    (damage,) = find_damage(layout, before, before, contents=False)
    assert (damage.node, damage.file) == ("Transform", "Split-train/data.gz")


@pytest.mark.parametrize("text", ["", "[]", '{"A/b/1": 3}', '{"A/b/1": {"c": [1]}}'])
def test_a_damaged_inventory_is_refused_with_what_to_do(
    layout: OutputLayout, warnings: list[str], text: str
) -> None:
    layout.inventory.write_text(text)
    with pytest.raises(InputError, match=r"inventory\.json is damaged .*Remove it"):
        open_folder(layout, warnings.append)
    layout.inventory.unlink()
    open_folder(layout, warnings.append)


def test_an_inventory_cannot_lead_out_of_the_folder(
    layout: OutputLayout, warnings: list[str]
) -> None:
    victim = layout.root / "serving"
    victim.mkdir()
    content = json.loads(layout.inventory.read_text())
    content["../serving/1"] = {"x": [1, ""]}
    content["../../1"] = {"x": [1, ""]}
    layout.inventory.write_text(json.dumps(content))
    open_folder(layout, warnings.append)
    assert victim.exists()
    assert set(read_inventory(layout)) == set(content) - {"../serving/1", "../../1"}
