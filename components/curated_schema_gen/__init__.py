"""Imports the curated schema, anew whenever its content changed."""

from components.curated_schema_gen.component import CuratedSchemaGen

__all__ = ["CuratedSchemaGen"]
