"""The pipeline's configuration: one typed object, read from YAML, checked at start.

A preset (pipeline/config/presets/*.yaml) is laid under the user's own YAML file, and the
command line's flags on top. Imports neither TFX nor TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import (
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from common.errors import InputError
from common.strict import Strict
from components.evaluator.configuration import GateConfig
from models.backbones import BACKBONES, get_backbone
from models.hyperparameters import CROSS, TrainingParams
from pipeline.config.audit import AuditConfig
from pipeline.config.beam import check_beam
from pipeline.config.data import SPAN, DataConfig
from pipeline.config.kubeflow import KubeflowConfig
from pipeline.config.layers import Preset, layers, merge
from pipeline.config.nodes import (
    ChampionConfig,
    FeaturizerConfig,
    InfraValidationConfig,
    InputGateConfig,
    PushConfig,
    ServeConfig,
)
from pipeline.config.table import TableConfig, TableKind
from pipeline.config.tuning import TuningConfig
from schema import SCHEMA_FILE

Combining = Literal["ensemble", "cascade", "fusion"]
# More have no work: so many nodes of the DAG are seldom ready at a time.
MOST_PROCESSES: Final = 8
# Block -> a field of it as it was called once -> as it is called.
_OF_TRAINING: Final = {"views": "augmentations", "augmentation": "random_augmentation"}
_RENAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "training": _OF_TRAINING,
    "training_overrides": _OF_TRAINING,
    "kubeflow": {"history": "pushed"},
}


class PipelineConfig(Strict):
    """Everything a run depends on, besides the images and the code.

    Attributes:
        preset: what the configuration starts from.
        data: images, classes, split.
        output: all that the run writes lies below.
        weights_dir: folder with pre-trained weights; Keras' cache or download where null.
        allow_random_weights: go on without pre-trained weights.
        backbones: which to train, by name in the table of backbones.
        combinations: what to put together from the backbones, where there are two or more:
            `ensemble` and `cascade` of their models, `fusion` of their networks behind one head.
        table: models that take columns of the table, where `data.features` names some.
        seed: of every random choice.
        paper_recipe: take learning rate, batch size, epochs and callbacks from the table of
            backbones, where `training` doesn't give them.
        training: how each backbone is trained.
        training_overrides: backbone -> fields of `training` that differ for it.
        continue_training: each backbone starts from its last blessed model on other images;
            where null, it does where the images come in spans.
        abstain_accuracy: models abstain from their least certain answers, so that the rest
            is right this often on the images that they are judged by (`training.validation`).
        input_gate: what is kept out as no radiograph of the kind that was trained with.
        tuning: whether a search replaces fields of `training`.
        featurizer: what runs the frozen networks.
        gate: what a model must reach.
        champion: which of the models that reach it is pushed as `champion`.
        audit: what is looked for in the split, and what stops a push.
        infra_validation: whether and how it must have been served before it is pushed.
        serve: the precision in which what is pushed is served.
        push: whether and by which key what is pushed is signed.
        kubeflow: what a run on Kubeflow needs on top.
        schema_dir: folder with the curated `schema.pbtxt`; the packaged one where null.
        beam: where the Beam nodes run: an engine (`pipeline.config.beam.ENGINES`), or the path
            of a YAML mapping of Beam's pipeline options.
        beam_args: further pipeline options, as `--name=value`; they win.
        processes: of this machine that execute nodes side by side; `auto` takes two where
            there are cores, memory and no GPU for it. The results are the same.
        enable_cache: reuse what an earlier run in `output` computed from the same inputs.
    """

    preset: Preset = "fast"
    data: DataConfig
    output: Path = Path("output")
    weights_dir: Path | None = None
    allow_random_weights: bool = False
    backbones: tuple[str, ...] = tuple(BACKBONES)
    combinations: tuple[Combining, ...] = ("ensemble", "cascade", "fusion")
    table: TableConfig = TableConfig()
    seed: int = Field(0, ge=0, lt=2**31)
    paper_recipe: bool = False
    training: TrainingParams = TrainingParams()
    training_overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    continue_training: bool | None = None
    abstain_accuracy: float = Field(0.99, gt=0.0, le=1.0)
    input_gate: InputGateConfig = InputGateConfig()
    tuning: TuningConfig = TuningConfig()
    featurizer: FeaturizerConfig = FeaturizerConfig()
    gate: GateConfig = GateConfig()
    champion: ChampionConfig = ChampionConfig()
    audit: AuditConfig = AuditConfig()
    infra_validation: InfraValidationConfig = InfraValidationConfig()
    serve: ServeConfig = ServeConfig()
    push: PushConfig = PushConfig()
    kubeflow: KubeflowConfig = KubeflowConfig()
    schema_dir: Path | None = None
    beam: str = "direct"
    beam_args: tuple[str, ...] = ()
    processes: int | Literal["auto"] = "auto"
    enable_cache: bool = True

    @field_validator("beam")
    @classmethod
    def _check_beam(cls, beam: str) -> str:
        return check_beam(beam)

    @field_validator("beam_args")
    @classmethod
    def _check_beam_args(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        for argument in arguments:
            if not argument.startswith("--"):
                raise ValueError(f"{argument!r} is no Beam option: write --name=value")
        return arguments

    @field_validator("processes")
    @classmethod
    def _check_processes(cls, processes: int | Literal["auto"]) -> int | Literal["auto"]:
        if processes != "auto" and not 1 <= processes <= MOST_PROCESSES:
            raise ValueError(f"{processes} is none of auto, 1 … {MOST_PROCESSES}")
        return processes

    @field_validator("backbones")
    @classmethod
    def _check_backbones(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("at least one is needed")
        for name in names:
            if name not in BACKBONES:
                raise ValueError(f"{name!r} is unknown; known are {', '.join(BACKBONES)}")
        if len(set(names)) != len(names):
            raise ValueError("each at most once")
        return names

    @field_validator("combinations")
    @classmethod
    def _check_combinations(cls, kinds: tuple[Combining, ...]) -> tuple[Combining, ...]:
        if len(set(kinds)) != len(kinds):
            raise ValueError("each at most once")
        return kinds

    @property
    def combined(self) -> tuple[Combining, ...]:
        """`combinations`, where there are backbones to combine."""
        return self.combinations if len(self.backbones) > 1 else ()

    @property
    def tabled(self) -> tuple[TableKind, ...]:
        """`table.models`, where there are columns to take."""
        return self.table.models if self.data.table else ()

    @property
    def put_together(self) -> tuple[str, ...]:
        """All models that stand on what the backbones computed, in the order of the pages."""
        return (*self.combined, *self.tabled)

    @property
    def fuses(self) -> bool:
        """True where a head stands on the taps of `Backbone.fused_taps`."""
        return "fusion" in self.combined or "joint" in self.tabled

    @property
    def fused_validation(self) -> Literal["cross", "holdout"]:
        """As `training.validation` says; the fused head is fitted by L-BFGS in any case."""
        return self.training.validation or CROSS

    @property
    def continues(self) -> bool:
        """True where training starts from an earlier model."""
        return self.data.in_spans if self.continue_training is None else self.continue_training

    @model_validator(mode="after")
    def _check_training(self) -> Self:
        unknown = set(self.training_overrides) - set(BACKBONES)
        if unknown:
            raise ValueError(f"training_overrides: unknown backbone {', '.join(sorted(unknown))}")
        for name in dict.fromkeys((*self.backbones, *self.training_overrides)):
            try:
                params = self.training_for(name)
            except ValidationError as error:
                # From here on it would lose the place in which the value stands.
                problems = _problems(error, f"training_overrides.{name}")
                raise ValueError("; ".join(problems)) from error
            allowed = get_backbone(name).boundaries
            if params.boundary not in allowed:
                raise ValueError(
                    f"training.boundary: {params.boundary!r} is none of {name}'s; "
                    f"it has {', '.join(allowed)}"
                )
        return self

    @model_validator(mode="after")
    def _check_slices(self) -> Self:
        names = [each.name for each in self.data.classes]
        problems = [
            f"gate.slices.{index}.value: {part.value!r} is no class; "
            f"data.classes has {', '.join(names)}"
            for index, part in enumerate(self.gate.slices)
            if part.feature == "class" and part.value not in (None, *names)
        ]
        # Else the columns are known when the metadata are read: pipeline.resolve.columns.
        if self.data.slice_columns is not None:
            problems += self.gate.unknown_features(self.data.slice_columns)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _check_tuning(self) -> Self:
        if problems := self.tuning.problems(self.backbones, self.training.validation):
            raise ValueError("; ".join(problems))
        return self

    def training_for(self, backbone: str) -> TrainingParams:
        """Return the training parameters of one backbone.

        Fields that the configuration gives win over the paper's recipe, and the backbone's
        own over both.
        """
        merged = self.training.model_dump()
        if self.paper_recipe:
            recipe = asdict(get_backbone(backbone).paper)
            given = self.training.model_fields_set
            merged |= {name: value for name, value in recipe.items() if name not in given}
        merged = merge(merged, self.training_overrides.get(backbone, {}))
        return TrainingParams.model_validate(merged).resolved(get_backbone(backbone))


def load_config(
    file: Path | None = None,
    *,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> PipelineConfig:
    """Read preset, file and overrides into one checked configuration.

    Args:
        file: the user's YAML; may name a `preset`. Relative paths in it are relative to
            its folder.
        preset: wins over the file's.
        overrides: nested fields that win over both.

    Raises:
        InputError: names each field that is wrong.
    """
    return from_layers(layers(file, preset=preset, overrides=overrides), file)


def from_layers(given: Sequence[tuple[str, dict[str, Any]]], file: Path | None) -> PipelineConfig:
    """Merge layers into one checked configuration.

    Args:
        given: of `layers`.
        file: the user's YAML, to name it in an error.

    Raises:
        InputError: names each field that is wrong.
    """
    values: dict[str, Any] = {}
    for _, layer in given:
        values = merge(values, layer)
    try:
        return TypeAdapter(PipelineConfig).validate_python(values)
    except ValidationError as error:
        raise InputError(_explain(error, file)) from error


def _explain(error: ValidationError, file: Path | None) -> str:
    where = f" in {file}" if file else ""
    return f"configuration{where} is wrong:\n  " + "\n  ".join(_problems(error))


def _problems(error: ValidationError, below: str = "") -> list[str]:
    """Write a line for each wrong field: its name, from `below` on, and what is wrong."""
    lines = []
    for problem in error.errors():
        field = ".".join(filter(None, (below, *(str(part) for part in problem["loc"]))))
        said = problem["msg"].removeprefix("Value error, ")
        block, _, name = field.partition(".")
        renamed = _RENAMED.get(block, {}).get(name.rpartition(".")[-1])
        if renamed and problem["type"] == "extra_forbidden":
            said = f"is called {renamed!r} now"
        lines.append(f"{field}: {said}" if field else said)
    return lines


def check_inputs(config: PipelineConfig) -> None:
    """Check that the files and folders that a local run reads are there.

    Raises:
        InputError: names each field whose file or folder is missing.
    """
    data = config.data
    problems = []
    # Which spans there are, `pipeline.resolve.spans` looks.
    if not data.in_spans and not data.dir.is_dir():
        problems.append(f"data.dir: {data.dir} is no folder")
    if data.metadata and SPAN not in str(data.metadata) and not data.metadata.is_file():
        problems.append(f"data.metadata: {data.metadata} is no file")
    for field, folder in (("data.dir", data.dir), ("output", config.output)):
        signs = sorted(set("*?[") & set(str(folder.resolve())))
        if signs:
            # Beam and TFX take paths for patterns.
            problems.append(
                f"{field}: {folder} holds {', '.join(map(repr, signs))}, which Beam would take for "
                "a pattern of names; rename the folder"
            )
    if config.weights_dir and not config.weights_dir.is_dir():
        problems.append(f"weights_dir: {config.weights_dir} is no folder")
    if config.schema_dir and not (config.schema_dir / SCHEMA_FILE).is_file():
        problems.append(f"schema_dir: {config.schema_dir} holds no {SCHEMA_FILE}")
    if problems:
        raise InputError("configuration is wrong:\n  " + "\n  ".join(problems))
