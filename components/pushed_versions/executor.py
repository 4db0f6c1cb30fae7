"""The executor of a node that hands on something of one pushed version, or nothing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor

from components.pushed_versions.driver import ChoosingDriver
from components.pushed_versions.record import Kept


class ChoosingExecutor(base_executor.BaseExecutor):
    """Hands on what the driver chose.

    Attributes:
        DRIVER: of the node.
        NOTHING: the log line where no version will do, with `%(property)s` in it.
    """

    DRIVER: ClassVar[type[ChoosingDriver]]
    NOTHING: ClassVar[str]

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Hand on the version, or leave the outputs empty.

        Raises:
            NotComparableError: this run's own manifest can't be read, or the version went.
        """
        found = self.DRIVER.chosen(input_dict, exec_properties)
        if found is None:
            logging.info(self.NOTHING, exec_properties)
        else:
            self.hand_on(found, output_dict, exec_properties)

    @staticmethod
    @abstractmethod
    def hand_on(
        found: Kept,
        output_dict: Mapping[str, list[types.Artifact]],
        exec_properties: Mapping[str, Any],
    ) -> None:
        """Write the outputs.

        Args:
            found: the version.
            output_dict: of the node, empty.
            exec_properties: of the node.
        """
