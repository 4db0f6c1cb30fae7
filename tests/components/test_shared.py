"""What several components share: records, names of artifact types, versions, words."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import tensorflow as tf
import tfx

import components
from components.examples import read_examples
from components.judged_on import fitted_to, judged_on
from components.versions import versions


def test_examples_come_in_the_order_of_the_files_names_and_within_them(tmp_path: Path) -> None:
    for file, values in (("b.gz", [3, 4]), ("a.gz", [1, 2])):
        with tf.io.TFRecordWriter(str(tmp_path / file), "GZIP") as writer:
            for value in values:
                example = tf.train.Example()
                example.features.feature["value"].int64_list.value.append(value)
                writer.write(example.SerializeToString())
    read = [
        each.features.feature["value"].int64_list.value[0] for each in read_examples(str(tmp_path))
    ]
    assert read == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "name", ["AuditReport", "ModelCardFiles", "ReportArtifact", "SpanDriftReport", "SplitManifest"]
)
def test_kubeflow_finds_an_artifact_type_by_its_name(name: str) -> None:
    type_name = getattr(components, name).TYPE_NAME
    assert type_name == f"components.{name}"


def test_no_other_name_is_an_artifact_type() -> None:
    with pytest.raises(AttributeError, match="'components' has no attribute 'Nothing'"):
        _ = components.Nothing


@pytest.mark.parametrize(
    ("validation", "judged", "fitted"),
    [
        ({}, "the validation split", "the train split"),
        ({"folds": 0}, "the validation split", "the train split"),
        (
            {"folds": 5},
            "train and validation split out of fold (5 folds)",
            "train and validation split",
        ),
    ],
)
def test_with_folds_a_model_is_fitted_to_both_splits_and_judged_out_of_fold(
    validation: dict[str, int], judged: str, fitted: str
) -> None:
    assert judged_on(validation) == judged
    assert fitted_to(validation) == fitted


def test_the_versions_are_those_of_what_is_imported() -> None:
    found = versions()
    assert set(found) == {"cxr-tfx", "tfx", "tensorflow", "keras", "python"}
    assert (found["tfx"], found["tensorflow"]) == (tfx.__version__, tf.__version__)
    assert found["python"] == platform.python_version()
