"""A pipeline as TFX's own examples are written, on the same images in the same splits.

Stock components with their defaults: statistics over everything, module files, a float
Transform output, and the whole backbone in every epoch. The benchmark runs it in a process
of its own: `python -m benchmarks.training.stock.pipeline`.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer

from benchmarks.training.store import write_json
from common.runtime import logs_to, make_folder, prepare_environment, scratch_below

_MODULES: Final = Path(__file__).parent / "modules"
_ACCURACY: Final = "accuracy"


@dataclass(frozen=True)
class Settings:
    """The settings of the stock pipeline.

    Attributes:
        data: folder of images, as `cxr run` takes it.
        output: all that it writes.
        backbones: names in the table.
        weights_dir: as `cxr run` takes it.
        random_weights: go on where none are found.
        epochs: of each Trainer.
        seed: of the split and the trainings.
    """

    data: Path
    output: Path
    backbones: tuple[str, ...]
    weights_dir: Path | None
    random_weights: bool
    epochs: int
    seed: int


def run(settings: Settings, shown: TextIO | None = None) -> dict[str, Any]:
    """Build the pipeline and run it.

    Args:
        settings: what it is given.
        shown: gets a line a node; standard output where None.

    Returns:
        `accuracy`: backbone -> on the test split; `images`: of the test split; `nodes`:
        node -> seconds.
    """
    prepare_environment()
    from tfx import v1 as tfx

    from pipeline.local.console import Console
    from pipeline.local.progress import NodeClock
    from pipeline.local_runner import run_observed

    clock = NodeClock(Console(shown))
    pipeline = _pipeline(settings)
    run_observed(lambda: tfx.orchestration.LocalDagRunner().run(pipeline), clock)
    metrics = {name: _metrics(settings.output, name) for name in settings.backbones}
    return {
        "accuracy": {name: values[_ACCURACY] for name, values in metrics.items()},
        "images": {name: values["example_count"] for name, values in metrics.items()},
        "nodes": clock.seconds,
    }


def _pipeline(settings: Settings) -> Any:
    from tfx import v1 as tfx

    from components.radiograph_example_gen import RadiographExampleGen
    from pipeline.config.pipeline_config import load_config

    overrides = {"data": {"dir": settings.data}, "seed": settings.seed}
    classes = load_config(overrides=overrides).data.classes
    examples = RadiographExampleGen(
        data_dir=str(settings.data.resolve()),
        classes=[{"name": c.name, "folders": c.folders} for c in classes],
        seed=settings.seed,
    )
    statistics = tfx.components.StatisticsGen(examples=examples.outputs["examples"])
    schema = tfx.components.SchemaGen(
        statistics=statistics.outputs["statistics"], infer_feature_shape=True
    )
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    transform = tfx.components.Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        module_file=str(_MODULES / "preprocessing.py"),
    )
    nodes = [examples, statistics, schema, validator, transform]
    for name in settings.backbones:
        nodes += _branch(name, settings, len(classes), examples, transform)
    return tfx.dsl.Pipeline(
        pipeline_name="stock",
        pipeline_root=str(_root(settings.output)),
        components=nodes,
        enable_cache=True,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(settings.output.resolve() / "metadata.sqlite")
        ),
    )


def _branch(
    name: str, settings: Settings, n_classes: int, examples: Any, transform: Any
) -> list[Any]:
    from tfx import v1 as tfx

    trainer = tfx.components.Trainer(
        module_file=str(_MODULES / "trainer.py"),
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        custom_config=_training(name, settings, n_classes),
    ).with_id(f"Trainer.{name}")
    evaluator = tfx.components.Evaluator(
        examples=examples.outputs["examples"],
        example_splits=["test"],
        model=trainer.outputs["model"],
        eval_config=_eval_config(),
    ).with_id(f"Evaluator.{name}")
    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(
                base_directory=str(settings.output.resolve() / "serving" / name)
            )
        ),
    ).with_id(f"Pusher.{name}")
    return [trainer, evaluator, pusher]


def _training(name: str, settings: Settings, n_classes: int) -> dict[str, Any]:
    from models.backbones import get_backbone
    from models.weights import find_weights, missing_weights_error

    backbone = get_backbone(name)
    source = find_weights(backbone, settings.weights_dir)
    if source is None and not settings.random_weights:
        raise missing_weights_error(backbone, settings.weights_dir, "not tried")
    return {
        "application": backbone.application,
        "weights": str(source.path) if source else None,
        "mode": backbone.scaling,
        "classes": n_classes,
        "epochs": settings.epochs,
        "seed": settings.seed,
    }


def _eval_config() -> Any:
    from tensorflow_model_analysis.proto import config_pb2

    at_least = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": 0.5})
    )
    accuracy = config_pb2.MetricConfig(
        class_name="SparseCategoricalAccuracy", config=f'"name": "{_ACCURACY}"', threshold=at_least
    )
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                signature_name="serving_default",
                label_key="image/class/label",
                prediction_key="probabilities",
            )
        ],
        slicing_specs=[config_pb2.SlicingSpec()],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[accuracy, config_pb2.MetricConfig(class_name="ExampleCount")]
            )
        ],
    )


def _root(output: Path) -> Path:
    return output.resolve() / "artifacts"


def _metrics(output: Path, name: str) -> dict[str, float]:
    """Read each metric's value on the whole test split."""
    import tensorflow_model_analysis as tfma

    folders = (_root(output) / f"Evaluator.{name}" / "evaluation").iterdir()
    newest = max(folders, key=lambda folder: int(folder.name))
    overall = dict(tfma.load_eval_result(str(newest)).slicing_metrics)[()][""][""]
    return {metric: float(value["doubleValue"]) for metric, value in overall.items()}


def main(
    data: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option()],
    result: Annotated[Path, typer.Option(help="JSON file to write.")],
    backbones: Annotated[str, typer.Option(help="Comma-separated.")],
    epochs: Annotated[int, typer.Option()],
    seed: Annotated[int, typer.Option()],
    weights_dir: Annotated[Path | None, typer.Option()] = None,
    random_weights: Annotated[bool, typer.Option("--random-weights")] = False,
) -> None:
    """Run the stock pipeline once and write what it reached."""
    settings = Settings(
        data=data,
        output=output,
        backbones=tuple(backbones.split(",")),
        weights_dir=weights_dir,
        random_weights=random_weights,
        epochs=epochs,
        seed=seed,
    )
    make_folder(output)
    with (
        logs_to(output / "run.log", verbose=False),
        scratch_below(output),
        os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8") as shown,
    ):
        # Keras and the wheels' building and installing talk on standard output.
        os.dup2(2, 1)
        reached = run(settings, shown)
    given = {name: str(value) for name, value in asdict(settings).items()}
    write_json(result, reached | {"settings": given})


if __name__ == "__main__":
    typer.run(main)
