"""A release has one version, wherever it stands."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def _version() -> str:
    (version,) = re.findall(r'^    version="([^"]+)",$', (ROOT / "setup.py").read_text(), re.M)
    return str(version)


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == _version()
    assert citation["cff-version"] == "1.2.0"
    # The format's required fields, of the software and of what it refers to.
    assert {"message", "title", "authors"} <= citation.keys()
    assert all({"type", "title", "authors"} <= entry.keys() for entry in citation["references"])


def test_the_newest_release_in_the_changelog_is_this_version() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[:2] == ["Unreleased", _version()]
    releases = [tuple(map(int, heading.split("."))) for heading in headings[1:]]
    assert releases == sorted(set(releases), reverse=True)
