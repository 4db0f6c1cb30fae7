"""A model judged with its network, on Inferrer's answers, and by either Evaluator.

For `make bench-evaluation`: all in one process, on the test split of a run and with its gate. In
CPU seconds, since the machine may do other things meanwhile; and how far the figures are apart.
First TFMA alone, with the network and then on answers, Inferrer's work included. Then TFX's
Evaluator and this project's on the same answers, in turns, against a baseline: the model itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from common.runtime import prepare_environment, quick_tfx_import

prepare_environment()
_WAYS: Final = ("network", "answers")


def main(argv: Sequence[str] | None = None) -> None:
    """Print for each model the CPU seconds of either way, and what they find."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="OUTPUT of a run")
    parser.add_argument("--models", default="vgg16,ensemble")
    parser.add_argument("--repeats", type=int, default=3, help="of either Evaluator")
    args = parser.parse_args(argv)
    with quick_tfx_import():
        for name in args.models.split(","):
            with tempfile.TemporaryDirectory() as scratch:
                artifacts = args.output / "artifacts"
                print(compare(artifacts, name, Path(scratch)), flush=True)
                print(evaluators(artifacts, name, Path(scratch), args.repeats), flush=True)


def compare(artifacts: Path, name: str, scratch: Path) -> str:
    """Judge a model with its network and on answers, and write a line on it.

    Args:
        artifacts: of a run.
        name: of one of its models.
        scratch: an empty folder.
    """
    import tensorflow_model_analysis as tfma

    from schema import contract

    evaluation = _latest(artifacts / f"Evaluator.{name}" / "evaluation")
    model = _model(artifacts, name)
    examples = _latest(artifacts / "RadiographExampleGen" / "examples")
    seconds = []
    for way in _WAYS:
        started = time.process_time()
        config = tfma.load_eval_result(str(evaluation)).config
        spec = config.model_specs[0]
        if way == "network":
            records = examples
            spec.ClearField("model_type")
            spec.signature_name = contract.SIGNATURE_EXAMPLES
            spec.prediction_key = contract.OUTPUT_PROBABILITIES
        else:
            records = _infer(artifacts, model, examples, scratch / "inferred")
        tfma.run_model_analysis(
            tfma.default_eval_shared_model(
                str(model / "Format-Serving"), model_name=spec.name, eval_config=config
            ),
            eval_config=config,
            data_location=str(records / "Split-test" / "*"),
            output_path=str(scratch / way),
        )
        seconds.append(time.process_time() - started)
    apart = _apart(*(_figures(str(scratch / way)) for way in _WAYS))
    return (
        f"{name:<12} with the network {seconds[0]:6.1f} CPU s, on answers {seconds[1]:5.1f}: "
        f"{seconds[0] / seconds[1]:.1f}×; largest difference of a figure {apart:.1e}"
    )


def evaluators(artifacts: Path, name: str, scratch: Path, repeats: int) -> str:
    """Judge a model by TFX's Evaluator and by this project's, and write a line on it.

    Args:
        artifacts: of a run.
        name: of one of its models.
        scratch: a folder for what comes of it.
        repeats: of each; the median counts.

    Raises:
        ValueError: the two don't find the same.
    """
    import tensorflow_model_analysis as tfma
    from google.protobuf import json_format
    from tfx.components.evaluator.executor import Executor as Stock
    from tfx.types import standard_artifacts

    from components.evaluator.eval_config import eval_config
    from components.evaluator.executor import Executor
    from schema import contract

    judged = tfma.load_eval_result(str(_latest(artifacts / f"Evaluator.{name}" / "evaluation")))
    own = [
        key
        for spec in judged.config.slicing_specs
        for key in spec.feature_keys
        if key.startswith(contract.COLUMN_PREFIX)
    ]
    config = eval_config(
        n_classes=_classes(judged.config),
        min_accuracy=0.5,
        against_baseline=True,
        served_within=1.0,
        columns=[key.removeprefix(contract.COLUMN_PREFIX) for key in own],
    )
    model = _artifact(standard_artifacts.Model, _model(artifacts, name))
    records = scratch / "against"
    examples = _latest(artifacts / "RadiographExampleGen" / "examples")
    _infer(artifacts, Path(model[0].uri), examples, records, against_itself=True)
    seconds: dict[str, list[float]] = {"stock": [], "own": []}
    for _ in range(repeats):
        for way, executor in (("stock", Stock), ("own", Executor)):
            outputs = {
                "evaluation": _artifact(standard_artifacts.ModelEvaluation, scratch / way / "e"),
                "blessing": _artifact(standard_artifacts.ModelBlessing, scratch / way / "b"),
            }
            shutil.rmtree(scratch / way, ignore_errors=True)
            (scratch / way / "b").mkdir(parents=True)
            started = time.process_time()
            executor().Do(
                {
                    "examples": _artifact(
                        standard_artifacts.Examples, records, [contract.SPLIT_TEST]
                    ),
                    "model": model,
                    "baseline_model": model,
                },
                outputs,
                {
                    "eval_config": json_format.MessageToJson(config),
                    "example_splits": json.dumps([contract.SPLIT_TEST]),
                },
            )
            seconds[way].append(time.process_time() - started)
    stock, ours = (_values(scratch / way / "e") for way in ("stock", "own"))
    if stock != ours:
        raise ValueError(f"{name}: the two Evaluators differ")
    there, here = (statistics.median(seconds[way]) for way in ("stock", "own"))
    return (
        f"{name:<12} TFX's Evaluator {there:5.1f} CPU s, this one {here:5.1f}: "
        f"{there / here:.1f}×; all slices' {len(stock)} records the same"
    )


