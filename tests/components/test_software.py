"""Which packages a project needs, by their own metadata."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from components.software import needed_packages


def _install(site: Path, name: str, version: str, *lines: str, url: object = None) -> None:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    text = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines])
    (folder / "METADATA").write_text(text + "\n")
    if url is not None:
        (folder / "direct_url.json").write_text(json.dumps(url))


def test_what_is_installed_of_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(
        tmp_path,
        "the-root",
        "1",
        "Requires-Dist: First.Package>=1",
        "Requires-Dist: absent-package",
        'Requires-Dist: elsewhere; sys_platform == "win32"',
        'Requires-Dist: optional-part[more]; extra == "opt"',
        "Provides-Extra: opt",
    )
    _install(
        tmp_path,
        "first-package",
        "1.2",
        "License-Expression: MIT OR Apache-2.0",
        "Requires-Dist: the-root",
    )
    _install(tmp_path, "elsewhere", "1")
    _install(
        tmp_path,
        "optional-part",
        "3",
        "Classifier: License :: OSI Approved",
        "Classifier: License :: OSI Approved :: BSD License",
        'Requires-Dist: needed-more; extra == "more"',
        'Requires-Dist: not-needed; extra == "other"',
        "Provides-Extra: more",
        url={"url": "u", "archive_info": {"hashes": {"sha256": "ab"}}},
    )
    _install(tmp_path, "needed-more", "4", "License: UNKNOWN")
    _install(tmp_path, "not-needed", "5", "License: Zlib")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = {package.name: package for package in needed_packages("the-root")}
    assert list(found) == ["the-root", "first-package", "needed-more", "optional-part"]
    assert found["the-root"].needs == ("first-package", "optional-part")
    first = found["first-package"]
    assert (first.licence, first.is_expression, first.needs) == (
        "MIT OR Apache-2.0",
        True,
        ("the-root",),
    )
    part = found["optional-part"]
    assert (part.licence, part.is_expression, part.sha256) == ("BSD License", False, "ab")
    assert found["needed-more"].licence is None


def test_what_this_project_needs_is_there() -> None:
    first, *others = needed_packages()
    assert first.name == "cxr-tfx"
    names = [package.name for package in others]
    assert names == sorted(set(names))
    assert {"tfx", "tensorflow", "numpy", "protobuf"} <= set(names)
    assert "pytest" not in names
