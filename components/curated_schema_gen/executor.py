"""Writes the schema where TFX's nodes look for it."""

from __future__ import annotations

import os
from typing import Any, Final

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils

from schema import SCHEMA_FILE

SCHEMA: Final = "schema"
SCHEMA_TEXT: Final = "schema_text"


class Executor(base_executor.BaseExecutor):
    """Text, as it is in the file, comments too → `schema.pbtxt`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the file."""
        folder = artifact_utils.get_single_uri(output_dict[SCHEMA])
        io_utils.write_string_file(os.path.join(folder, SCHEMA_FILE), exec_properties[SCHEMA_TEXT])
