"""Looks for leaks between splits, and for what predicts the class without the lungs.

The names are looked up on first use: reading an audit must not cost importing TFX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.shortcut_audit.artifact import AuditReport
    from components.shortcut_audit.component import ShortcutAudit

__all__ = ["AuditReport", "ShortcutAudit"]


def __getattr__(name: str) -> Any:
    if name == "ShortcutAudit":
        from components.shortcut_audit import component

        return component.ShortcutAudit
    if name == "AuditReport":
        from components.shortcut_audit import artifact

        return artifact.AuditReport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
