"""Beam options reach the readers whose memory they bound."""

from __future__ import annotations

from pathlib import Path

import pytest
from absl import flags

from common.runtime import prepare_environment
from pipeline.beam.options import beam_pipeline_args
from pipeline.config.pipeline_config import load_config


def test_readers_batch_by_bytes_and_no_source_package_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_environment()
    from tfx.components.transform import executor as transform_executor
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.utils import dependency_utils
    from tfx_bsl.coders import batch_util

    def forbidden() -> str:
        raise AssertionError("a source package of TFX was built")

    monkeypatch.setattr(dependency_utils, "build_ephemeral_package", forbidden)
    monkeypatch.setattr("sys.argv", ["cxr"])
    config = load_config(overrides={"data": {"dir": tmp_path}})
    try:
        transform_executor.Executor(
            BaseBeamExecutor.Context(beam_pipeline_args=beam_pipeline_args(config))
        )
        batching = batch_util.GetBatchElementsKwargs(None)
    finally:
        flags.FLAGS.unparse_flags()
    assert batching["max_batch_size"] == 20 * 2**20
    assert batching["element_size_fn"](b"x" * 10**6) == 10**6


def test_the_configuration_has_the_last_word(tmp_path: Path) -> None:
    own = "--direct_num_workers=7"
    config = load_config(overrides={"data": {"dir": tmp_path}, "beam_args": [own]})
    assert beam_pipeline_args(config)[-1] == own
