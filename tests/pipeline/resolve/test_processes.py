"""How many processes execute nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.errors import InputError
from pipeline.config.pipeline_config import load_config
from pipeline.resolve.processes import available_memory, resolve_processes

GIB = 2**30


@pytest.mark.parametrize(
    ("given", "cores", "memory", "gpu", "processes"),
    [
        ({}, 2, 8 * GIB, False, 2),
        ({}, 64, 999 * GIB, False, 2),
        ({}, 1, 999 * GIB, False, 1),
        ({}, 2, 8 * GIB - 1, False, 1),
        ({}, 2, 0, False, 1),
        ({}, 64, 999 * GIB, True, 1),
        # Blocks are trained, which takes three times the memory.
        ({"preset": "paper"}, 2, 23 * GIB, False, 1),
        ({"preset": "paper"}, 2, 24 * GIB, False, 2),
        # Beam's own processes have the cores.
        ({"beam": "multi"}, 64, 999 * GIB, False, 1),
        ({"beam": "portable:localhost"}, 64, 999 * GIB, False, 1),
        ({"beam_args": ["--direct_num_workers=4"]}, 64, 999 * GIB, False, 1),
        ({"processes": 3}, 1, 0, True, 3),
        ({"processes": 1}, 64, 999 * GIB, False, 1),
    ],
)
def test_so_many(
    given: dict[str, Any], cores: int, memory: int, gpu: bool, processes: int, tmp_path: Path
) -> None:
    config = load_config(preset=given.get("preset"), overrides={"data": {"dir": tmp_path}, **given})
    found = resolve_processes(config, cores=cores, memory=lambda: memory, gpu=lambda: gpu)
    assert found == processes


@pytest.mark.parametrize("processes", [0, 9, "many"])
def test_a_number_that_makes_no_sense_is_refused(processes: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="processes"):
        load_config(overrides={"data": {"dir": tmp_path}, "processes": processes})


def test_memory_is_what_the_machine_says() -> None:
    kibibytes = Path("/proc/meminfo").read_text().partition("MemTotal:")[2].split()[0]
    assert 0 < available_memory() < int(kibibytes) * 1024
