"""Adds the input's fingerprint to the cache key before the launcher looks for a cached run."""

from __future__ import annotations

from absl import logging
from tfx.dsl.components.base import base_driver
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.radiograph_example_gen.fingerprint import fingerprint_folder
from components.radiograph_example_gen.listing import list_folder
from components.radiograph_example_gen.settings import INPUT_FINGERPRINT, parse_settings


# Two base classes, as in TFX's own drivers: the component class is checked against the
# first, the launcher of the local runner calls the second.
class RadiographDriver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """The driver that computes `input_fingerprint` from contents alone."""

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Return the execution properties and the fingerprint.

        Raises:
            InputError: the data folder cannot be used at all.
        """
        properties = dict(execution_info.exec_properties)
        settings = parse_settings(properties)
        listing = list_folder(settings)
        found = listing.found
        properties[INPUT_FINGERPRINT] = fingerprint_folder(
            settings.data_dir, found, listing.metadata
        )
        logging.info(
            "%d images in %s, fingerprint %s",
            len(found.candidates),
            settings.data_dir,
            properties[INPUT_FINGERPRINT],
        )
        result = driver_output_pb2.DriverOutput()
        for name, value in properties.items():
            if value is not None:
                data_types_utils.set_metadata_value(result.exec_properties[name], value)
        return result
