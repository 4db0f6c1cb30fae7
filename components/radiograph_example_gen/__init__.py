"""Folder of radiographs → balanced, patient-disjoint tf.Examples and their manifest.

The names are looked up on first use: reading a manifest must not cost the nine
seconds that importing TFX takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.radiograph_example_gen.artifact import SplitManifest
    from components.radiograph_example_gen.component import RadiographExampleGen

__all__ = ["RadiographExampleGen", "SplitManifest"]


def __getattr__(name: str) -> Any:
    if name == "RadiographExampleGen":
        from components.radiograph_example_gen import component

        return component.RadiographExampleGen
    if name == "SplitManifest":
        from components.radiograph_example_gen import artifact

        return artifact.SplitManifest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
