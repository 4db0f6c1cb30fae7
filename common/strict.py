"""What every part of the configuration is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Fields that can't be changed; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
