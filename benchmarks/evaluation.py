"""A model judged with its network in TFMA, and on Inferrer's answers (`make bench-evaluation`).

Both in one process, on the test split of a run and with its gate, the network first. In CPU
seconds, since the machine may do other things meanwhile; and how far the figures are apart.
"""

from __future__ import annotations

import argparse
import json
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
    args = parser.parse_args(argv)
    with quick_tfx_import():
        for name in args.models.split(","):
            with tempfile.TemporaryDirectory() as scratch:
                print(compare(args.output / "artifacts", name, Path(scratch)), flush=True)


def compare(artifacts: Path, name: str, scratch: Path) -> str:
    """Write one line on one model.

    Args:
        artifacts: of a run.
        name: of one of its models.
        scratch: an empty folder.
    """
    import tensorflow_model_analysis as tfma

    from schema import contract

    evaluation = _latest(artifacts / f"Evaluator.{name}" / "evaluation")
    (model,) = (p.parent for p in artifacts.glob(f"*.{name}/model/*/Format-TFMA"))
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


def _infer(artifacts: Path, model: Path, examples: Path, folder: Path) -> Path:
    """Write what Inferrer writes for the model."""
    from tfx.types import standard_artifacts

    from components.inferrer.executor import Executor, features_key
    from models.evaluation_model import read_members
    from pipeline.dag.verdict import SAMPLED_IMAGES
    from schema import contract

    def artifact(kind: Any, where: Path, splits: Sequence[str] = ()) -> list[Any]:
        made = kind()
        made.uri = str(where)
        if splits:
            made.split_names = json.dumps(splits)
        return [made]

    examples_kind = standard_artifacts.Examples
    inputs = {
        "model": artifact(standard_artifacts.Model, model),
        "examples": artifact(examples_kind, examples, contract.SPLITS),
    }
    for member in read_members(str(model / "Format-TFMA")):
        features = _latest(artifacts / f"Featurizer.{member}" / "features")
        inputs[features_key(member)] = artifact(examples_kind, features, contract.SPLITS)
    outputs = {"answers": artifact(examples_kind, folder)}
    Executor().Do(inputs, outputs, {"sampled_images": SAMPLED_IMAGES, "code_digest": ""})
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
