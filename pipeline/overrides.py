"""From the command line's options to fields of the configuration."""

from __future__ import annotations

from typing import Any


def comma_separated(text: str | None) -> list[str] | None:
    """The parts of an option such as `vgg16,xception`; None where it isn't given."""
    if text is None:
        return None
    return [part.strip() for part in text.split(",") if part.strip()]


def without_none(values: dict[str, Any]) -> dict[str, Any]:
    """What was given: neither None nor an empty mapping."""
    return {key: value for key, value in values.items() if value not in (None, {})}
