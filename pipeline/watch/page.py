"""The page: one self-contained HTML file, in the report's look."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from common.words import interval, number, percent
from components.report.drawing import style
from pipeline.watch.figures import by_day, distances


def render(found: Mapping[str, Any], tfdv: Mapping[str, Mapping[str, str]]) -> str:
    """Render the page.

    Args:
        found: what `judge` returned.
        tfdv: "model version" -> feature -> TFDV's distance, in words.

    Returns:
        HTML that needs no other file and no network.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.watch", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "interval": interval, "number": number}
    versions = []
    with style():
        for index, version in enumerate(found["versions"]):
            name = f"v{index}"
            limit = found["thresholds"]["distance"]
            features = version["features"]
            pictures = {
                "days": by_day(version, name),
                "distances": distances(features, limit, name) if features else None,
            }
            key = f"{version['model']} {version['version']}"
            versions.append({**version, "pictures": pictures, "tfdv": tfdv.get(key, {})})
    return environment.get_template("watch.html.j2").render(
        **{**found, "versions": versions},
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        css=Markup(files("components.report").joinpath("templates/style.css").read_text("utf-8")),
    )
