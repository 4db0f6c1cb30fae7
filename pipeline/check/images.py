"""The images, inspected once, and their split for each seed: RadiographExampleGen's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from components.radiograph_example_gen.cleaning import CleanImage
from components.radiograph_example_gen.selection import (
    Decision,
    Usable,
    decide,
    inspect,
    look,
    sift,
    with_headers,
)
from components.radiograph_example_gen.settings import (
    Settings,
    classes_to_json,
    layout_to_json,
    limits_to_json,
    parse_settings,
)
from pipeline.config.pipeline_config import PipelineConfig
from schema.table import to_json


@dataclass(frozen=True)
class ImagePool:
    """The images that any seed may draw from.

    Attributes:
        settings: of RadiographExampleGen; their seed is the configuration's.
        usable: the images.
    """

    settings: Settings
    usable: Usable

    def decision(self, seed: int) -> Decision:
        """Compute the split that `cxr run` makes with this seed.

        Raises:
            InputError: a class has too few images, or too few patients, for three splits.
        """
        return decide(replace(self.settings, seed=seed), self.usable)

    @cached_property
    def by_hash(self) -> Mapping[str, CleanImage]:
        """sha256 -> image."""
        return {image.inspection.sha256: image for image in self.usable.cleaned.images}

    def label(self, image: CleanImage) -> int:
        """Return its class index."""
        return self.settings.class_names.index(image.inspection.class_name)


def inspect_images(config: PipelineConfig) -> ImagePool:
    """Look at every image of the data folder.

    Args:
        config: its `data`.

    Raises:
        InputError: the data folder, its metadata or the settings are at fault.
    """
    settings = settings_of(config)
    folder = look(settings)
    inspections = inspect(settings, folder)
    whole = with_headers(settings, folder, inspections)
    return ImagePool(settings, sift(settings, whole, inspections))


def settings_of(config: PipelineConfig) -> Settings:
    """Return what `pipeline.dag.graph` tells RadiographExampleGen."""
    data = config.data
    return parse_settings(
        {
            "data_dir": str(data.dir.resolve()),
            "metadata_csv": str(data.metadata.resolve()) if data.metadata else None,
            "classes": classes_to_json(data.class_specs),
            "seed": config.seed,
            "limits": limits_to_json(data.limits),
            "test_fraction": str(data.test_fraction),
            "eval_fraction": str(data.eval_fraction),
            "follow_links": data.follow_links,
            "layout": layout_to_json(data.how_laid_out),
            "table": to_json(data.table),
        }
    )
