"""The data contract: names, errors and the curated TFDV schema."""

from __future__ import annotations

from pathlib import Path

SCHEMA_DIR = Path(__file__).parent
SCHEMA_FILE = "schema.pbtxt"
