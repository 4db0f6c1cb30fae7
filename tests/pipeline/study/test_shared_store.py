"""A run and a study in one OUTPUT: what the one has computed, the other finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402
from tfx.types import standard_artifacts  # noqa: E402

from components.featurizer.executor import Executor  # noqa: E402
from models.planted import COUNT, KINDS  # noqa: E402
from models.preprocessing import grey_png  # noqa: E402
from models.pretrained import save_pretrained  # noqa: E402
from pipeline.config.layout import OutputLayout  # noqa: E402
from pipeline.config.pipeline_config import PipelineConfig  # noqa: E402
from pipeline.dag.backbone import _cached  # noqa: E402
from pipeline.resolve.engine import resolve_engine  # noqa: E402
from pipeline.resolve.weights import resolve_weights  # noqa: E402
from pipeline.study.command import run_study  # noqa: E402
from schema import contract  # noqa: E402
from tests.pipeline.study.conftest import Configure, Remembering  # noqa: E402

SEED = 3


def _transformed(config: PipelineConfig, folder: Path) -> Any:
    """What Transform writes of a run with the seed."""
    from pipeline.check.images import inspect_images

    pool = inspect_images(config)
    decision = pool.decision(SEED)
    artifact = standard_artifacts.Examples()
    artifact.uri, artifact.split_names = str(folder), json.dumps(list(contract.SPLITS))
    for split in contract.SPLITS:
        (folder / f"Split-{split}").mkdir(parents=True)
        path = folder / f"Split-{split}" / "transformed_examples-00000-of-00001.gz"
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            chosen = decision.chosen(split)
            files = [(config.data.dir / image.inspection.path).read_bytes() for image in chosen]
            pngs = grey_png(tf.constant(files)).numpy()
            for image, png in zip(chosen, pngs, strict=True):
                values = {
                    contract.TRANSFORMED_IMAGE: png,
                    contract.LABEL_TEXT: image.inspection.class_name.encode(),
                    contract.SHA256: image.inspection.sha256.encode(),
                    contract.GROUP: decision.groups[image.inspection.sha256].encode(),
                }
                features = {
                    name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                    for name, value in values.items()
                }
                label = tf.train.Int64List(value=[pool.label(image)])
                features[contract.LABEL] = tf.train.Feature(int64_list=label)
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
    return artifact


def _featurize(config: PipelineConfig, artifacts: Path) -> None:
    """PretrainedBackbone and Featurizer of the run, as the DAG has them."""
    (name,) = config.backbones
    params = config.training_for(name)
    source = resolve_weights(config, print)[name]
    boundaries, taps = _cached(name, config, params)
    engine = resolve_engine(config.featurizer, print)
    model, features = standard_artifacts.Model(), standard_artifacts.Examples()
    model.uri = str(artifacts / "PretrainedBackbone" / "model" / "1")
    features.uri = str(artifacts / "Featurizer" / "features" / "3")
    save_pretrained(
        name,
        str(Path(model.uri) / "Format-Serving"),
        seed=SEED,
        path=str(source.path),
        sha256=source.sha256,
        label=source.label,
    )
    examples = _transformed(config, artifacts / "Transform" / "examples" / "2")
    Executor().Do(
        {"examples": [examples], "model": [model]},
        {"features": [features]},
        {
            "backbone": name,
            "boundaries": json.dumps(list(boundaries)),
            "taps": json.dumps(list(taps)),
            "augmentations": json.dumps({s: params.augmentations_of(s) for s in contract.SPLITS}),
            "engine": engine.name,
            "engine_version": engine.version,
            "store": "../features",
        },
    )


@pytest.mark.parametrize("first", [pytest.param("run", marks=pytest.mark.long), "study"])
def test_what_comes_second_computes_nothing(
    first: str, configure: Configure, tmp_path: Path, computed: list[int]
) -> None:
    featurizer = {"engine": "openvino", "precision": "f32"}
    config = configure(tmp_path / "output", featurizer=featurizer, seed=SEED)
    layout = OutputLayout(config.output)
    screen = Remembering()
    steps = {
        "run": lambda: _featurize(config, layout.artifacts),
        "study": lambda: run_study(config, (SEED,), screen),
    }
    # That the run's input gate is tried on; a study has none.
    planted = [COUNT] * len(KINDS)
    steps.pop(first)()
    # 12 images of each class.
    assert sum(computed) == 36 + (sum(planted) if first == "run" else 0)
    computed.clear()
    (second,) = steps.values()
    second()
    assert computed == ([] if first == "run" else planted)
    assert screen.computed == [("tiny", SEED)]
