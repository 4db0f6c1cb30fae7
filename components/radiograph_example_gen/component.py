"""RadiographExampleGen: the first node of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.radiograph_example_gen.artifact import SplitManifest
from components.radiograph_example_gen.driver import RadiographDriver
from components.radiograph_example_gen.executor import (
    EXAMPLES_KEY,
    MANIFEST_KEY,
    RadiographExampleGenExecutor,
)
from components.radiograph_example_gen.settings import (
    DEFAULT_EVAL_FRACTION,
    DEFAULT_TEST_FRACTION,
    ClassSpec,
    Layout,
    SpanFolder,
    classes_to_json,
    layout_to_json,
    limits_to_json,
    parse_settings,
    spans_to_json,
    to_json,
)
from schema.table import TableColumn
from schema.table import to_json as table_to_json


class RadiographExampleGenSpec(ComponentSpec):
    """Parameters and outputs; there are no input artifacts."""

    PARAMETERS = {
        "data_dir": ExecutionParameter(type=str),
        "metadata_csv": ExecutionParameter(type=str, optional=True),
        "classes": ExecutionParameter(type=str),
        "seed": ExecutionParameter(type=int),
        "limits": ExecutionParameter(type=str),
        "test_fraction": ExecutionParameter(type=str),
        "eval_fraction": ExecutionParameter(type=str),
        "columns": ExecutionParameter(type=str, optional=True),
        "spans": ExecutionParameter(type=str, optional=True),
        "splits_dir": ExecutionParameter(type=str, optional=True),
        "follow_links": ExecutionParameter(type=int, optional=True),
        "layout": ExecutionParameter(type=str, optional=True),
        "table": ExecutionParameter(type=str, optional=True),
        "code_digest": ExecutionParameter(type=str, optional=True),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {
        EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
        MANIFEST_KEY: ChannelParameter(type=SplitManifest),
    }


class RadiographExampleGen(BaseBeamComponent):
    """Folder of radiographs → balanced, exact, patient-disjoint splits.

    Not a FileBasedExampleGen: that one's fingerprint sums sizes and dates, so an image
    moved to another class folder would go unnoticed, and its hash buckets never give
    exact counts.
    """

    SPEC_CLASS = RadiographExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(RadiographExampleGenExecutor)
    DRIVER_CLASS = RadiographDriver

    def __init__(
        self,
        data_dir: str,
        classes: Sequence[ClassSpec],
        seed: int,
        metadata_csv: str | None = None,
        limits: Mapping[str, float] | None = None,
        test_fraction: str = DEFAULT_TEST_FRACTION,
        eval_fraction: str = DEFAULT_EVAL_FRACTION,
        columns: Sequence[str] = (),
        spans: Sequence[SpanFolder] = (),
        splits_dir: str | None = None,
        follow_links: bool = False,
        layout: Layout | None = None,
        table: Sequence[TableColumn] = (),
        code_digest: str | None = None,
    ) -> None:
        """Serialize the settings and check them.

        Args:
            data_dir: local or mounted folder that holds the class folders.
            classes: in label order; each with its name and its folders' names, which
                are compared without regard to case, and words of the table that mean it.
            seed: of the down-sampling and the split.
            metadata_csv: path of the metadata; None reads metadata.csv in `data_dir` if
                it is there.
            limits: max_bad_fraction and max_unmatched_fraction (0..1), max_pixels
                (width × height), min_side (pixels); what is absent has the default of
                `settings.Limits`.
            test_fraction: decimal string, share of a class that is tested on.
            eval_fraction: decimal string, share of the rest that is validated on.
            columns: of the metadata, beyond the contract's, that become features
                (`contract.COLUMN_PREFIX`); upper and lower case don't matter.
            spans: folders below `data_dir` with the class folders, in the order of their
                numbers; none where `data_dir` itself has them.
            splits_dir: where ServingPusher keeps, locally or remotely, the split that each
                image of a span was given; without it the spans' folders alone say so.
            follow_links: also symbolic links that lead out of `data_dir`.
            layout: what says the class of an image, and how the table's columns are called.
            table: columns of the metadata that models take.
            code_digest: anything that changes with the code; it is part of the cache
                key and otherwise unused.

        Raises:
            InputError: a setting is malformed or out of range.
        """
        properties = {
            "data_dir": data_dir,
            "metadata_csv": metadata_csv,
            "classes": classes_to_json(classes),
            "seed": seed,
            "limits": limits_to_json(limits),
            "test_fraction": str(test_fraction),
            "eval_fraction": str(eval_fraction),
            "columns": to_json(list(columns)),
            "spans": spans_to_json(spans),
            "splits_dir": splits_dir,
            "follow_links": int(follow_links),
            "layout": layout_to_json(layout),
            "table": table_to_json(table),
            "code_digest": code_digest,
        }
        parse_settings(properties)
        spec = RadiographExampleGenSpec(
            **properties,
            **{
                EXAMPLES_KEY: types.Channel(type=standard_artifacts.Examples),
                MANIFEST_KEY: types.Channel(type=SplitManifest),
            },
        )
        super().__init__(spec=spec)
