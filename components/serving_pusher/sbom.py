"""The software bill of materials beside a pushed model: CycloneDX 1.6, with the model card in it.

CycloneDX's own library for Python has no model card (cyclonedx-python-lib 11.12), so the JSON is
put together here. It tells of what was installed where the model was pushed. What a package, the
card or the run doesn't say is left out.
"""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from common.words import counted, listed
from components.software import ROOT, Package

_SCHEMA: Final = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_SERIALS: Final = uuid.UUID("5e0ac0de-4c4b-5b52-9a9e-6f1d0e0c5a11")
_MODEL: Final = "model"
_IMAGES: Final = "data/images"
_WEIGHTS: Final = "data/weights"
_PYTHON: Final = "platform/python"
_SHA256: Final = "SHA-256"


def bill_of_materials(
    name: str,
    files: Mapping[str, str],
    card: Mapping[str, Any],
    packages: Sequence[Package],
) -> dict[str, Any]:
    """Put the document together.

    Args:
        name: of the model, where there is no card.
        files: of the version, its own and the signature's left out: path -> SHA-256 in hex.
        card: model_card.json; empty where there is none.
        packages: that are installed; the project's own first.

    Returns:
        What JSON can hold; the same for the same arguments.
    """
    bom: dict[str, Any] = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [_tool(packages)]},
            "component": _model(name, files, card),
        },
        "components": [
            *(_data(card) if card else ()),
            _python(),
            *map(_library, packages),
        ],
        "dependencies": [
            {"ref": _MODEL, "dependsOn": [*_data_refs(card), _ref_of(ROOT)]},
            {"ref": _ref_of(ROOT), "dependsOn": [_PYTHON, *map(_ref_of, packages[0].needs)]},
            *(
                {"ref": _ref_of(package.name), "dependsOn": list(map(_ref_of, package.needs))}
                for package in packages[1:]
            ),
        ],
    }
    # The same model with the same software has the same number.
    content = json.dumps(bom, sort_keys=True)
    return {**bom, "serialNumber": f"urn:uuid:{uuid.uuid5(_SERIALS, content)}"}


def _ref_of(package: str) -> str:
    return f"package/{package}"


def _tool(packages: Sequence[Package]) -> dict[str, Any]:
    return {"type": "application", "name": ROOT, "version": packages[0].version}


def _python() -> dict[str, Any]:
    return {
        "type": "platform",
        "bom-ref": _PYTHON,
        "name": platform.python_implementation(),
        "version": platform.python_version(),
    }


def _library(package: Package) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": _ref_of(package.name),
        "name": package.name,
        "version": package.version,
        "purl": f"pkg:pypi/{package.name}@{package.version.replace('+', '%2B')}",
    }
    if package.sha256:
        found["hashes"] = _hashes(package.sha256)
    if package.licence and package.is_expression:
        found["licenses"] = [{"expression": package.licence, "acknowledgement": "declared"}]
    elif package.licence:
        named = {"name": package.licence, "acknowledgement": "declared"}
        found["licenses"] = [{"license": named}]
    return found


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": _SHA256, "content": sha256}]


def _model(name: str, files: Mapping[str, str], card: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": card["model"]["name"] if card else name,
        "components": [
            {"type": "file", "bom-ref": f"file/{path}", "name": path, "hashes": _hashes(digest)}
            for path, digest in sorted(files.items())
        ],
    }
    if card:
        found["description"] = str(card["notice"])
        found["modelCard"] = _model_card(card)
    return found


def _model_card(card: Mapping[str, Any]) -> dict[str, Any]:
    recipe, limits = card["recipe"], card["limits"]
    made_of = recipe["members"] or [card["model"]["name"]]
    not_known = [f"Not known: {sentence}." for sentence in card["data"]["not_known"]]
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "classification",
            "modelArchitecture": listed(made_of),
            "datasets": [{"ref": _IMAGES}],
            "inputs": [{"format": "image"}],
            "outputs": [{"format": f"one of {listed(card['model']['classes'])}"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(card["results"]))},
        "considerations": {
            "technicalLimitations": [
                str(card["notice"]),
                f"The results are of {counted(limits['test_images'], 'test image')}.",
                *not_known,
            ]
        },
        "properties": [
            {"name": "cxr:seed", "value": str(card["model"]["seed"])},
            {"name": "cxr:preset", "value": str(card["model"]["preset"])},
            {"name": "cxr:gate:blessed", "value": json.dumps(card["gate"]["blessed"])},
            *(
                {"name": f"cxr:made-with:{program}", "value": str(version)}
                for program, version in card["model"]["versions"].items()
            ),
        ],
    }


def _metrics(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield _metric("accuracy", results["accuracy"])
    for one in results["classes"]:
        for kind in ("sensitivity", "specificity", "precision"):
            yield _metric(kind, one[kind], f"class {one['name']}")
    for part in results["slices"]:
        yield _metric("accuracy", part["accuracy"], f"{part['feature']} {part['value']}")


def _metric(kind: str, share: Mapping[str, Any], part: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": kind,
        # Of nothing there is no share.
        "value": f"{share['count']}/{share['total']}",
        "slice": f"test split, {part}" if part else "test split",
    }
    if share["wilson95"]:
        low, high = share["wilson95"]
        found["confidenceInterval"] = {"lowerBound": f"{low:.6f}", "upperBound": f"{high:.6f}"}
    return found


def _data_refs(card: Mapping[str, Any]) -> list[str]:
    return [one["bom-ref"] for one in _data(card)] if card else []


def _data(card: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    data, recipe = card["data"], card["recipe"]
    properties = [
        {"name": f"cxr:{part}:{one['name']}:{name}", "value": str(count)}
        for one in data["classes"]
        for part in ("splits", "sources", "licences")
        for name, count in one[part].items()
    ]
    yield {
        "type": "data",
        "bom-ref": _IMAGES,
        "name": "images and their split",
        "hashes": _hashes(data["manifest_digest"]),
        "data": [
            {
                "type": "dataset",
                "name": "images by class: splits, sources, licences",
                "contents": {"properties": properties},
            }
        ],
    }
    if recipe["weights_sha256"]:
        yield {
            "type": "data",
            "bom-ref": _WEIGHTS,
            "name": f"pre-trained weights: {recipe['weights']}",
            "hashes": _hashes(recipe["weights_sha256"]),
        }
