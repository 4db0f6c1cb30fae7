"""What a pipeline computes in this process, beside what Beam's own local runner does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam import pvalue
from apache_beam.coders import VarIntCoder
from apache_beam.io import ReadFromTFRecord, WriteToTFRecord
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineRunner
from apache_beam.transforms import trigger, window
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from common.in_process_beam import InProcessRunner, in_process
from tests.quick_beam import views_once

Build = Callable[[beam.Pipeline], pvalue.PCollection]
ALIKE = st.sampled_from([1, True, 1.0, "1", b"1", None, (1, "a"), (1.0, "a")])
# Not one of them is exact, so that another order of their sum shows.
ADDENDS = st.floats(-1e8, 1e8, allow_nan=False)


class Refusing(PipelineRunner):
    """A runner for what InProcessRunner can't do, that says whether it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = False

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> PipelineResult:
        self.asked = True
        return beam.runners.DirectRunner().run_pipeline(pipeline, options)


class Floats(beam.CombineFn):
    """A sum whose last bit tells the order, and that notes how it came about."""

    def create_accumulator(self) -> tuple[float, tuple[str, ...]]:
        return 0.0, ()

    def add_input(
        self, accumulator: tuple[float, tuple[str, ...]], element: float
    ) -> tuple[float, tuple[str, ...]]:
        return accumulator[0] + element, (*accumulator[1], "add")

    def merge_accumulators(
        self, accumulators: Iterable[tuple[float, tuple[str, ...]]]
    ) -> tuple[float, tuple[str, ...]]:
        total = 0.0
        steps: tuple[str, ...] = ()
        for each, taken in accumulators:
            total, steps = total + each, (*steps, *taken)
        return total, (*steps, "merge")

    def compact(self, accumulator: tuple[float, tuple[str, ...]]) -> tuple[float, tuple[str, ...]]:
        return accumulator[0] / 3, (*accumulator[1], "compact")

    def extract_output(
        self, accumulator: tuple[float, tuple[str, ...]]
    ) -> tuple[str, tuple[str, ...]]:
        return accumulator[0].hex(), (*accumulator[1], "extract")


class Bundle(beam.DoFn):
    """Emits what it was told, and how its life went."""

    def setup(self) -> None:
        self.seen = ["setup"]

    def start_bundle(self) -> None:
        self.seen.append("start")

    def process(self, element: Any) -> Iterator[Any]:
        self.seen.append("process")
        yield element
        if element == 1:
            yield pvalue.TaggedOutput("one", "it")

    def finish_bundle(self) -> Iterator[window.WindowedValue]:
        yield window.GlobalWindows.windowed_value(tuple(self.seen))


class Note(beam.DoFn):
    """Writes what it gets into a file, a line each: at a fraction of what Beam's own sinks cost."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def process(self, element: Any) -> None:
        with self._file.open("a") as noted:
            noted.write(f"{element!r}\n")


def _results(build: Build, runner: PipelineRunner, folder: Path) -> list[str]:
    noted = folder / "noted"
    noted.touch()
    with views_once(), beam.Pipeline(runner=runner) as pipeline:
        _ = build(pipeline) | "note" >> beam.ParDo(Note(noted))
    return noted.read_text().splitlines()


def _read(file: Path) -> Iterator[bytes]:
    source = ReadFromTFRecord(str(file))._source
    yield from source.read(source.get_range_tracker(None, None))


def _given(values: Iterable[Any]) -> beam.Create:
    return beam.Create(list(values), reshuffle=False)


def _alike(build: Build, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Run it on either runner, and return what both wrote, in this process' order.

    Beam promises no order but that within a group, which is part of the group's text.
    """
    refusing = Refusing()
    here, there = (
        _results(build, runner, tmp_path_factory.mktemp("run"))
        for runner in (InProcessRunner(refusing), beam.runners.DirectRunner())
    )
    assert not refusing.asked
    assert sorted(here) == sorted(there)
    return here


