"""The bill of materials: what it tells of, and CycloneDX's own schema as the judge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.serving_pusher.sbom import bill_of_materials
from components.software import Package, needed_packages
from schema import contract
from serving.local_client import latest_version
from tests.golden_run import GoldenRun

# A Python that has cyclonedx-python-lib[json-validation], for a machine without a package index.
CYCLONEDX = os.environ.get("CYCLONEDX_PYTHON")
VALIDATOR = "cyclonedx-python-lib[json-validation]==11.12.0"
VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
for file in sys.argv[1:]:
    with open(file) as source:
        fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(source.read())
    if fault:
        sys.exit(f"{file}: {fault}")
"""
PACKAGES = [
    Package("cxr-tfx", "0.1.0", "Apache-2.0", False, None, ("a", "b")),
    Package("a", "1+cpu", "MIT OR Apache-2.0", True, "ab" * 32, ("b",)),
    Package("b", "2", None, False, None, ()),
]


def _share(count: int, total: int) -> dict[str, Any]:
    known = {"value": count / total, "wilson95": [0.1, 0.9]} if total else {}
    return {"count": count, "total": total, "value": None, "wilson95": None} | known


def _card() -> dict[str, Any]:
    result = {kind: _share(3, 4) for kind in ("sensitivity", "specificity")}
    data = {"name": "A", "splits": {"train": 5}, "sources": {}, "licences": {"CC0": 5}}
    return {
        "notice": "Not for diagnosis.",
        "model": {
            "name": "vgg16",
            "classes": ["A", "B"],
            "seed": 3,
            "preset": "fast",
            "versions": {"tfx": "1.16.0"},
        },
        "recipe": {"members": None, "weights": "imagenet", "weights_sha256": "cd" * 32},
        "data": {"manifest_digest": "ef" * 32, "classes": [data], "not_known": ["the age"]},
        "results": {
            "accuracy": _share(5, 6),
            "classes": [{"name": "A", **result, "precision": _share(0, 0)}],
            "slices": [{"feature": "sex", "value": "F", "accuracy": _share(1, 1)}],
        },
        "gate": {"blessed": True},
        "limits": {"test_images": 6},
    }


def test_it_tells_model_card_data_and_packages() -> None:
    bom = bill_of_materials("x", {"saved_model.pb": "12" * 32}, _card(), PACKAGES)
    model = bom["metadata"]["component"]
    assert (model["type"], model["name"]) == ("machine-learning-model", "vgg16")
    assert model["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "12" * 32}]
    card = model["modelCard"]
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]
    assert metrics[0] == {
        "type": "accuracy",
        "value": "5/6",
        "slice": "test split",
        "confidenceInterval": {"lowerBound": "0.100000", "upperBound": "0.900000"},
    }
    # Of no answer there is no precision, and no interval.
    (empty,) = [one for one in metrics if one["value"] == "0/0"]
    assert "confidenceInterval" not in empty
    components = {one["bom-ref"]: one for one in bom["components"]}
    (ref,) = card["modelParameters"]["datasets"]
    assert components[ref["ref"]]["hashes"][0]["content"] == "ef" * 32
    assert components["data/weights"]["hashes"][0]["content"] == "cd" * 32
    assert components["package/a"] == {
        "type": "library",
        "bom-ref": "package/a",
        "name": "a",
        "version": "1+cpu",
        "purl": "pkg:pypi/a@1%2Bcpu",
        "hashes": [{"alg": "SHA-256", "content": "ab" * 32}],
        "licenses": [{"expression": "MIT OR Apache-2.0", "acknowledgement": "declared"}],
    }
    assert "licenses" not in components["package/b"]
    refs = {*components, "model"}
    for one in bom["dependencies"]:
        assert {one["ref"], *one["dependsOn"]} <= refs
    # The same for the same, and another number for anything else.
    again = bill_of_materials("x", {"saved_model.pb": "12" * 32}, _card(), PACKAGES)
    assert again == bom
    other = bill_of_materials("x", {"saved_model.pb": "13" * 32}, _card(), PACKAGES)
    assert other["serialNumber"] != bom["serialNumber"]


def test_without_a_card_it_tells_the_rest() -> None:
    bom = bill_of_materials("mine", {}, {}, PACKAGES)
    assert bom["metadata"]["component"]["name"] == "mine"
    assert "modelCard" not in bom["metadata"]["component"]
    assert not [one for one in bom["components"] if one["type"] == "data"]


@pytest.mark.long
def test_cyclonedx_takes_it(golden: GoldenRun, tmp_path: Path) -> None:
    python = CYCLONEDX or _environment(tmp_path)
    made = {
        "made.json": bill_of_materials("x", {"a b/ä": "12" * 32}, _card(), PACKAGES),
        "bare.json": bill_of_materials("x", {}, {}, needed_packages()),
    }
    for name, bom in made.items():
        (tmp_path / name).write_text(json.dumps(bom))
    names = [path.name for path in golden.layout.serving.iterdir() if path.name[0] != "."]
    pushed = [latest_version(golden.layout.serving, name) / contract.SBOM_FILE for name in names]
    assert pushed
    files = [*(tmp_path / name for name in made), *pushed]
    command = [python, "-c", VALIDATE, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    # It isn't a judge that takes anything.
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({**made["made.json"], "modelCard": {}}))
    assert subprocess.run([python, "-c", VALIDATE, str(bad)], capture_output=True).returncode


def _environment(folder: Path) -> str:
    python = str(folder / "cyclonedx" / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "cyclonedx")], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", VALIDATOR]
    done = subprocess.run(install, capture_output=True, text=True, timeout=600)
    if done.returncode:
        pytest.skip(f"CycloneDX's library can't be installed here: {done.stderr.strip()[-300:]}")
    return python
