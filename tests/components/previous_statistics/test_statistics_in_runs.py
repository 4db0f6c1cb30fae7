"""The strategy in TFX: what each of several runs is given, and what is cached."""

# No `from __future__ import annotations`: TFX reads those of `Compute`.

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest
from tfx import v1 as tfx
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, channel, component_spec, standard_artifacts

from components.previous_statistics import LatestOtherStatisticsStrategy

pytestmark = pytest.mark.slow


@tfx.dsl.components.component
def Compute(  # noqa: N802 (a node's name)
    statistics: tfx.dsl.components.OutputArtifact[standard_artifacts.ExampleStatistics],
    images: tfx.dsl.components.Parameter[str],
) -> None:
    """Stands in for StatisticsGen."""
    statistics.split_names = artifact_utils.encode_split_names(["train"])
    folder = Path(statistics.uri, "Split-train")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "FeatureStats.pb").write_text(images)


class CompareExecutor(base_executor.BaseExecutor):
    """Notes what it is given."""

    def Do(
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        names = [
            Path(artifact.uri, "Split-train", "FeatureStats.pb").read_text()
            for key in ("statistics", "previous")
            for artifact in input_dict.get(key, [])
        ]
        (report,) = output_dict["report"]
        report.set_string_custom_property("compared", " with ".join(names))


class CompareSpec(component_spec.ComponentSpec):
    """Of a node that reads both, one of them where there is one."""

    PARAMETERS: dict[str, Any] = {}  # noqa: RUF012 (TFX's own contract)
    INPUTS = {  # noqa: RUF012
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "previous": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
    }
    OUTPUTS = {  # noqa: RUF012
        "report": component_spec.ChannelParameter(type=standard_artifacts.String)
    }


class Compare(base_component.BaseComponent):
    """Stands in for what reads the statistics."""

    SPEC_CLASS = CompareSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(CompareExecutor)

    def __init__(self, statistics: Any, previous: Any) -> None:
        report = channel.Channel(type=standard_artifacts.String)
        super().__init__(CompareSpec(statistics=statistics, previous=previous, report=report))


Compared = Callable[[str], list[str]]


@pytest.fixture
def compared(launch: Callable[..., Any]) -> Compared:
    """Runs on such images; returns what was compared so far, nothing from the cache."""

    def run(images: str) -> list[str]:
        statistics_gen = Compute(images=images).with_id("StatisticsGen")
        resolver = tfx.dsl.Resolver(
            strategy_class=LatestOtherStatisticsStrategy,
            current=statistics_gen.outputs["statistics"],
            statistics=tfx.dsl.Channel(
                type=standard_artifacts.ExampleStatistics,
                producer_component_id=statistics_gen.id,
            ),
        ).with_id("PreviousStatistics")
        compare = Compare(statistics_gen.outputs["statistics"], resolver.outputs["statistics"])
        connection = launch(statistics_gen, resolver, compare, enable_cache=True)
        reports = mlmd.MetadataStore(connection).get_artifacts_by_type("String")
        return [report.custom_properties["compared"].string_value for report in reports]

    return run


def test_new_images_are_compared_with_the_last_other_and_a_repetition_is_cached(
    compared: Compared,
) -> None:
    done = ["first"]
    assert compared("first") == done
    assert compared("first") == done
    done += ["second with first"]
    assert compared("second") == done
    assert compared("second") == done
    # Back to the first images, whose statistics are from the cache.
    done += ["first with second"]
    assert compared("first") == done
    assert compared("first") == done
    done += ["third with second"]
    assert compared("third") == done


def test_what_was_deleted_is_passed_over(compared: Compared, tmp_path: Path) -> None:
    compared("first")
    compared("second")
    (second,) = (
        file.parents[1]
        for file in (tmp_path / "root").rglob("FeatureStats.pb")
        if file.read_text() == "second"
    )
    shutil.rmtree(second)
    assert compared("third")[-1] == "third with first"
