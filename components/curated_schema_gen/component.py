"""CuratedSchemaGen: TFX's ImportSchemaGen with the file's content in the cache key."""

from __future__ import annotations

import hashlib
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base import base_component
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs

from schema.errors import InputError


class CuratedSchemaGenSpec(standard_component_specs.ImportSchemaGenSpec):
    """ImportSchemaGen's, and the digest."""

    PARAMETERS = {
        **standard_component_specs.ImportSchemaGenSpec.PARAMETERS,
        "schema_sha256": component_spec.ExecutionParameter(type=str),
    }


class CuratedSchemaGen(ImportSchemaGen):
    """Copies a schema file into the metadata store.

    The stock component is cached by the file's path, so an edited schema goes unnoticed
    until the cache is dropped.
    """

    SPEC_CLASS = CuratedSchemaGenSpec

    def __init__(self, schema_file: Path) -> None:
        """Constructs the node.

        Args:
            schema_file: `schema.pbtxt`.

        Raises:
            InputError: the file can't be read, or is no schema.
        """
        try:
            content = schema_file.read_bytes()
        except OSError as error:
            raise InputError(
                f"schema: {schema_file} can't be read: {error.strerror}; schema_dir must be "
                "a folder with a schema.pbtxt."
            ) from error
        _check_syntax(schema_file, content)
        # Past ImportSchemaGen's own constructor, which builds the stock spec.
        base_component.BaseComponent.__init__(
            self,
            spec=CuratedSchemaGenSpec(
                schema_file=str(schema_file.resolve()),
                schema_sha256=hashlib.sha256(content).hexdigest(),
                schema=channel.Channel(type=standard_artifacts.Schema),
            ),
        )


def _check_syntax(schema_file: Path, content: bytes) -> None:
    try:
        text_format.Parse(content.decode(), schema_pb2.Schema())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"schema: {schema_file} is no TFDV schema: {error}") from error
