"""Decides how many processes of this machine execute nodes side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from common import kernel
from models.backbones import BOUNDARY_HEAD
from models.devices import has_gpu
from pipeline.beam.options import beam_plan
from pipeline.config.pipeline_config import PipelineConfig

# More than two weren't measured.
_MOST: Final = 2
# A run on 657 radiographs held 2.8 GiB at most in one process, and one with `preset: paper`, which
# trains blocks of its networks, 11.
_MEMORY_EACH: Final = 4 * 2**30
_MEMORY_TRAINED: Final = 12 * 2**30


def available_memory() -> int:
    """Return the bytes that processes may still take, as Linux estimates; 0 where it doesn't."""
    return kernel.kibibytes(kernel.fields(kernel.MEMINFO).get("MemAvailable", "")) or 0


def resolve_processes(
    config: PipelineConfig,
    *,
    cores: int | None = None,
    memory: Callable[[], int] = available_memory,
    gpu: Callable[[], bool] = has_gpu,
) -> int:
    """Decide for a run.

    `auto` takes one where Beam has processes of its own, since those have the cores already, and
    where there is a GPU, whose memory TensorFlow takes whole for the first process.

    Args:
        config: of the run.
        cores: that this process may use; looked for where None.
        memory: returns the bytes that are available.
        gpu: whether TensorFlow sees one; imports it.

    Returns:
        At least 1; this process is among them.
    """
    if config.processes != "auto":
        return config.processes
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    options = beam_plan(config).values
    in_process = (
        options.get("runner") == "DirectRunner"
        and options.get("direct_running_mode") == "in_memory"
        and options.get("direct_num_workers") == "1"
    )
    if not in_process or cores < 2 or gpu():
        return 1
    trained = any(config.training_for(name).boundary != BOUNDARY_HEAD for name in config.backbones)
    each = _MEMORY_TRAINED if trained else _MEMORY_EACH
    return max(1, min(_MOST, cores, memory() // each))
