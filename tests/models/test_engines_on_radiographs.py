"""On real radiographs: OpenVINO's features lead to the classes that TensorFlow's lead to."""

from __future__ import annotations

import csv
import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from components.radiograph_example_gen.split import SplitImage, split_images
from models.backbones import BACKBONES, build_network, get_backbone, load_weights
from models.boundary import cut
from models.engines import OPENVINO_BF16, OPENVINO_F32, TENSORFLOW, TensorFlowEngine, load_engine
from models.openvino_runtime import has_bf16
from models.preprocessing import decode_and_resize
from models.weights import find_weights

SHARED = Path(__file__).parents[3] / "shared"
# Of a network that is dear, so many test images of a class; of the others, all 43.
_FEWER = {"vgg16": 15}
RADIOGRAPHS, WEIGHTS = SHARED / "data" / "radiography", SHARED / "weights"


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The smallest of the images'."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    cosines = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return float(cosines.min())


@pytest.fixture(scope="module")
def radiographs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Split -> uint8 images and labels: the 129 test images of seed 0, 60 for training."""
    with (RADIOGRAPHS / "metadata.csv").open() as file:
        patients = {row["file"]: row["patient_id"] for row in csv.DictReader(file)}
    folders = sorted(path for path in RADIOGRAPHS.iterdir() if path.is_dir())
    contents: dict[str, tuple[bytes, int]] = {}
    described = []
    for label, folder in enumerate(folders):
        for path in sorted(folder.rglob("*.png")):
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            contents[digest] = content, label
            group = patients.get(path.relative_to(RADIOGRAPHS).as_posix(), "")
            described.append(SplitImage(digest, folder.name, group))
    names = [folder.name for folder in folders]
    split = split_images(described, names, 0, Fraction("0.2"), Fraction("0.3")).assignment
    chosen = {
        "train": [d for label in range(3) for d in _of(split, contents, "train", label)[:20]],
        "test": [d for label in range(3) for d in _of(split, contents, "test", label)],
    }
    return {
        name: (
            np.stack([decode_and_resize(contents[d][0]).numpy() for d in digests]),
            np.array([contents[d][1] for d in digests]),
        )
        for name, digests in chosen.items()
    }


def _of(
    split: dict[str, str], contents: dict[str, tuple[bytes, int]], name: str, label: int
) -> list[str]:
    return sorted(d for d, where in split.items() if where == name and contents[d][1] == label)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.realdata
@pytest.mark.skipif(not RADIOGRAPHS.is_dir(), reason="needs ../shared/data/radiography")
@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="needs ../shared/weights")
@pytest.mark.parametrize("backbone", BACKBONES)
def test_no_prediction_for_a_real_test_image_changes(
    backbone: str, radiographs: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    """The head is fitted on cached features and served behind TensorFlow's."""
    row = get_backbone(backbone)
    source = find_weights(row, WEIGHTS)
    assert source is not None
    network = build_network(row, image_size=row.size_for(source.label))
    load_weights(network, str(source.path))
    taps = row.head_taps
    prefix = cut(network, row, "head", taps).prefix
    cached = load_engine(OPENVINO_BF16 if has_bf16() else OPENVINO_F32, prefix, taps)
    assert cached.name != TENSORFLOW
    train, labels = radiographs["train"]
    test, test_labels = radiographs["test"]
    assert len(test) == 129
    places = [np.flatnonzero(test_labels == label)[: _FEWER.get(backbone)] for label in range(3)]
    test = test[np.concatenate(places)]
    ours = cached(test)
    served: dict[str, list[np.ndarray]] = {name: [] for name in taps}
    for features in TensorFlowEngine(prefix).stream(np.array_split(test, len(test) // 7)):
        for name, values in features.items():
            served[name].append(values)
    theirs = {name: np.concatenate(values) for name, values in served.items()}
    for name in taps:
        assert _cosine(ours[name], theirs[name]) > 0.999, name

    def columns(features: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([features[name] for name in taps], axis=1)

    # The regularised head's penalty (HeadParams.l2), in scikit-learn's terms.
    strength = 1 / (2 * row.head_l2 * len(train))
    head = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
    head.fit(columns(cached(train)), labels)
    np.testing.assert_array_equal(head.predict(columns(ours)), head.predict(columns(theirs)))
    shift = np.abs(head.predict_proba(columns(ours)) - head.predict_proba(columns(theirs)))
    assert shift.max() < 0.05
