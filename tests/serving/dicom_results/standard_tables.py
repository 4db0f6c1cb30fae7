"""The standard's tables for dicom-validator, from those that highdicom's package brings.

dicom-validator reads them from the standard's docbook, which no package has. highdicom's tables say
the modules of each IOD and the attributes of each module with their types. They don't say two
things, which are added here for reports by PS3.3, C.17.3: some attributes hold for content items of
some value types only, and items nest to any depth. Other conditions of types 1C and 2C are not
known, so an attribute of such a type may be there or not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import highdicom
from dicom_validator.validator.dicom_info import DicomInfo
from pydicom.datadict import DicomDictionary, tag_for_keyword

TABLES: Final = Path(highdicom.__file__).parent / "_standard"
_CONTENT: Final = "sr-document-content"
# Macros of content items: attribute -> the value types that have it.
_ONLY_FOR: Final = {
    "MeasuredValueSequence": ["NUM"],
    "ConceptCodeSequence": ["CODE"],
    "ContinuityOfContent": ["CONTAINER"],
    "TemporalRangeType": ["TCOORD"],
    "GraphicType": ["SCOORD", "SCOORD3D"],
    "GraphicData": ["SCOORD", "SCOORD3D"],
    "ReferencedFrameOfReferenceUID": ["SCOORD3D"],
    "ReferencedSOPSequence": ["IMAGE", "WAVEFORM", "COMPOSITE"],
    "TabulatedValuesSequence": ["TABLE"],
}


def standard_tables() -> DicomInfo:
    """Build the tables.

    Raises:
        FileNotFoundError: this version of highdicom brings none.
    """
    iods, attributes, classes = (
        json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("iod_module_map", "module_attribute_map", "sop_class_iod_map")
    )
    modules = {name: _nested(rows) for name, rows in attributes.items()}
    _by_value_type(modules[_CONTENT])
    return DicomInfo(
        {_shown(tag): {"name": row[2], "vr": row[0]} for tag, row in DicomDictionary.items()},
        {uid: _iod(name, iods[name]) for uid, name in classes.items() if name in iods},
        modules,
    )


def _iod(name: str, rows: list[dict[str, str]]) -> dict[str, Any]:
    modules = {row["key"]: {"ref": row["key"], "use": row["usage"]} for row in rows}
    return {"title": name, "modules": modules, "group_macros": {}}


def _nested(rows: list[dict[str, Any]]) -> dict[str, Any]:
    module: dict[str, Any] = {}
    for row in rows:
        names = [*row["path"], row["keyword"]]
        tags = [tag_for_keyword(name) for name in names]
        # Retired and repeating groups (overlays, curves) have no keyword of their own.
        if None in tags:
            continue
        level = module
        for tag, name in zip(tags[:-1], names, strict=False):
            level = level.setdefault(_shown(tag), {"name": name, "type": "3"})
            level = level.setdefault("items", {})
        entry = level.setdefault(_shown(tags[-1]), {})
        entry |= {"name": row["keyword"], "type": row["type"]}
    return module


def _by_value_type(content: dict[str, Any]) -> None:
    sequence = content[_shown(tag_for_keyword("ContentSequence"))]
    for level in (content, sequence["items"]):
        for name, value_types in _ONLY_FOR.items():
            if entry := level.get(_shown(tag_for_keyword(name))):
                entry["type"] = f"{entry['type'][0]}C"
                entry["cond"] = {
                    "type": "MN",
                    "tag": _shown(tag_for_keyword("ValueType")),
                    "index": 0,
                    "op": "=",
                    "values": value_types,
                }
    sequence["items"][_shown(tag_for_keyword("ContentSequence"))] = sequence


def _shown(tag: int | None) -> str:
    assert tag is not None
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
