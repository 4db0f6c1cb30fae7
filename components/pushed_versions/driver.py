"""Puts the choice of a version into the cache key: the folders change, the inputs don't."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Final

from tfx import types
from tfx.dsl.components.base import base_driver
from tfx.orchestration import metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.pushed_versions.record import Kept, read_kept

# Execution property: the folder with what is kept of the version, or NOTHING.
CHOSEN: Final = "chosen"
NOTHING: Final = "none"


# Two base classes, as in TFX's own drivers: the component class is checked against the
# first, the launcher of the local runner calls the second.
class ChoosingDriver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Computes CHOSEN: a run that would choose the same finds its result in the cache."""

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)

    @staticmethod
    @abstractmethod
    def choose(
        input_dict: Mapping[str, list[types.Artifact]], exec_properties: Mapping[str, Any]
    ) -> Kept | None:
        """Choose as the executor does."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Return the choice as an execution property."""
        found = self.choose(execution_info.input_dict, execution_info.exec_properties)
        result = driver_output_pb2.DriverOutput()
        result.exec_properties[CHOSEN].string_value = found.folder if found else NOTHING
        return result

    @classmethod
    def chosen(
        cls, input_dict: Mapping[str, list[types.Artifact]], exec_properties: Mapping[str, Any]
    ) -> Kept | None:
        """Return the driver's choice; on Kubeflow, which runs no drivers, choose now.

        Raises:
            NotComparableError: the version went since.
        """
        if CHOSEN not in exec_properties:
            return cls.choose(input_dict, exec_properties)
        folder = exec_properties[CHOSEN]
        return None if folder == NOTHING else read_kept(folder)
