"""Run a small Beam pipeline in this process, value by value, without serialising anything.

Beam's local runner treats each job as if its workers were elsewhere: it writes the pipeline down,
and pickles functions, values and accumulators between stages. For a TFMA job on a few hundred
answers that is a third of the CPU seconds (`make bench-evaluation`, docs/benchmarks.md).
`InProcessRunner` hands Python's objects on instead. It computes what Beam's local runner computes,
in the same order, so that sums are the same to the last bit
(tests/common/test_in_process_beam.py).

It knows bounded sources, ParDo with side inputs, groups and combines, all in the one global window.
A pipeline with anything else goes to Beam's own local runner as it is.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final

import apache_beam as beam
from absl import logging
from apache_beam import coders, pvalue
from apache_beam.io import iobase
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.pipeline import AppliedPTransform
from apache_beam.runners.common import DoFnRunner, DoFnSignature, Receiver
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState
from apache_beam.transforms import core, userstate
from apache_beam.transforms.combiners import curry_combine_fn
from apache_beam.transforms.sideinputs import SideInputMap
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

_VIEWS: Final = (pvalue.AsSingleton, pvalue.AsIter, pvalue.AsList, pvalue.AsDict)
# DirectRunner, by the name of its class.
_LOCAL: Final = "SwitchingDirectRunner"
_Take = Callable[[WindowedValue], None]


def in_process(pipeline: beam.Pipeline) -> beam.Pipeline:
    """Return a pipeline that runs in this process, if that is where the given one would run.

    Args:
        pipeline: with nothing in it yet. It is returned where its options name another runner,
            several workers or streaming.
    """
    direct = pipeline.options.view_as(DirectOptions)
    if (
        type(pipeline.runner).__name__ != _LOCAL
        or direct.direct_running_mode != "in_memory"
        or direct.direct_num_workers != 1
        or pipeline.options.view_as(StandardOptions).streaming
    ):
        return pipeline
    options = pipeline.options.view_as(_Options)
    return beam.Pipeline(runner=InProcessRunner(pipeline.runner), options=options)


class _Options(PipelineOptions):
    """Options whose views are made once: Beam asks a thousand times, and each makes a parser."""

    def view_as(self, cls: type[PipelineOptions]) -> PipelineOptions:
        # Beam lets no other attribute be set.
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]


class InProcessRunner(PipelineRunner):
    """Beam's local runner without its serialisation, for pipelines that need none."""

    def __init__(self, otherwise: PipelineRunner) -> None:
        """Take the runner for pipelines that this one can't run."""
        super().__init__()
        self._otherwise = otherwise

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> PipelineResult:
        """Run a pipeline to its end.

        Raises:
            Exception: whatever a function of the pipeline raises, with its step's name.
        """
        try:
            steps = [_step(node) for node in _primitive(pipeline.transforms_stack[0])]
        except _UnsupportedError as reason:
            logging.info("Beam's own runner takes the job: %s.", reason)
            return self._otherwise.run_pipeline(pipeline, options)
        takers: defaultdict[pvalue.PCollection, list[_Take]] = defaultdict(list)
        for step in steps:
            for source, take in step.takes():
                takers[source].append(take)
        with contextlib.ExitStack() as ending:
            for step in steps:
                step.start(takers, ending)
            # Whatever a step takes from is finished before it: it has all values by then.
            for step in steps:
                step.finish()
        return PipelineResult(PipelineState.DONE)


class _UnsupportedError(Exception):
    """Says what InProcessRunner doesn't know."""


def _primitive(node: AppliedPTransform) -> Iterator[AppliedPTransform]:
    """Yield what is executed, in the order of its application: sources before what takes them."""
    if node.parts and not isinstance(node.transform, (core.CombinePerKey, iobase.Read)):
        for part in node.parts:
            yield from _primitive(part)
    elif isinstance(node.transform, beam.ParDo) or set(node.outputs.values()) - set(node.inputs):
        yield node


def _step(node: AppliedPTransform) -> _Step:
    for source in node.inputs:
        if isinstance(source, pvalue.PCollection) and not source.windowing.is_default():
            raise _UnsupportedError(f"{node.full_label} takes windows or triggers")
    for kind, step in _STEPS.items():
        if isinstance(node.transform, kind):
            return step(node)
    raise _UnsupportedError(f"{node.full_label} is a {type(node.transform).__name__}")


class _Output(Receiver):
    """Hands a value on to all that take from a PCollection."""

    def __init__(self, takers: list[_Take]) -> None:
        self._takers = takers

    def receive(self, windowed_value: WindowedValue) -> None:
        for take in self._takers:
            take(windowed_value)


class _Step:
    """A transform while it runs. This one hands on what it takes: Flatten."""

    def __init__(self, node: AppliedPTransform) -> None:
        self.node = node
        self.outputs: defaultdict[str | None, _Output] = defaultdict(lambda: _Output([]))

    def takes(self) -> list[tuple[pvalue.PCollection, _Take]]:
        """List what it takes from, each with what is called with a value."""
        return [(one, self.take) for one in self.node.inputs if isinstance(one, pvalue.PCollection)]

    def take(self, value: WindowedValue) -> None:
        """Take a value of a main input."""
        self.outputs[None].receive(value)

    def start(
        self,
        takers: defaultdict[pvalue.PCollection, list[_Take]],
        ending: contextlib.ExitStack,
    ) -> None:
        """Learn who takes what it makes; whatever has to happen in the end goes into `ending`."""
        self.outputs.update({tag: _Output(takers[out]) for tag, out in self.node.outputs.items()})

    def finish(self) -> None:
        """Do what is left when all is taken."""

    def emit(self, value: Any) -> None:
        """Hand on a value in the global window."""
        self.outputs[None].receive(GlobalWindows.windowed_value(value))


