"""Stops the run where the data break the schema."""

from components.schema_gate.component import SchemaGate

__all__ = ["SchemaGate"]
