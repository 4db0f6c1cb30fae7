"""Beam jobs of TFX's executors in the test's own process, counters included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.metrics.cells import CounterCell
from apache_beam.metrics.execution import MetricKey, MetricResult, MetricsContainer
from apache_beam.metrics.metric import MetricResults
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState
from apache_beam.runners.worker import statesampler
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

from common.in_process_beam import InProcessRunner, in_process


class _Counters(MetricResults):
    """What a job's functions count; Beam looks for it by the thread."""

    def __init__(self) -> None:
        self._cells = MetricsContainer("")

    def update_metric(self, metric: Any, value: Any) -> None:
        """Count; called by Beam."""
        self._cells.get_metric_cell(metric).update(value)

    def query(self, filter: Any = None) -> dict[str, list[MetricResult]]:
        """Return the counters; other metrics aren't kept."""
        found = [
            MetricResult(MetricKey("", name.metric_name), cell.get_cumulative(), None)
            for name, cell in self._cells.metrics.items()
            if name.cell_type is CounterCell
        ]
        return {self.COUNTERS: [one for one in found if self.matches(filter, one.key)]}


class _Counted(PipelineResult):
    """A job that is over."""

    def __init__(self, counters: _Counters) -> None:
        super().__init__(PipelineState.DONE)
        self._counters = counters

    def metrics(self) -> MetricResults:
        """Return what was counted."""
        return self._counters


class _CountingRunner(InProcessRunner):
    """Keeps counters, which the product's own jobs in process have none of."""

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> PipelineResult:
        """Run the pipeline; Beam's own runner counts for itself."""
        counters, before = _Counters(), statesampler.get_current_tracker()
        statesampler.set_current_tracker(counters)
        try:
            result = super().run_pipeline(pipeline, options)
        finally:
            statesampler.set_current_tracker(before)
        return _Counted(counters) if type(result) is PipelineResult else result


@contextmanager
def views_once() -> Iterator[None]:
    """Have options make each of their views once, for Beam's own runner, too.

    Beam asks a job's options a thousand times, and each view makes a parser of its own. All share
    their values (common/in_process_beam.py does the same for the product's jobs).
    """
    view_as = PipelineOptions.view_as

    def once(options: PipelineOptions, cls: type[PipelineOptions]) -> PipelineOptions:
        views = options.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = view_as(options, cls)
        return views[cls]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PipelineOptions, "view_as", once)
        yield


@contextmanager
def quick_beam() -> Iterator[None]:
    """Run executors' jobs here, without Beam's serialisation, in a fraction of the time.

    That the results are the same is shown by tests/common/test_in_process_beam.py. What
    InProcessRunner doesn't know goes to Beam's own runner.
    """
    make = BaseBeamExecutor._make_beam_pipeline

    def made(executor: BaseBeamExecutor) -> beam.Pipeline:
        pipeline = in_process(make(executor))
        if type(pipeline.runner) is InProcessRunner:
            pipeline.runner = _CountingRunner(pipeline.runner._otherwise)
        return pipeline

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseBeamExecutor, "_make_beam_pipeline", made)
        yield
