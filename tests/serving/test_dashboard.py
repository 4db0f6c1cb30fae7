"""The dashboard asks for metrics that the server has, and for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from schema import contract
from serving.prediction_log.settings import LogSettings, LogTarget
from serving.protocol.tensors import Tensors, strings
from serving.servables.servable import Signature
from tests.serving.in_thread import server_in_thread
from tests.serving.prediction_log.logged import Radiologist, ask, folder_of, png

_FILE = Path(__file__).parents[2] / "serving" / "deploy" / "grafana" / "dashboard.json"
_METRIC = re.compile(r"\bcxr_serving_\w+")


class Gated(Radiologist):
    """Has an input gate, as a model of this project."""

    def _run(self, signature: Signature, inputs: Tensors) -> Tensors:
        found = super()._run(signature, inputs)
        reasons = [b"turned"] * len(found[contract.OUTPUT_PREDICTED])
        return found | {contract.OUTPUT_DOMAIN_REASON: strings(reasons)}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Sample -> its labels, of a server that has answered."""
    folder = tmp_path_factory.mktemp("dashboard")
    log = LogSettings(LogTarget(folder / "log"))
    models = folder_of(folder)
    with server_in_thread(lambda _: Gated(), model_dir=models, prediction_log=log) as server:
        ask(server.url, png())
        text = requests.get(f"{server.url}/monitoring/prometheus/metrics", timeout=30).text
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_FILE.read_text())
    return content


def _targets() -> Iterator[dict[str, str]]:
    for panel in _dashboard()["panels"]:
        yield from panel["targets"]


def test_each_query_asks_for_metrics_that_there_are(samples: dict[str, set[str]]) -> None:
    for target in _targets():
        asked = _METRIC.findall(target["expr"])
        assert asked, target
        assert set(asked) <= set(samples), target


def test_each_label_is_one_of_the_metric(samples: dict[str, set[str]]) -> None:
    # Prometheus adds the server's own.
    of_scrape = {"instance"}
    for target in _targets():
        known = set().union(*(samples[name] for name in _METRIC.findall(target["expr"])))
        labels = set(re.findall(r"(\w+)\s*=~?", target["expr"]))
        for group in re.findall(r"by \(([^)]*)\)", target["expr"]):
            labels |= {label.strip() for label in group.split(",")}
        labels |= set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert labels <= known | of_scrape, target


def test_no_metric_is_without_a_panel(samples: dict[str, set[str]]) -> None:
    shown = {name for target in _targets() for name in _METRIC.findall(target["expr"])}
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in samples}
    missing = {
        family
        for family in families
        if not any(name.startswith(family) for name in shown)
        and not family.removesuffix("_total").endswith("_created")
    }
    assert not missing


def test_the_input_gates_reasons_and_the_shadow_are_shown(samples: dict[str, set[str]]) -> None:
    shown = {name for target in _targets() for name in _METRIC.findall(target["expr"])}
    for name in ("cxr_serving_answers_domain_total", "cxr_serving_shadow_requests_total"):
        assert name in shown
        assert name in samples


def test_panels_do_not_lie_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in _dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in _dashboard()["panels"]]
    assert len(set(ids)) == len(ids)


def test_queries_are_well_formed() -> None:
    for target in _targets():
        for opened, closed in ("()", "{}", "[]"):
            assert target["expr"].count(opened) == target["expr"].count(closed), target