# Beam's own runner takes two seconds an example, of whatever size; so these are few and long.
@settings(max_examples=2, deadline=None, phases=[Phase.explicit, Phase.generate])
@example(rows=[])
@example(rows=[(key, value) for value in (1e8, 0.1, -1e8, 0.3) for key in (1, True, 1.0, "1")])
@given(rows=st.lists(st.tuples(ALIKE, ADDENDS), min_size=20, max_size=40))
def test_groups_and_sums_are_those_of_beam_to_the_last_bit(
    rows: list[tuple[Any, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def build(pipeline: beam.Pipeline) -> pvalue.PCollection:
        given = pipeline | _given(rows)
        sums = given | beam.CombinePerKey(Floats())
        hot = given | "hot" >> beam.CombinePerKey(Floats()).with_hot_key_fanout(8)
        groups = given | beam.GroupByKey() | beam.MapTuple(lambda key, group: (key, list(group)))
        number = given | beam.combiners.Count.Globally()
        return (sums, hot, groups, number) | beam.Flatten()

    written = _alike(build, tmp_path_factory)
    assert f"{len(rows)}" in written
    assert all("'compact', 'merge', 'extract'" in each for each in written if "extract" in each)


def test_side_inputs_are_whole_before_they_are_looked_at(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def build(pipeline: beam.Pipeline) -> pvalue.PCollection:
        # The ones beside come from behind a group, and later than the main ones.
        main = pipeline | "main" >> _given([1, 2, 3])
        beside = pipeline | "beside" >> _given([("a", 1), ("a", 2), ("b", 3)])
        sums = beside | beam.CombinePerKey(sum)
        return main | beam.Map(
            lambda *seen, **named: (*map(_plain, seen), _plain(named["pairs"])),
            pvalue.AsList(sums),
            pvalue.AsIter(beside),
            pvalue.AsSingleton(sums | beam.combiners.Count.Globally()),
            "as it is",
            pairs=pvalue.AsDict(sums),
        )

    def _plain(value: Any) -> Any:
        return value if isinstance(value, (int, str, dict)) else sorted(value)

    assert _alike(build, tmp_path_factory) == [
        repr((n, [("a", 3), ("b", 3)], [("a", 1), ("a", 2), ("b", 3)], 2, "as it is", pairs))
        for n in (1, 2, 3)
        for pairs in ({"a": 3, "b": 3},)
    ]


def test_two_singletons_are_an_error(tmp_path: Path) -> None:
    def build(pipeline: beam.Pipeline) -> pvalue.PCollection:
        two = pipeline | "two" >> _given([1, 2])
        return pipeline | _given([1]) | beam.Map(lambda one, _: one, pvalue.AsSingleton(two))

    for runner in (InProcessRunner(Refusing()), beam.runners.DirectRunner()):
        with pytest.raises(Exception, match="accessed as a singleton"):
            _results(build, runner, tmp_path)


@pytest.mark.parametrize("values", [[], [1, 2]])
def test_a_bundle_begins_and_ends_and_its_outputs_have_names(
    values: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def build(pipeline: beam.Pipeline) -> pvalue.PCollection:
        made = pipeline | _given(values) | beam.ParDo(Bundle()).with_outputs("one", main="rest")
        return (made.rest, made.one) | beam.Flatten()

    life = ("setup", "start", *["process"] * len(values))
    assert _alike(build, tmp_path_factory) == [
        *(["1", "'it'", "2"] if values else []),
        repr(life),
    ]


@pytest.mark.parametrize("shards", [0, 1])
def test_files_are_written_in_order(shards: int, tmp_path: Path) -> None:
    """In as many as Beam's bundles are, or in one."""
    values = [b"%d" % number for number in range(5)]
    with beam.Pipeline(runner=InProcessRunner(Refusing())) as pipeline:
        _ = pipeline | _given(values) | WriteToTFRecord(str(tmp_path / "w"), num_shards=shards)
    assert [value for file in sorted(tmp_path.iterdir()) for value in _read(file)] == values


def test_files_are_read_in_order(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("read")
    with beam.Pipeline(runner=InProcessRunner(Refusing())) as pipeline:
        for name, values in (("a", [b"1", b"2"]), ("b", [b"3"]), ("c", [])):
            given = pipeline | f"of {name}" >> _given(values)
            _ = given | f"to {name}" >> WriteToTFRecord(str(folder / name))
    assert len(list(folder.iterdir())) == 3
    read = _alike(lambda pipeline: pipeline | ReadFromTFRecord(f"{folder}/*"), tmp_path_factory)
    assert read == ["b'1'", "b'2'", "b'3'"]


# Outside the DoFn, which Beam copies.
_down: list[int] = []


class Failing(beam.DoFn):
    """Divides by what it gets."""

    def process(self, element: int) -> Iterator[int]:
        self._element = element
        yield 1 // element

    def teardown(self) -> None:
        _down.append(self._element)


def test_an_error_names_its_step_and_what_was_begun_is_taken_down() -> None:
    _down.clear()
    with (
        pytest.raises(ZeroDivisionError, match=r"while running 'divide'"),
        beam.Pipeline(runner=InProcessRunner(Refusing())) as pipeline,
    ):
        _ = pipeline | _given([0]) | "divide" >> beam.ParDo(Failing())
    assert _down == [0]


_LAST = ReadModifyWriteStateSpec("last", VarIntCoder())


class Numbered(beam.DoFn):
    """Has a state."""

    def process(
        self,
        element: tuple[str, int],
        last: Any = beam.DoFn.StateParam(_LAST),  # noqa: B008 - Beam's way to say it
    ) -> Iterator[int]:
        last.write((last.read() or 0) + element[1])
        yield last.read()


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        (beam.ParDo(Numbered()), ["1", "3"]),
        (beam.Reshuffle(), ["('a', 1)", "('a', 2)"]),
        (beam.WindowInto(window.FixedWindows(1)), ["('a', 1)", "('a', 2)"]),
        (
            beam.WindowInto(
                window.GlobalWindows(),
                trigger=trigger.Repeatedly(trigger.AfterCount(1)),
                accumulation_mode=trigger.AccumulationMode.ACCUMULATING,
            ),
            ["('a', 1)", "('a', 2)"],
        ),
    ],
)
def test_what_it_does_not_know_goes_to_beam(
    rest: beam.PTransform, found: list[str], tmp_path: Path
) -> None:
    refusing = Refusing()

    def build(pipeline: beam.Pipeline) -> pvalue.PCollection:
        return pipeline | _given([("a", 1), ("a", 2)]) | rest

    with views_once(), beam.Pipeline(runner=InProcessRunner(refusing)) as pipeline:
        _ = (
            build(pipeline)
            | "as they came" >> beam.WindowInto(window.GlobalWindows())
            | beam.Map(lambda value: repr(value).encode())
            | WriteToTFRecord(str(tmp_path / "written"))
        )
    assert refusing.asked
    assert sorted(v.decode() for f in tmp_path.iterdir() for v in _read(f)) == found


@pytest.mark.parametrize(
    "arguments",
    [
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
        ["--direct_num_workers=2"],
        ["--streaming"],
        ["--runner=BundleBasedDirectRunner"],
    ],
)
def test_who_asks_for_another_way_gets_it(arguments: list[str]) -> None:
    pipeline = beam.Pipeline(argv=arguments)
    assert in_process(pipeline) is pipeline


@pytest.mark.parametrize("arguments", [[], ["--runner=DirectRunner"], ["--direct_num_workers=1"]])
def test_a_local_pipeline_stays_in_its_process_with_its_options(arguments: list[str]) -> None:
    quick = in_process(beam.Pipeline(argv=[*arguments, "--temp_location=/somewhere"]))
    assert isinstance(quick.runner, InProcessRunner)
    assert quick.options.get_all_options()["temp_location"] == "/somewhere"
    view = quick.options.view_as(DirectOptions)
    assert quick.options.view_as(DirectOptions) is view
    view.direct_num_workers = 3
    assert quick.options.get_all_options()["direct_num_workers"] == 3
