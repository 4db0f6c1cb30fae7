"""The executor on small folders: what is written, what is left out, what stops it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from common.errors import InputError
from components.radiograph_example_gen import writing
from components.radiograph_example_gen.discovery import Kind
from components.radiograph_example_gen.manifest import read_left_out, read_manifest, read_summary
from models.deep_images import scaled
from schema import contract

RunExecutor = Callable[..., Any]


def kinds(run: Any) -> dict[str, Kind]:
    return {item.path: item.kind for item in read_left_out(run.manifest.uri)}


def records(run: Any, split: str) -> list[Any]:
    files = sorted(map(str, Path(run.examples.uri, f"Split-{split}").iterdir()))
    data = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return [tf.train.Example.FromString(item) for item in data.as_numpy_iterator()]


def test_records_hold_exactly_the_contract(tree: Any, run_executor: RunExecutor) -> None:
    header = "file,label,patient_id,sex,age,age_group,view,source,licence"
    row = ["Normal/0.png", "NORMAL", "p1", "F", "41.5", "adult", "PA", "here", "CC0"]
    tree.metadata([row], header)
    run = run_executor(tree.root)
    found = {}
    for split in contract.SPLITS:
        for example in records(run, split):
            features = example.features.feature
            found[features[contract.PATH].bytes_list.value[0].decode()] = features
    assert len(found) == 24
    always = {
        contract.IMAGE, contract.LABEL, contract.LABEL_TEXT, contract.PATH, contract.SHA256,
        contract.WIDTH, contract.HEIGHT, contract.BYTES, contract.MEAN, contract.STD,
        contract.ENTROPY, contract.GROUP, *contract.METADATA_TEXT_COLUMNS.values(),
    }  # fmt: skip
    assert set(found["Normal/1.png"]) == always
    assert set(found["Normal/0.png"]) == always | {contract.AGE}
    assert found["Normal/0.png"][contract.AGE].float_list.value == [41.5]
    assert found["Normal/0.png"][contract.PATIENT].bytes_list.value == [b"p1"]
    assert found["Normal/1.png"][contract.PATIENT].bytes_list.value == [b"unknown"]
    assert found["Normal/1.png"][contract.LABEL].int64_list.value == [1]
    content = (tree.root / "Normal/1.png").read_bytes()
    assert found["Normal/1.png"][contract.IMAGE].bytes_list.value == [content]
    assert found["Normal/1.png"][contract.BYTES].int64_list.value == [len(content)]


def test_images_of_one_patient_share_a_group_that_names_nobody(
    tree: Any, run_executor: RunExecutor
) -> None:
    # p1 and p2 are one: a copy of an image of p1's carries the other's name.
    copy = tree.root / "Normal" / "copy.png"
    copy.write_bytes((tree.root / "Normal" / "0.png").read_bytes())
    rows = [("Normal/0.png", "p1"), ("Normal/copy.png", "p2"), ("Normal/1.png", "p1")]
    tree.metadata([*rows, ("Normal/2.png", "p2"), ("Normal/3.png", "p3")], "file,patient_id")
    for seed in (0, 1):
        run = run_executor(tree.root, seed=seed)
        group, digest = {}, {}
        for split in contract.SPLITS:
            for example in records(run, split):
                fields = example.features.feature
                (path,) = fields[contract.PATH].bytes_list.value
                (group[path],) = fields[contract.GROUP].bytes_list.value
                (digest[path],) = fields[contract.SHA256].bytes_list.value
        together = {b"Normal/0.png", b"Normal/1.png", b"Normal/2.png"}
        assert together < group.keys()
        assert {group[path] for path in together} == {min(digest[path] for path in together)}
        assert all(group[path] == digest[path] for path in group.keys() - together)


def test_further_columns_are_features_and_the_others_are_not(
    tree: Any, run_executor: RunExecutor
) -> None:
    tree.metadata(
        [("Normal/0.png", " A ", "CC0", "Jo"), ("Normal/1.png", "", "", "")],
        "file,Scanner,licence,nurse",
    )
    run = run_executor(tree.root, columns=["SCANNER", "licence"])
    found = {
        example.features.feature[contract.PATH].bytes_list.value[0].decode(): {
            name: value.bytes_list.value[0].decode()
            for name, value in example.features.feature.items()
            if name.startswith(contract.COLUMN_PREFIX)
        }
        for split in contract.SPLITS
        for example in records(run, split)
    }
    nothing = {"metadata/scanner": contract.UNKNOWN, "metadata/licence": contract.UNKNOWN}
    assert found.pop("Normal/0.png") == {"metadata/scanner": "A", "metadata/licence": "CC0"}
    assert len(found) == 23
    # With a row, and without one.
    assert all(features == nothing for features in found.values())


def test_artifacts(tree: Any, run_executor: RunExecutor) -> None:
    run = run_executor(tree.root)
    assert run.examples.split_names == '["train", "eval", "test"]'
    assert run.examples.get_string_custom_property("file_format") == "tfrecords_gzip"
    assert run.examples.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
    summary = read_summary(run.manifest.uri)
    # 8 a class: test ⌊1.6⌋ = 1, eval ⌊2.1 + ½⌋ = 2, train 5.
    assert summary["split_totals"] == {"train": 15, "eval": 6, "test": 3}
    assert run.manifest.get_string_custom_property("digest") == summary["digest"]
    assert run.manifest.get_int_custom_property("patients_in_two_splits") == 0
    assert [entry.file for entry in read_manifest(run.manifest.uri)] == sorted(
        f"{folder}/{index}.png"
        for folder in ("COVID-19", "Normal", "Viral Pneumonia")
        for index in range(8)
    )
    assert sorted(path.name for path in Path(run.examples.uri).iterdir()) == [
        "Split-eval", "Split-test", "Split-train",
    ]  # fmt: skip


def test_sources_and_licences_are_counted_and_change_nothing_else(
    tree: Any, run_executor: RunExecutor
) -> None:
    # One more than the other classes have: what is down-sampled isn't counted.
    tree.fill("Normal", 9, 100)
    rows = [(f"Normal/{index}.png", "here", "CC0" if index else "") for index in range(9)]
    tree.metadata([row[:2] for row in rows], "file,source")
    plain = run_executor(tree.root)
    tree.metadata(rows, "file,source,licence")
    run = run_executor(tree.root)
    summary, before = read_summary(run.manifest.uri), read_summary(plain.manifest.uri)
    used = {entry.file for entry in read_manifest(run.manifest.uri)}
    unlicensed = int("Normal/0.png" in used)
    rest = {name: {contract.UNKNOWN: 8} for name in ("COVID-19", "Viral Pneumonia")}
    licences = {"CC0": 8 - unlicensed} | ({contract.UNKNOWN: 1} if unlicensed else {})
    assert summary["sources"] == rest | {"Normal": {"here": 8}}
    assert summary["licences"] == rest | {"Normal": licences}
    assert before == summary | {"licences": rest | {"Normal": {contract.UNKNOWN: 8}}}
    for split in contract.SPLITS:
        assert records(run, split) == records(plain, split)


def test_same_input_gives_the_same_bytes(tree: Any, run_executor: RunExecutor) -> None:
    # Beam hands the images over in any order.
    runs = [run_executor(tree.root, beam=beam) for beam in (True, False)]
    for name in ("examples", "manifest"):
        roots = [Path(getattr(run, name).uri) for run in runs]
        files = [sorted(p.relative_to(r) for p in r.rglob("*") if p.is_file()) for r in roots]
        assert files[0] == files[1]
        assert files[0]
        for file in files[0]:
            assert (roots[0] / file).read_bytes() == (roots[1] / file).read_bytes()


def test_renaming_files_keeps_the_split(tree: Any, run_executor: RunExecutor) -> None:
    before = run_executor(tree.root)
    for index, path in enumerate(sorted(tree.root.rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"renamed{index}.PNG"))
    after = run_executor(tree.root)
    assert read_summary(before.manifest.uri)["digest"] == read_summary(after.manifest.uri)["digest"]


def test_shards(tree: Any, run_executor: RunExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = records(run_executor(tree.root), "train")
    monkeypatch.setattr(writing.plan_shards, "__defaults__", (4000,))
    run = run_executor(tree.root)
    names = sorted(path.name for path in Path(run.examples.uri, "Split-train").iterdir())
    assert len(names) > 1
    assert names[0] == f"data_tfrecord-00000-of-{len(names):05d}.gz"
    assert records(run, "train") == whole


def test_patients_stay_together(tree: Any, run_executor: RunExecutor) -> None:
    rows = [(f"COVID-19/{index}.png", "", f"p{index // 2}") for index in range(4)]
    tree.metadata([*rows, ("Normal/0.png", "", "p0")])
    run = run_executor(tree.root)
    splits: dict[str, set[str]] = {}
    for entry in read_manifest(run.manifest.uri):
        splits.setdefault(entry.patient, set()).add(entry.split)
    assert len(splits["p0"]) == len(splits["p1"]) == 1
    assert read_summary(run.manifest.uri)["images_without_patient"] == 19


def test_few_bad_images_are_left_out(tree: Any, run_executor: RunExecutor) -> None:
    (tree.root / "Normal/bad.png").write_bytes(b"text")
    (tree.root / "Normal/readme.txt").write_bytes(b"text")
    run = run_executor(tree.root)
    assert kinds(run) == {"Normal/bad.png": Kind.BAD, "Normal/readme.txt": Kind.OTHER_FILE}
    assert read_summary(run.manifest.uri)["bad"] == 1


def test_too_many_bad_images_stop_before_anything_is_written(
    tree: Any, run_executor: RunExecutor, tmp_path: Path
) -> None:
    for index in range(12):
        (tree.root / f"Normal/bad{index:02d}.png").write_bytes(b"")
    stopped = r"12 of 36 images are unusable, more than data\.max_bad_fraction = 0\.05"
    with pytest.raises(InputError, match=stopped) as caught:
        run_executor(tree.root)
    assert "Normal/bad09.png: the file is empty" in str(caught.value)
    assert "bad10" not in str(caught.value)
    assert "and 2 more" in str(caught.value)
    assert not [path for path in (tmp_path / "run1").rglob("*") if path.is_file()]
    run_executor(tree.root, limits={"max_bad_fraction": 0.5})


def test_every_kind_of_bad_file_at_once(
    tree: Any, run_executor: RunExecutor, claim_png: Callable[[int, int], bytes], tmp_path: Path
) -> None:
    folder = tree.root / "Normal"
    content = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(content[:-20])
    (folder / "huge.png").write_bytes(claim_png(100_000, 100_000))
    (folder / "dir.png").mkdir()
    (folder / "dangling.png").symlink_to(folder / "gone")
    (tmp_path / "outside.png").write_bytes(content)
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    run = run_executor(tree.root, limits={"max_bad_fraction": 0.2})
    assert set(kinds(run)) == {
        f"Normal/{name}.png" for name in ("cut", "huge", "dir", "dangling", "link")
    }
    assert set(kinds(run).values()) == {Kind.BAD}


def test_odd_pngs_among_good_ones(
    tree: Any, run_executor: RunExecutor, make_png: Callable[..., bytes]
) -> None:
    folder = tree.root / "Normal"
    (folder / "dot.png").write_bytes(make_png(1, 1))
    odd = {"deep": "I;16", "palette": "P", "alpha": "RGBA"}
    for index, (name, mode) in enumerate(odd.items()):
        # They take the place of good ones, so that the classes stay equal and all are drawn.
        (folder / f"{index}.png").unlink()
        (folder / f"{name}.png").write_bytes(make_png(500 + index, 40, mode))
    run = run_executor(tree.root)
    left_out = read_left_out(run.manifest.uri)
    assert [(item.path, item.kind) for item in left_out] == [("Normal/dot.png", Kind.BAD)]
    assert "1×1 pixels" in left_out[0].reason
    used = {entry.file for entry in read_manifest(run.manifest.uri)}
    assert {f"Normal/{name}.png" for name in odd} <= used


def test_unscaled_sixteen_bits_are_left_out(
    tree: Any, run_executor: RunExecutor, make_png: Callable[..., bytes]
) -> None:
    (tree.root / "Normal/dark.png").write_bytes(make_png(1, 40, "I;16", 16))
    run = run_executor(tree.root)
    assert kinds(run) == {"Normal/dark.png": Kind.BAD}
    assert "at most 12 of 16 bits" in read_left_out(run.manifest.uri)[0].reason
    assert read_summary(run.manifest.uri)["bad"] == 1


def test_unscaled_sixteen_bits_are_scaled_where_their_number_is_given(
    tree: Any, run_executor: RunExecutor, make_png: Callable[..., bytes]
) -> None:
    content = make_png(1, 40, "I;16", 16)
    (tree.root / "Normal/7.png").write_bytes(content)
    run = run_executor(tree.root, limits={"bits_stored": 12})
    assert kinds(run) == {}
    features = next(
        example.features.feature
        for split in contract.SPLITS
        for example in records(run, split)
        if example.features.feature[contract.PATH].bytes_list.value == [b"Normal/7.png"]
    )
    assert features[contract.IMAGE].bytes_list.value == [scaled(content, 12)]
    assert features[contract.SHA256].bytes_list.value == [
        hashlib.sha256(content).hexdigest().encode()
    ]


def test_what_is_dark_though_it_was_scaled_is_listed_with_what_to_check(
    tree: Any, run_executor: RunExecutor, make_png: Callable[..., bytes]
) -> None:
    (tree.root / "Normal/dark.png").write_bytes(make_png(1, 40, "I;16", 16))
    run = run_executor(tree.root, limits={"bits_stored": 14})
    assert kinds(run) == {"Normal/dark.png": Kind.BAD}
    reason = read_left_out(run.manifest.uri)[0].reason
    assert "dark even after bits_stored = 14 has scaled it" in reason
    assert "12 would hold these values" in reason


def test_duplicate_in_a_class_is_used_once(tree: Any, run_executor: RunExecutor) -> None:
    shutil.copy(tree.root / "Normal/3.png", tree.root / "Normal/0copy.png")
    tree.metadata([("Normal/3.png", "", "p")])
    run = run_executor(tree.root)
    # The copy has the smaller name, the original has the metadata.
    assert kinds(run) == {"Normal/0copy.png": Kind.DUPLICATE}
    assert read_summary(run.manifest.uri)["duplicates_dropped"] == 1


def test_copies_link_their_patients(tree: Any, run_executor: RunExecutor) -> None:
    shutil.copy(tree.root / "Normal/3.png", tree.root / "Normal/copy.png")
    rows = [("Normal/3.png", "", "p"), ("Normal/copy.png", "", "q"), ("Normal/4.png", "", "q")]
    tree.metadata(rows)
    for seed in range(2):
        entries = read_manifest(run_executor(tree.root, seed=seed).manifest.uri)
        splits = {e.split for e in entries if e.file in {"Normal/3.png", "Normal/4.png"}}
        assert len(splits) == 1


def test_image_in_two_classes_is_left_out(tree: Any, run_executor: RunExecutor) -> None:
    shutil.copy(tree.root / "Normal/3.png", tree.root / "COVID-19/x.png")
    run = run_executor(tree.root, limits={"max_bad_fraction": 0.1})
    bad = {path for path, kind in kinds(run).items() if kind is Kind.BAD}
    assert bad == {"Normal/3.png", "COVID-19/x.png"}
    with pytest.raises(InputError, match="contradictory label"):
        run_executor(tree.root)


def test_label_that_contradicts_the_folder(tree: Any, run_executor: RunExecutor) -> None:
    tree.metadata([("Normal/3.png", "Covid", ""), ("COVID-19/1.png", "covid", "")])
    run = run_executor(tree.root)
    assert {p for p, kind in kinds(run).items() if kind is Kind.BAD} == {"Normal/3.png"}
    # The other classes give up one image each to stay balanced.
    assert list(kinds(run).values()).count(Kind.DOWN_SAMPLED) == 2


def test_metadata_rows_are_listed(tree: Any, run_executor: RunExecutor) -> None:
    row = ("Normal/3.png", "", "p")
    tree.metadata([row, row, ("Normal/gone.png", "", "")])
    assert kinds(run_executor(tree.root)) == {
        "Normal/3.png": Kind.METADATA,
        "Normal/gone.png": Kind.ROW_WITHOUT_IMAGE,
    }


def test_contradicting_rows_stop(tree: Any, run_executor: RunExecutor) -> None:
    tree.metadata([("Normal/3.png", "", "p"), ("Normal/3.png", "", "q")])
    with pytest.raises(InputError, match="lines 2 and 3"):
        run_executor(tree.root)


def test_class_with_too_few_images_stops(tree: Any, run_executor: RunExecutor) -> None:
    for index in range(4):
        (tree.root / f"Normal/{index}.png").unlink()
    with pytest.raises(InputError, match="'Normal' has 4 usable images"):
        run_executor(tree.root)


def test_custom_classes_and_layout(tree: Any, run_executor: RunExecutor) -> None:
    (tree.root / "Normal").rename(tree.root / "healthy")
    images = tree.root / "COVID-19/images"
    images.mkdir()
    for path in (tree.root / "COVID-19").glob("*.png"):
        path.rename(images / path.name.upper())
    classes = [
        {"name": "well", "folders": ["Healthy"]},
        {"name": "ill", "folders": ["covid-19", "viral pneumonia"]},
    ]
    run = run_executor(tree.root, classes=classes)
    summary = read_summary(run.manifest.uri)
    assert summary["images_found"] == {"well": 8, "ill": 16}
    assert summary["images_per_class"] == 8
    assert summary["left_out"] == {"down-sampled": 8}


def test_file_changed_between_the_passes(
    tree: Any, run_executor: RunExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.radiograph_example_gen import executor

    planned = writing.plan_shards

    def sabotage(*args: Any) -> Any:
        (tree.root / "Normal/3.png").write_bytes(b"changed")
        return planned(*args)

    monkeypatch.setattr(executor, "plan_shards", sabotage)
    with pytest.raises(InputError, match=r"Normal/3\.png was changed"):
        run_executor(tree.root)
