"""The findings as metrics, for the text files that Prometheus' node exporter reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from schema import contract


def write_metrics(found: Mapping[str, Any], file: Path) -> None:
    """Write the metrics; whoever reads the file meanwhile sees the old one or the new one.

    Args:
        found: what `judge` returned.
        file: to write.
    """
    registry = CollectorRegistry()
    of_version = ("model", "version")

    def gauge(name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"cxr_watch_{name}", what, labels, registry=registry)

    images = gauge("images", "Distinct images that the log has.", *of_version)
    alarms = gauge("alarms", "Alarms on the page.", *of_version)
    abstained = gauge("abstained_share", "Of the answers, those too unsure.", *of_version)
    expected = gauge("expected_accuracy", "By calibrated confidence.", *of_version)
    accuracy = gauge("accuracy", "On the labelled images; missing without.", *of_version)
    distance = gauge("distance", "From training, 0..1.", *of_version, "feature")
    drifted = gauge("drifted", "1 where the distance is an alarm.", *of_version, "feature")
    kept_out = gauge(
        "out_of_domain_share", "Of the images that the input gate looked at.", *of_version, "reason"
    )
    for version in found["versions"]:
        labels = (version["model"], str(version["version"]))
        images.labels(*labels).set(version["images"])
        alarms.labels(*labels).set(len(version["alarms"]))
        abstained.labels(*labels).set(version["abstained"]["value"])
        expected.labels(*labels).set(version["expected_accuracy"]["value"])
        if version["truth"] is not None:
            accuracy.labels(*labels).set(version["truth"]["accuracy"])
        gate = version["domain"]
        for reason in contract.DOMAIN_REASONS if gate is not None else ():
            if reason != contract.DOMAIN_OK:
                count = gate["reasons"].get(reason, 0)
                kept_out.labels(*labels, reason).set(count / gate["total"])
        for row in version["features"]:
            distance.labels(*labels, row["feature"]).set(row["distance"])
            drifted.labels(*labels, row["feature"]).set(float(row["alarm"]))
    of_pair = ("model", "first", "second")
    agreement = gauge("agreement", "Of two versions, on images that both answered.", *of_pair)
    p_value = gauge("mcnemar_p", "Of two versions, on labelled images of both.", *of_pair)
    for one in found["comparisons"]:
        pair = (one["model"], str(one["first"]), str(one["second"]))
        if one["both"]["agreement"] is not None:
            agreement.labels(*pair).set(one["both"]["agreement"]["value"])
        if one["both"]["labelled"] is not None:
            p_value.labels(*pair).set(one["both"]["labelled"]["mcnemar_p"])
    log = found["log"]
    records = gauge("records", "Records that were read.")
    records.set(log["records"])
    torn = gauge("torn_shards", "Shards that end in a tear.")
    torn.set(len(log["torn_shards"]) + len(log["unread_shards"]))
    strange = gauge("foreign_images", "Images of models that this folder knows nothing of.")
    strange.set(sum(log["other_models"].values()))
    write_to_textfile(str(file), registry)
