"""A card as Markdown and as JSON; the same card gives the same bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import jinja2

from common import words
from components.model_card.content import Card, Share
from schema.class_tables import MOST_COLUMNS, most_confused

_TEMPLATE: Final = "card.md.j2"
# What Markdown, its tables, HTML or GitHub's formulas would take for their own. An underscore
# inside a word is none of it: `min_accuracy` stays readable.
_SPECIAL: Final = re.compile(r"[\\`*{}\[\]<>&#|~$]|(?<![^\W_])_|_(?![^\W_])")
_NOTHING: Final = "–"


def to_json(card: Card) -> str:
    """Write all fields, in their order."""
    return json.dumps(asdict(card), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(card: Card) -> str:
    """Write the page. Every value in it is escaped, wherever it came from."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        finalize=as_text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Markdown, not HTML: `finalize` escapes for both.
        autoescape=False,
    )
    environment.filters |= {
        "percent": percent,
        "interval": interval,
        "counts": lambda share: f"{share.count} of {share.total}",
        "flat": lambda fields: list(flat(fields)),
        "most_confused": most_confused,
    }
    environment.globals["most_columns"] = MOST_COLUMNS
    return environment.get_template(_TEMPLATE).render(card=card)


def as_text(value: object) -> str:
    """Write a value as Markdown that shows it and nothing else, on one line.

    Numbers have up to six digits. Special characters become HTML's numeric references, which
    every Markdown knows, also inside a table.
    """
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(as_text, value)) or _NOTHING
    printable = "".join(c if c.isprintable() else " " for c in str(value))
    line = " ".join(printable.split())
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", line) or _NOTHING


def percent(share: Share) -> str:
    """Write a share in percent, to a tenth."""
    return words.percent(share.value)


def interval(share: Share) -> str:
    """Write a share's 95 % interval in percent, to a tenth."""
    return words.interval(share.wilson95)


def flat(fields: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten nested mappings, and lists of such by number, to (dotted name, value)."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        elif value and isinstance(value, list) and all(isinstance(v, Mapping) for v in value):
            yield from flat({str(i): v for i, v in enumerate(value)}, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