class _Impulse(_Step):
    def finish(self) -> None:
        self.emit(b"")


class _Read(_Step):
    def __init__(self, node: AppliedPTransform) -> None:
        super().__init__(node)
        self._source = node.transform.source
        if not isinstance(self._source, iobase.BoundedSource):
            raise _UnsupportedError(f"{node.full_label} reads without an end")

    def takes(self) -> list[tuple[pvalue.PCollection, _Take]]:
        return []

    def finish(self) -> None:
        for value in self._source.read(self._source.get_range_tracker(None, None)):
            self.emit(value)


class _WindowInto(_Step):
    def __init__(self, node: AppliedPTransform) -> None:
        super().__init__(node)
        if not node.transform.windowing.is_default():
            raise _UnsupportedError(f"{node.full_label} makes windows or triggers")


class _ParDo(_Step):
    """Asks a DoFn: with each value at once, or when the side inputs are whole."""

    def __init__(self, node: AppliedPTransform) -> None:
        super().__init__(node)
        signature = DoFnSignature(node.transform.dofn)
        if userstate.is_stateful_dofn(node.transform.dofn) or signature.is_splittable_dofn():
            raise _UnsupportedError(f"{node.full_label} has state or restrictions")
        if isinstance(node.transform.dofn, core.CombineValuesDoFn):
            raise _UnsupportedError(f"{node.full_label} combines what others grouped")
        if not all(isinstance(view, _VIEWS) for view in node.side_inputs):
            raise _UnsupportedError(f"{node.full_label} has a side input of another kind")
        self._waiting: list[WindowedValue] = []
        self._beside: list[list[WindowedValue]] = [[] for _ in node.side_inputs]

    def takes(self) -> list[tuple[pvalue.PCollection, _Take]]:
        views = zip(self.node.side_inputs, self._beside, strict=True)
        return super().takes() + [(view.pvalue, values.append) for view, values in views]

    def take(self, value: WindowedValue) -> None:
        if self._beside:
            self._waiting.append(value)
        else:
            self._runner.process(value)

    def start(
        self,
        takers: defaultdict[pvalue.PCollection, list[_Take]],
        ending: contextlib.ExitStack,
    ) -> None:
        super().start(takers, ending)
        transform = self.node.transform
        self._runner = DoFnRunner(
            transform.dofn,
            transform.args,
            transform.kwargs,
            [
                SideInputMap(type(view), view._view_options(), values)
                for view, values in zip(self.node.side_inputs, self._beside, strict=True)
            ],
            self.node.inputs[0].windowing,
            self.outputs,
            step_name=self.node.full_label,
        )
        self._runner.setup()
        ending.callback(self._runner.teardown)
        self._runner.start()

    def finish(self) -> None:
        for value in self._waiting:
            self._runner.process(value)
        self._runner.finish()
        self._runner.finalize()


class _GroupByKey(_Step):
    """Groups; keys are the same where Beam writes them the same."""

    def __init__(self, node: AppliedPTransform) -> None:
        super().__init__(node)
        coder = coders.registry.get_coder(node.inputs[0].element_type)
        keys = coder.key_coder() if coder.is_kv_coder() else coders.FastPrimitivesCoder()
        self._coder = keys.as_deterministic_coder(node.full_label)
        self._groups: dict[bytes, list[Any]] = {}

    def take(self, value: WindowedValue) -> None:
        self.add(*value.value)

    def add(self, key: Any, value: Any) -> None:
        """Put a value into its key's group."""
        self._groups.setdefault(self._coder.encode(key), []).append(value)

    def finish(self) -> None:
        for key, group in self._groups.items():
            self.emit((self._coder.decode(key), self.whole(group)))
        self._groups = {}

    def whole(self, group: list[Any]) -> Any:
        """Return what is handed on for a group."""
        return group


class _CombinePerKey(_GroupByKey):
    """Combines as Beam's local runner does with one bundle: adds up, then merges and extracts.

    What is added up is kept by the key itself, before the key is written: 1 and True add up.
    """

    def __init__(self, node: AppliedPTransform) -> None:
        super().__init__(node)
        transform = node.transform
        if node.side_inputs:
            raise _UnsupportedError(f"{node.full_label} combines with side inputs")
        self._fn = curry_combine_fn(transform.fn, transform.args, transform.kwargs)
        self._added: dict[Any, Any] = {}

    def start(
        self,
        takers: defaultdict[pvalue.PCollection, list[_Take]],
        ending: contextlib.ExitStack,
    ) -> None:
        super().start(takers, ending)
        self._fn.setup()
        ending.callback(self._fn.teardown)

    def take(self, value: WindowedValue) -> None:
        key, one = value.value
        if key not in self._added:
            self._added[key] = self._fn.create_accumulator()
        self._added[key] = self._fn.add_input(self._added[key], one)

    def finish(self) -> None:
        for key, added in self._added.items():
            self.add(key, self._fn.compact(added))
        self._added = {}
        super().finish()

    def whole(self, group: list[Any]) -> Any:
        return self._fn.extract_output(self._fn.merge_accumulators(group))


_STEPS: Final[dict[type[beam.PTransform], type[_Step]]] = {
    core.Impulse: _Impulse,
    iobase.Read: _Read,
    core.WindowInto: _WindowInto,
    core.Flatten: _Step,
    core.CombinePerKey: _CombinePerKey,
    core.GroupByKey: _GroupByKey,
    core.ParDo: _ParDo,
}
