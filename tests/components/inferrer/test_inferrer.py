"""Answers to the golden run's test split."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402
from tfx.types import standard_artifacts  # noqa: E402

from components.inferrer import executor  # noqa: E402
from components.inferrer.executor import Executor, features_key  # noqa: E402
from models import saved_functions  # noqa: E402
from schema import contract  # noqa: E402

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun

pytestmark = pytest.mark.slow

SAMPLED = 4
Answers = dict[str, tf.train.Example]


def _artifact(kind: Any, folder: Path, splits: tuple[str, ...] = ()) -> list[Any]:
    artifact = kind()
    artifact.uri = str(folder)
    if splits:
        artifact.split_names = json.dumps(splits)
    return [artifact]


def _made(golden: GoldenRun, node: str, output: str) -> Path:
    (folder,) = (golden.layout.artifacts / node / output).iterdir()
    return folder


def _infer(
    golden: GoldenRun,
    answers: Path,
    baseline: Path | None = None,
    model: Path | None = None,
    features: Path | None = None,
) -> Answers:
    """Run the executor on the golden run's xception; return digest -> record."""
    of = features or _made(golden, "Featurizer.xception", "features")
    inputs = {
        "model": _artifact(
            standard_artifacts.Model, model or _made(golden, "Trainer.xception", "model")
        ),
        "examples": _artifact(
            standard_artifacts.Examples,
            _made(golden, "RadiographExampleGen", "examples"),
            contract.SPLITS,
        ),
        features_key("xception"): _artifact(standard_artifacts.Examples, of, contract.SPLITS),
    }
    if baseline:
        inputs["baseline_model"] = _artifact(standard_artifacts.Model, baseline)
    outputs = {"answers": _artifact(standard_artifacts.Examples, answers)}
    Executor().Do(inputs, outputs, {"sampled_images": SAMPLED, "code_digest": ""})
    assert json.loads(outputs["answers"][0].split_names) == [contract.SPLIT_TEST]
    records = tf.data.TFRecordDataset(str(_file(answers)), "GZIP").as_numpy_iterator()
    examples = [tf.train.Example.FromString(record) for record in records]
    return {e.features.feature[contract.SHA256].bytes_list.value[0].decode(): e for e in examples}


def _file(answers: Path) -> Path:
    (file,) = (answers / "Split-test").iterdir()
    return file


@pytest.fixture
def infer(golden: GoldenRun, tmp_path: Path) -> Callable[..., Answers]:
    """`_infer`, with the answers in a folder of the test."""
    return functools.partial(_infer, golden, tmp_path / "answers")


@dataclass(frozen=True)
class Inferred:
    """Answers as they are where nothing else is given, and the file that has them."""

    answers: Answers
    file: Path


@pytest.fixture(scope="module")
def plain(golden: GoldenRun, tmp_path_factory: pytest.TempPathFactory) -> Inferred:
    """Made once; nobody may change it."""
    folder = tmp_path_factory.mktemp("plain") / "answers"
    return Inferred(_infer(golden, folder), _file(folder))


@pytest.fixture
def earlier(golden: GoldenRun, tmp_path: Path) -> Path:
    """A copy of the golden run's model, to be a baseline; its SavedModel is a link."""
    (model,) = (golden.layout.artifacts / "Trainer.xception" / "model").iterdir()
    shutil.copytree(model / "Format-TFMA", tmp_path / "earlier" / "Format-TFMA")
    (tmp_path / "earlier" / "Format-Serving").symlink_to(model / "Format-Serving")
    return tmp_path / "earlier"


def _answer(example: tf.train.Example, name: str = contract.ANSWER) -> np.ndarray:
    return np.array(example.features.feature[name].float_list.value, np.float32)


def test_a_record_has_the_answer_in_place_of_the_pixels(plain: Inferred, golden: GoldenRun) -> None:
    found = plain.answers
    (raw,) = (golden.layout.artifacts / "RadiographExampleGen" / "examples").iterdir()
    (file,) = (raw / "Split-test").iterdir()
    before = [
        tf.train.Example.FromString(record)
        for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator()
    ]
    assert len(before) == len(found) > SAMPLED
    assert list(found) == sorted(found)
    for example in before:
        features = example.features.feature
        digest = features[contract.SHA256].bytes_list.value[0].decode()
        answered = found[digest].features.feature
        added = {contract.ANSWER} | ({contract.SERVED_ANSWER} & set(answered))
        assert set(answered) == set(features) - {contract.IMAGE} | added
        for name in set(answered) & set(features):
            assert answered[name] == features[name]
        assert _answer(found[digest]).sum() == pytest.approx(1, abs=1e-5)


def test_the_first_images_are_asked_of_the_saved_model_too(plain: Inferred) -> None:
    found = plain.answers
    served = [d for d, e in found.items() if contract.SERVED_ANSWER in e.features.feature]
    assert served == sorted(found)[:SAMPLED]
    for digest in served:
        said = _answer(found[digest], contract.SERVED_ANSWER)
        np.testing.assert_allclose(said, _answer(found[digest]), rtol=0, atol=1e-4)


def test_the_same_answers_are_the_same_bytes(
    plain: Inferred, infer: Callable[..., Answers], tmp_path: Path
) -> None:
    infer()
    assert _file(tmp_path / "answers").read_bytes() == plain.file.read_bytes()


