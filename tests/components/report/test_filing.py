"""The page for a filing says what an artifact says, names it, and invents nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.report.filing import (
    ARTIFACTS,
    AUDIT,
    CARD,
    MANIFEST,
    NOT_RECORDED,
    REPORT,
    SETTING_FIELDS,
    SETTINGS,
    Facts,
    Filing,
    Statement,
)
from components.report.filing_sections import filing_of
from components.report.page import render_filing
from components.software import Package
from tests.golden_run import GoldenRun

PACKAGES = [
    Package("cxr-tfx", "0.1.0", "Apache-2.0", False, None, ("namex",)),
    Package("namex", "0.1.0", None, False, None, ()),
]


def _share(count: int, total: int) -> dict[str, Any]:
    return {"count": count, "total": total, "value": count / total, "wilson95": [0.1, 0.9]}


def _documents(**changed: Any) -> dict[str, Any]:
    card = {
        "notice": "Not for diagnosis.",
        "model": {"name": "vgg16", "classes": ["A", "<b>"], "versions": {"tfx": "1.16.0"}},
        "recipe": {"weights": "imagenet", "weights_sha256": None, "temperature": 1.25},
        "data": {"classes": []},
        "results": {
            "accuracy": _share(5, 6),
            "classes": [],
            "slices": [],
            "abstaining": {"target": 0.99, "threshold": 0.5},
            "validation": _share(7, 8),
            "judged_on": "validation split",
        },
        "gate": {
            "blessed": True,
            "served": None,
            "thresholds": {"min_accuracy": 0.0, "against_baseline": False, "slices": []},
        },
        "limits": {"test_images": 6, "populations": [], "by_source": None},
    }
    manifest = {"digest": "d" * 64, "seed": 0, "remarks": [], "left_out": {}}
    audit = {"passed": True, "findings": ["F."], "limits": {"max_patients_across_splits": 0}}
    report = {"verdict": {"lines": [{"about": "Limits", "sentence": "L."}]}, "models": {}}
    settings = {"continue_training": None, "tuning.mode": "off", "champion.prefer": "cheap"}
    return {
        CARD: card,
        REPORT: report,
        AUDIT: audit,
        MANIFEST: manifest,
        SETTINGS: settings,
    } | changed


def _statements(page: Filing) -> list[Statement]:
    return [one for section in page.sections for one in section.statements]


def _sentences(page: Filing, topic: str) -> list[str]:
    return [one.sentence for one in _statements(page) if one.topic == topic]


def _each_is_from_somewhere(page: Filing, documents: dict[str, Any]) -> None:
    facts = Facts(documents)
    for one in _statements(page):
        if one.known:
            assert one.file in ARTIFACTS
            assert facts.get(one.file, one.field) == one.value, one
        else:
            assert one.sentence == f"{one.topic}: {NOT_RECORDED}."
            assert (one.file, one.field, one.value) == ("", "", None)


def test_each_sentence_is_from_a_field_of_an_artifact() -> None:
    documents = _documents()
    page = filing_of("vgg16", documents, PACKAGES)
    _each_is_from_somewhere(page, documents)
    assert _sentences(page, "Accuracy") == [
        "On the test split 5 of 6 images are right, 83.3 % (95 % interval 10.0–90.0 %)."
    ]
    assert _sentences(page, "Weights' digest") == ["Weights' digest: not recorded."]
    assert _sentences(page, "Finding") == ["F."]
    json.dumps(page.to_json(), allow_nan=False)


def test_a_bound_of_nought_is_one_and_one_that_is_not_set_is_none() -> None:
    page = filing_of("vgg16", _documents(), PACKAGES)
    low, baseline, slices = _sentences(page, "Gate")[:3]
    assert "at least 0.0 of the test images (gate.min_accuracy)" in low
    assert baseline == "gate.against_baseline is not set: it stops no push."
    assert slices == "gate.slices is not set: it stops no push."
    assert _sentences(page, "Audit's limits") == [
        "Nothing is pushed where the audit finds more than 0 (audit.max_patients_across_splits)."
    ]


@pytest.mark.parametrize(
    ("continuing", "in_spans", "words"),
    [
        (None, False, "from the pre-trained weights each time"),
        (None, True, "from the last model that passed the gate"),
        (False, True, "from the pre-trained weights each time"),
        (True, False, "from the last model that passed the gate"),
    ],
)
def test_what_training_starts_from(continuing: bool | None, in_spans: bool, words: str) -> None:
    documents = _documents()
    documents[SETTINGS]["continue_training"] = continuing
    if in_spans:
        documents[MANIFEST]["spans"] = [{"taken": True}, {"taken": False}]
    page = filing_of("vgg16", documents, PACKAGES)
    _each_is_from_somewhere(page, documents)
    (said,) = _sentences(page, "Training")
    assert words in said
    (spans,) = _sentences(page, "Spans")
    assert ("1 of 2 this time" in spans) is in_spans


def test_of_nothing_nothing_is_said() -> None:
    nothing: dict[str, Any] = dict.fromkeys(ARTIFACTS)
    page = filing_of("vgg16", nothing, [])
    assert _statements(page)
    assert not [one for one in _statements(page) if one.known]
    _each_is_from_somewhere(page, nothing)


def test_the_page_needs_nothing_and_takes_names_for_text() -> None:
    html = render_filing(filing_of("vgg16", _documents(), PACKAGES))
    assert "A, &lt;b&gt;" in html
    assert "<b>" not in html
    assert "http" not in html
    assert "<script" not in html
    assert '<th scope="row">namex</th><td>0.1.0</td><td>not recorded</td>' in html


@pytest.mark.slow
def test_a_run_writes_it(golden: GoldenRun) -> None:
    """Of a whole run, each sentence is what the artifact's own file says."""
    page = json.loads((golden.layout.report / "filing.json").read_text())
    assert (golden.layout.report / "filing.html").is_file()
    nodes = golden.layout.artifacts

    def read(pattern: str) -> Any:
        (file,) = nodes.glob(pattern)
        return json.loads(file.read_text())

    documents = {
        CARD: read(f"ModelCard.{page['model']}/model_card/*/model_card.json"),
        REPORT: json.loads((golden.layout.report / "report.json").read_text()),
        AUDIT: read("ShortcutAudit/audit/*/audit.json"),
        MANIFEST: read("RadiographExampleGen/manifest/*/summary.json"),
    }
    facts = Facts(documents)
    known = [one for section in page["sections"] for one in section["statements"] if one["known"]]
    assert len(known) > 40
    for one in known:
        if one["file"] == SETTINGS:
            assert one["field"] in SETTING_FIELDS
        else:
            assert facts.get(one["file"], one["field"]) == one["value"], one
    assert {"tfx", "tensorflow", "cxr-tfx"} <= {package["name"] for package in page["packages"]}
