"""Beam pipeline options of the DAG's Beam nodes."""

from __future__ import annotations

from pipeline.config.beam import BeamPlan, plan_beam, require_complete, require_known
from pipeline.config.pipeline_config import PipelineConfig


def beam_pipeline_args(config: PipelineConfig) -> list[str]:
    """Return the options, the configuration's own last, so that they win.

    TFX hands them to absl as well, which is how the bound on batches arrives: at most 20 MiB
    of records instead of up to 1,000 images, so a batch doesn't grow with the images' size
    (tfx#5777).

    Args:
        config: its `beam` says where; its `beam_args` are handed on as they are.

    Raises:
        InputError: an option is missing, or Beam doesn't know it.
    """
    plan = beam_plan(config)
    require_complete(plan)
    require_known(plan.arguments)
    return plan.arguments


def beam_plan(config: PipelineConfig) -> BeamPlan:
    """Find what the options come from; they are looked at no further."""
    return plan_beam(config.beam, config.beam_args)
