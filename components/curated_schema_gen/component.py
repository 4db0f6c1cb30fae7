"""CuratedSchemaGen: a schema file of the project's own as TFX's Schema artifact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from common.errors import InputError
from components.curated_schema_gen.columns import add_columns
from components.curated_schema_gen.executor import SCHEMA, SCHEMA_TEXT, Executor
from schema import SCHEMA_DIR, SCHEMA_FILE, inputs
from schema.table import TableColumn


class CuratedSchemaGenSpec(component_spec.ComponentSpec):
    """Parameters and outputs; there are no input artifacts."""

    PARAMETERS = {SCHEMA_TEXT: component_spec.ExecutionParameter(type=str)}
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {SCHEMA: component_spec.ChannelParameter(type=standard_artifacts.Schema)}


class CuratedSchemaGen(base_component.BaseComponent):
    """Brings a schema into the pipeline by its content.

    The stock ImportSchemaGen takes a path. Its cache goes by that, so an edited schema goes
    unnoticed; and a step in a container has no such path.
    """

    SPEC_CLASS = CuratedSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, schema_file: Path, table: Sequence[TableColumn] = ()) -> None:
        """Construct the node.

        Args:
            schema_file: `schema.pbtxt`, read here and now.
            table: columns that models take; those that the file lacks are added.

        Raises:
            InputError: the file can't be read, or is no schema.
        """
        super().__init__(
            spec=CuratedSchemaGenSpec(
                **{
                    SCHEMA_TEXT: _read(schema_file, table),
                    SCHEMA: channel.Channel(type=standard_artifacts.Schema),
                }
            )
        )


def _read(schema_file: Path, table: Sequence[TableColumn]) -> str:
    try:
        content = schema_file.read_bytes()
    except OSError as error:
        raise InputError(
            f"schema: {schema_file} can't be read: {error.strerror}; schema_dir must be "
            "a folder with a schema.pbtxt."
        ) from error
    try:
        text = content.decode()
        schema = text_format.Parse(text, schema_pb2.Schema())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"schema: {schema_file} is no TFDV schema: {error}") from error
    tensors = {
        name
        for group in schema.tensor_representation_group.values()
        for name in group.tensor_representation
    }
    if lacking := [name for name in inputs.transform_reads() if name not in tensors]:
        raise InputError(
            f"schema: {schema_file} has no tensor of {', '.join(lacking)}, which Transform reads; "
            f"copy the lines with these names from {SCHEMA_DIR / SCHEMA_FILE}."
        )
    if not table:
        return text
    add_columns(schema, table)
    return text_format.MessageToString(schema)