def _classes(config: Any) -> int:
    binarized = [spec.binarize.class_ids.values for spec in config.metrics_specs]
    return max(len(found) for found in binarized)


def _values(evaluation: Path) -> list[bytes]:
    """Read all metrics, plots and attributions of all slices, in one order."""
    import tensorflow as tf

    files = [str(file) for file in evaluation.glob("*.tfrecord")]
    return sorted(record.numpy() for record in tf.data.TFRecordDataset(files))


def _model(artifacts: Path, name: str) -> Path:
    (model,) = (p.parent for p in artifacts.glob(f"*.{name}/model/*/Format-TFMA"))
    return model


def _artifact(kind: Any, where: Path, splits: Sequence[str] = ()) -> list[Any]:
    made = kind()
    made.uri = str(where)
    if splits:
        made.split_names = json.dumps(splits)
    return [made]


def _infer(
    artifacts: Path, model: Path, examples: Path, folder: Path, against_itself: bool = False
) -> Path:
    """Write what Inferrer writes for the model."""
    from tfx.types import standard_artifacts

    from components.inferrer.executor import Executor, features_key
    from models.evaluation_model import read_members
    from pipeline.dag.verdict import sampled_images
    from schema import contract

    examples_kind = standard_artifacts.Examples
    inputs = {
        "model": _artifact(standard_artifacts.Model, model),
        "examples": _artifact(examples_kind, examples, contract.SPLITS),
    }
    members = read_members(str(model / "Format-TFMA"))
    for member in members:
        features = _latest(artifacts / f"Featurizer.{member}" / "features")
        inputs[features_key(member)] = _artifact(examples_kind, features, contract.SPLITS)
    if against_itself:
        inputs["baseline_model"] = inputs["model"]
    outputs = {"answers": _artifact(examples_kind, folder)}
    properties = {"sampled_images": sampled_images(members), "code_digest": ""}
    Executor().Do(inputs, outputs, properties)
    return folder


def _latest(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: int(path.name))


def _figures(evaluation: str) -> dict[tuple[Any, ...], float]:
    """Read figures that are one number: (slice, class, metric) -> value."""
    import tensorflow_model_analysis as tfma

    return {
        (key, str(sub), name): value["doubleValue"]
        for key, by_output in tfma.load_eval_result(evaluation).slicing_metrics
        for sub, metrics in by_output[""].items()
        for name, value in metrics.items()
        if isinstance(value, dict) and isinstance(value.get("doubleValue"), float)
    }


def _apart(one: dict[tuple[Any, ...], float], other: dict[tuple[Any, ...], float]) -> float:
    """Find the largest difference of a figure that both have; of absent classes there is NaN."""
    pairs = [(one[key], other[key]) for key in one.keys() & other.keys()]
    return max(abs(a - b) for a, b in pairs if a == a and b == b)


if __name__ == "__main__":
    main()
