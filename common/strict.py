"""The base of every part of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Fields that can't be changed; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
