"""Beam pipeline options of the DAG's Beam nodes."""

from __future__ import annotations

from pipeline.config import PipelineConfig

# TFX hands Beam options to absl as well, which is how this one arrives: batches of at
# most 20 MiB of records instead of up to 1,000 images, so a batch doesn't grow with the
# images' size (tfx#5777).
_BOUNDED_BATCHES = "--tfxio_use_byte_size_batching=true"
# Where no option says how workers get their packages, TFX builds a source package of
# itself for every Beam node; in-process workers need none, and any image name says so.
_NO_EPHEMERAL_PACKAGE = "--sdk_container_image=in-process"


def beam_pipeline_args(config: PipelineConfig) -> list[str]:
    """The options, the configuration's own last, so that they win.

    Args:
        config: its `beam_args` are handed on as they are.
    """
    return [_BOUNDED_BATCHES, _NO_EPHEMERAL_PACKAGE, *config.beam_args]
