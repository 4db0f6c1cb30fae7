"""What the gate says of anomalies, without running the nodes in front of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types import standard_artifacts

from common.errors import InputError
from components.schema_gate.executor import Executor, describe

Check = Callable[[Mapping[str, str]], str]
CLEAN = "baseline { feature { name: 'image/mean' type: FLOAT } }"
SEX = """
anomaly_info {
  key: "patient/sex"
  value {
    severity: ERROR
    short_description: "Unexpected string values"
    description: "Examples contain values missing from the schema: female (~20%). "
  }
}
"""
AGE = """
anomaly_info {
  key: "patient/age"
  value { severity: ERROR short_description: "Out-of-range values" }
}
"""


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Split name → Anomalies as text; runs the executor and returns its verdict."""

    def run(splits: Mapping[str, str]) -> str:
        anomalies = standard_artifacts.ExampleAnomalies()
        anomalies.uri = str(tmp_path / "anomalies")
        anomalies.split_names = json.dumps(list(splits))
        for split, text in splits.items():
            folder = tmp_path / "anomalies" / f"Split-{split}"
            folder.mkdir(parents=True)
            message = text_format.Parse(text, anomalies_pb2.Anomalies())
            (folder / "SchemaDiff.pb").write_bytes(message.SerializeToString())
        verdict: Any = standard_artifacts.String()
        verdict.uri = str(tmp_path / "verdict")
        Executor().Do({"anomalies": [anomalies]}, {"verdict": [verdict]}, {})
        return Path(verdict.uri).read_text()

    return run


def _sentences(error: pytest.ExceptionInfo[InputError]) -> list[str]:
    return [line.strip() for line in str(error.value).splitlines() if line.startswith("  ")]


def test_clean_splits_pass(check: Check) -> None:
    assert check({"train": CLEAN, "eval": CLEAN, "test": ""}) == "no anomaly in train, eval, test"


def test_one_sentence_an_anomaly(check: Check, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        check({"train": SEX + AGE, "eval": CLEAN, "test": AGE})
    assert _sentences(error) == [
        "Split train, feature patient/age: Out-of-range values.",
        "Split train, feature patient/sex: "
        "Examples contain values missing from the schema: female (~20%).",
        "Split test, feature patient/age: Out-of-range values.",
    ]
    assert not (tmp_path / "verdict").exists()


def test_the_last_split_counts_as_much_as_the_first(check: Check) -> None:
    with pytest.raises(InputError, match="Split test, feature patient/sex"):
        check({"train": CLEAN, "eval": CLEAN, "test": SEX})


def test_no_examples(check: Check) -> None:
    with pytest.raises(InputError) as error:
        check({"train": CLEAN, "eval": "data_missing: true"})
    assert _sentences(error) == ["Split eval: there are no examples."]


def test_an_anomaly_of_the_whole_split(check: Check) -> None:
    with pytest.raises(InputError) as error:
        check({"train": "dataset_anomaly_info { description: 'Too few examples' }"})
    assert _sentences(error) == ["Split train: Too few examples."]


def test_a_description_of_several_lines_becomes_one() -> None:
    anomalies = anomalies_pb2.Anomalies()
    anomalies.anomaly_info["image/mean"].description = "Has NaN.\n  Is  too high "
    assert describe(anomalies, "eval") == ["Split eval, feature image/mean: Has NaN. Is too high."]