def test_a_baseline_on_the_same_features_runs_no_network(
    infer: Callable[..., Answers], earlier: Path
) -> None:
    """Its SavedModel is an empty file: nobody can have asked it."""
    (earlier / "Format-Serving").unlink()
    (earlier / "Format-Serving").mkdir()
    (earlier / "Format-Serving" / contract.SAVED_MODEL_FILE).touch()
    for example in infer(baseline=earlier).values():
        np.testing.assert_array_equal(_answer(example, contract.BASELINE_ANSWER), _answer(example))


def _stands_on_others(model: Path) -> None:
    file = model / "Format-TFMA" / "members.json"
    content = json.loads(file.read_text())
    content["xception"]["digest"] = "another"
    file.write_text(json.dumps(content))


def _needs_another_tap(model: Path) -> None:
    file = model / "Format-TFMA" / "members.json"
    content = json.loads(file.read_text())
    content["xception"]["features"]["map_block14"] = [[8, 8, 16], "float16"]
    file.write_text(json.dumps(content))


def _of_another_backbone(model: Path) -> None:
    file = model / "Format-TFMA" / "members.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({"resnet": content["xception"]}))


def _has_no_heads(model: Path) -> None:
    shutil.rmtree(model / "Format-TFMA")


@pytest.mark.parametrize(
    "change", [_stands_on_others, _needs_another_tap, _of_another_backbone, _has_no_heads]
)
def test_any_other_baselines_saved_model_is_asked(
    change: Callable[[Path], None], plain: Inferred, golden: GoldenRun, earlier: Path
) -> None:
    change(earlier)
    (baseline,) = _artifact(standard_artifacts.Model, earlier)
    features = _made(golden, "Featurizer.xception", "features") / "Split-test"
    found = executor._of_baseline(
        baseline,
        str(_made(golden, "Trainer.xception", "model") / "Format-TFMA"),
        {"xception": [f"{features}/*"]},
        str(_made(golden, "RadiographExampleGen", "examples") / "Split-test"),
    )
    assert set(found) == set(plain.answers)
    differences = []
    for digest, answer in found.items():
        own = _answer(plain.answers[digest])
        np.testing.assert_allclose(answer, own, rtol=0, atol=1e-4)
        differences.append(np.abs(own - answer).max())
    # From the image on, another order of sums: the very same bits would be the heads'.
    assert max(differences) > 0


def test_a_baseline_without_a_model_is_none(infer: Callable[..., Answers], tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for example in infer(baseline=tmp_path / "nothing").values():
        assert contract.BASELINE_ANSWER not in example.features.feature


def test_a_saved_model_that_is_another_one_is_seen(
    infer: Callable[..., Answers], earlier: Path
) -> None:
    """It answers that it doesn't know."""
    other = tf.Module()
    other.answer = tf.function(
        lambda examples: {contract.OUTPUT_PROBABILITIES: tf.fill([tf.size(examples), 3], 1 / 3)},
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    (earlier / "Format-Serving").unlink()
    signatures = {contract.SIGNATURE_EXAMPLES: other.answer}
    tf.saved_model.save(other, str(earlier / "Format-Serving"), signatures=signatures)
    found = infer(model=earlier)
    differences = [
        np.abs(_answer(e) - _answer(e, contract.SERVED_ANSWER)).max()
        for e in list(found.values())[:SAMPLED]
    ]
    assert max(differences) > 0.02


def test_an_image_without_features_is_named(
    infer: Callable[..., Answers], golden: GoldenRun, tmp_path: Path
) -> None:
    (features,) = (golden.layout.artifacts / "Featurizer.xception" / "features").iterdir()
    less = tmp_path / "less" / "Split-test"
    less.mkdir(parents=True)
    (file,) = (features / "Split-test").iterdir()
    records = list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(less / file.name)) as writer:
        for record in records[1:]:
            writer.write(record)
    first = tf.train.Example.FromString(records[0]).features.feature[contract.SHA256]
    missing = first.bytes_list.value[0].decode()
    with pytest.raises(ValueError, match=f"the image {missing} of the test split"):
        infer(features=less.parent)


@pytest.mark.long
@pytest.mark.parametrize(
    "node", ["vgg16", "xception", "densenet121", "ensemble", "cascade", "fusion"]
)
def test_the_saved_model_answers_every_image_as_it_was_judged(node: str, golden: GoldenRun) -> None:
    """A run asks it about eight."""
    artifacts = golden.layout.artifacts
    (examples,) = (artifacts / "RadiographExampleGen" / "examples").iterdir()
    (raw,) = (examples / "Split-test").iterdir()
    (answers,) = (artifacts / f"Inferrer.{node}" / "answers").iterdir()
    (model,) = golden.layout.artifacts.glob(f"*.{node}/model/*/Format-TFMA")
    folder, asked = model.parent / "Format-Serving", (contract.SIGNATURE_EXAMPLES,)
    loaded = saved_functions.load_functions(str(folder), signatures=asked)
    records = list(tf.data.TFRecordDataset(str(raw), "GZIP").as_numpy_iterator())
    found = loaded.signatures[contract.SIGNATURE_EXAMPLES](tf.constant(records))
    served = {
        tf.train.Example.FromString(record).features.feature[contract.SHA256].bytes_list.value[0]: p
        for record, p in zip(records, found[contract.OUTPUT_PROBABILITIES].numpy(), strict=True)
    }
    (file,) = (answers / "Split-test").iterdir()
    judged = [
        tf.train.Example.FromString(record)
        for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator()
    ]
    assert len(judged) == len(served) > 8
    for example in judged:
        digest = example.features.feature[contract.SHA256].bytes_list.value[0]
        np.testing.assert_allclose(_answer(example), served[digest], rtol=0, atol=1e-4)
