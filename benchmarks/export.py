"""CPU seconds of the nodes that export models, at real size (`make bench-export`).

Each backbone gets random weights, and two dozen images get random features. So training is next
to nothing, and what a node takes is what its export takes: a Trainer for each backbone,
ModelCombiner for both kinds, FusedTrainer. Networks are traced before, as PretrainedBackbone does;
with `--untraced` they aren't, so that Trainers and FusedTrainer load and trace them.
They are measured in CPU seconds, since the machine may do other things meanwhile, in one process
that has run each node once before.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from common.runtime import prepare_environment, quick_tfx_import

prepare_environment()

with quick_tfx_import():
    from tfx.types import artifact_utils, standard_artifacts
    from tfx.utils import path_utils

import tensorflow as tf  # noqa: E402

from components.fused_trainer.executor import Executor as FusedTrainer  # noqa: E402
from components.many_inputs import input_key  # noqa: E402
from components.model_combiner.executor import Executor as ModelCombiner  # noqa: E402
from components.pushed_versions.seen_images import Images, write_seen  # noqa: E402
from models.backbones import BACKBONES, BOUNDARY_HEAD, get_backbone  # noqa: E402
from models.boundary import load_frozen  # noqa: E402
from models.feature_records import serialize  # noqa: E402
from models.input_gate import facts_of  # noqa: E402
from models.preprocessing import preprocessing_fn  # noqa: E402
from models.pretrained import save_pretrained  # noqa: E402
from models.traced_network import keep  # noqa: E402
from models.trainer import run_fn  # noqa: E402
from schema import contract  # noqa: E402
from schema.inputs import transform_reads  # noqa: E402

_CLASSES: Final = ("COVID-19", "Normal", "Viral Pneumonia")
_IMAGES: Final = 12
Node = Callable[[], None]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the CPU seconds of each node, and of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", default=",".join(BACKBONES), help="names, two or more")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--profile", type=Path, help="folder for a cProfile file a node")
    parser.add_argument("--untraced", action="store_true", help="leave networks to the Trainers")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        backbones = args.backbones.split(",")
        nodes = Inputs(Path(folder), backbones, traced=not args.untraced).nodes()
        seconds = measure(nodes, args.repeats)
        if args.profile:
            _profile(nodes, args.profile)
    for name, values in seconds.items():
        print(f"{name:<12} min {min(values):6.2f}  median {statistics.median(values):6.2f} CPU s")
    together = sum(statistics.median(values) for values in seconds.values())
    print(f"{'together':<12} {together:.2f} CPU s")


def measure(nodes: Mapping[str, Node], repeats: int) -> dict[str, list[float]]:
    """Run each node once to warm up, and then all of them, in rounds.

    Args:
        nodes: name -> node; later ones may read what earlier ones wrote.
        repeats: rounds.

    Returns:
        Name -> CPU seconds, in the order of the rounds.
    """
    found: dict[str, list[float]] = {name: [] for name in nodes}
    for number in range(repeats + 1):
        for name, node in nodes.items():
            started = time.process_time()
            node()
            if number:
                found[name].append(time.process_time() - started)
    return found


def _profile(nodes: Mapping[str, Node], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, node in nodes.items():
        profile = cProfile.Profile()
        profile.runcall(node)
        profile.dump_stats(folder / f"{name}.prof")


class Inputs:
    """The input of the nodes: weights, features, a transform graph."""

    def __init__(self, root: Path, backbones: Sequence[str], *, traced: bool = True) -> None:
        """Draw and write them.

        Args:
            root: an empty folder; outputs go there, too.
            backbones: names.
            traced: trace the networks, too.
        """
        self._root = root
        self._backbones = backbones
        self._graph = _transform_graph(root)
        for name in backbones:
            save_pretrained(name, self._weights(name), seed=0)
            if traced:
                row = get_backbone(name)
                taps = (row.head_taps, tuple(row.fused_taps))
                keep(name, None, taps, self._weights(name))
            self._write_features(name)

    def nodes(self) -> dict[str, Node]:
        """Return name -> what runs the node; its outputs replace those of the run before."""
        found: dict[str, Node] = {name: self._trainer(name) for name in self._backbones}
        for kind in (contract.ENSEMBLE, contract.CASCADE):
            found[kind] = self._combiner(kind)
        found[contract.FUSION] = self._fusion()
        return found

    def _weights(self, name: str) -> str:
        return str(path_utils.serving_model_dir(str(self._root / name / "weights")))

    def _write_features(self, name: str) -> None:
        row = get_backbone(name)
        taps = tuple(dict.fromkeys((*row.head_taps, *row.fused_taps)))
        specs = load_frozen(name, None, [BOUNDARY_HEAD], self._weights(name), taps).features
        rng = np.random.default_rng(0)
        for split in (contract.SPLIT_TRAIN, contract.SPLIT_EVAL):
            folder = self._root / name / "features" / f"Split-{split}"
            folder.mkdir(parents=True)
            with tf.io.TFRecordWriter(str(folder / "features-00000-of-00001")) as writer:
                for number in range(_IMAGES):
                    own = hashlib.sha256(f"{split} {number}".encode()).hexdigest().encode()
                    features = {
                        n: rng.normal(size=s.shape).astype(s.dtype) for n, s in specs.items()
                    }
                    shape = (1, contract.IMAGE_SIZE, contract.IMAGE_SIZE, 1)
                    pixels = rng.integers(0, 256, size=shape, dtype=np.uint8)
                    features[contract.GATE_FACTS] = facts_of(pixels)[0]
                    label = number % len(_CLASSES)
                    record = serialize(
                        features,
                        augmentation="identity",
                        label=label,
                        class_name=_CLASSES[label].encode(),
                        sha256=own,
                        group=own,
                    )
                    writer.write(record)

    def _trainer(self, name: str) -> Node:
        model, run = str(self._root / name / "model"), self._root / name / "model_run"

        def features(split: str) -> list[str]:
            return [str(self._root / name / "features" / f"Split-{split}" / "*")]

        config = {
            "backbone": name,
            "classes": list(_CLASSES),
            "healthy": _CLASSES[1],
            "abstain_accuracy": 0.99,
            "false_alarms": 0.01,
            "seed": 0,
            "features": "computed by",
            "training": {"validation": "holdout", "epochs": 1},
        }
        arguments = SimpleNamespace(
            custom_config=config,
            hyperparameters=None,
            base_model=self._weights(name),
            train_files=features(contract.SPLIT_TRAIN),
            eval_files=features(contract.SPLIT_EVAL),
            transform_output=str(self._graph),
            model_run_dir=str(run),
            serving_model_dir=path_utils.serving_model_dir(model),
            eval_model_dir=path_utils.eval_model_dir(model),
        )

        def node() -> None:
            run_fn(arguments)
            write_seen(str(run), Images())

        return node

    def _combiner(self, kind: str) -> Node:
        inputs = {"transform_graph": [_artifact(standard_artifacts.TransformGraph, self._graph)]}
        for name in self._backbones:
            model, run = self._root / name / "model", self._root / name / "model_run"
            inputs[input_key("model", name)] = [_artifact(standard_artifacts.Model, model)]
            inputs[input_key("run", name)] = [_artifact(standard_artifacts.ModelRun, run)]
        properties = {
            "kind": kind,
            "classes": json.dumps(_CLASSES),
            "abstain_accuracy": 0.99,
            "code_digest": "",
        }
        return lambda: ModelCombiner().Do(inputs, self._outputs(kind), properties)

    def _fusion(self) -> Node:
        inputs = {"transform_graph": [_artifact(standard_artifacts.TransformGraph, self._graph)]}
        for name in self._backbones:
            features = _artifact(standard_artifacts.Examples, self._root / name / "features")
            splits = [contract.SPLIT_TRAIN, contract.SPLIT_EVAL]
            features.split_names = artifact_utils.encode_split_names(splits)
            inputs[input_key("features", name)] = [features]
            weights = _artifact(standard_artifacts.Model, self._root / name / "weights")
            inputs[input_key("backbone", name)] = [weights]
        described = {
            name: {"scaling": None, "computed_by": "computed by"} for name in self._backbones
        }
        properties = {
            "classes": json.dumps(_CLASSES),
            "backbones": json.dumps(described),
            "validation": "holdout",
            "abstain_accuracy": 0.99,
            "false_alarms": 0.01,
            "seed": 0,
            "code_digest": "",
        }
        return lambda: FusedTrainer().Do(inputs, self._outputs(contract.FUSION), properties)

    def _outputs(self, name: str) -> dict[str, list[Any]]:
        return {
            "model": [_artifact(standard_artifacts.Model, self._root / name / "model")],
            "model_run": [_artifact(standard_artifacts.ModelRun, self._root / name / "model_run")],
        }


def _artifact(kind: Any, folder: Path) -> Any:
    artifact = kind()
    artifact.uri = str(folder)
    return artifact


def _transform_graph(root: Path) -> Path:
    """Write the project's preprocessing as Transform writes it."""
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    names = transform_reads()
    spec = {
        name: tf.io.FixedLenFeature([], tf.int64 if name == contract.LABEL else tf.string)
        for name in names
    }
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    png = tf.io.encode_png(tf.zeros([8, 8, 1], tf.uint8)).numpy()
    row = {name: 0 if name == contract.LABEL else png for name in names}
    with tft_beam.Context(temp_dir=str(root / "temp")):
        transform = ([row], metadata) | tft_beam.AnalyzeDataset(preprocessing_fn)
        transform | tft_beam.WriteTransformFn(str(root / "graph"))
    return root / "graph"


if __name__ == "__main__":
    main()
