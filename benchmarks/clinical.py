"""The gain from laboratory values beside a radiograph (`make bench-clinical`).

    python -m benchmarks.clinical --data DIR --weights-dir DIR [--repeats 5]

DIR holds `clinical.csv` and its images, as the Hannover COVID-19 image repository has them. The
question is whether a patient was admitted to intensive care. All models are asked out of fold, by
patient, in repeated cross-validation with five folds: the table, presence flags alone, the image,
both; and known shortcuts, the projection (ap or pa) and how many images a patient has. Intervals
are by bootstrap over patients, of the answers' mean over the repeats.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402

from components.shortcut_audit.table_shortcuts import (  # noqa: E402
    PRESENCE,
    TABLE,
    answers_of_views,
)
from models import by_patient  # noqa: E402
from models.backbones import get_backbone  # noqa: E402
from models.fusion import FusedNetwork, load_fused  # noqa: E402
from models.joint_comparison import compare  # noqa: E402
from models.joint_params import JointParams  # noqa: E402
from models.preprocessing import decode_and_resize  # noqa: E402
from models.pretrained import save_pretrained  # noqa: E402
from models.training_data import ImageTaps  # noqa: E402
from models.weights import find_weights  # noqa: E402
from schema.table import TableColumn  # noqa: E402

BACKBONES: Final = ("xception", "densenet121")
LABORATORY: Final = (
    *("crp", "d-dimer", "factor_xii", "ldh", "lymphocytes", "neutrophils", "pco2", "po2"),
)
COLUMNS: Final = (
    *(TableColumn(n.replace("-", "_"), f"{n}_val", "numeric") for n in LABORATORY),
    TableColumn("sex", "sex", "categorical", values=2),
)
PROJECTION: Final = TableColumn("projection", "projection", "categorical", values=2)
_BATCH: Final = 16


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table, and a sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights-dir", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args(argv)
    with (args.data / "clinical.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])
    labels = np.array([int(bool(row["icu_admission_offset"])) for row in rows])
    groups = tuple(row["patient_id"] for row in rows)
    cells = {c.name: [_cell(c, row[c.column]) for row in rows] for c in (*COLUMNS, PROJECTION)}
    with tempfile.TemporaryDirectory() as scratch:
        network = _load(args.weights_dir, Path(scratch))
        taps = _taps(network, [args.data / row["file"] for row in rows])
    found: dict[str, list[np.ndarray]] = {}
    for seed in range(args.repeats):
        views = answers_of_views(COLUMNS, cells, labels, groups, seed)
        of_projection = answers_of_views([PROJECTION], cells, labels, groups, seed)
        shortcut = f"column:{PROJECTION.name}"
        for name, answers in (views | {shortcut: of_projection[shortcut]}).items():
            found.setdefault(name, []).append(answers)
        images = _with_columns(taps, cells, labels, groups, [row["file"] for row in rows])
        compared = compare(images, COLUMNS, network.scales(), JointParams(), 2, seed)
        for name, answers in compared.answers.items():
            found.setdefault(f"model {name}", []).append(answers)
    means = {name: np.mean(answers, axis=0) for name, answers in found.items()}
    print(f"{len(labels)} images of {len(set(groups))} patients; {labels.sum()} of "
          f"{len({g for g, y in zip(groups, labels, strict=True) if y})} patients in intensive "
          f"care. {args.repeats} times five folds, by patient.\n")  # fmt: skip
    print("| what is seen | AUC (95 % interval) | balanced accuracy | log loss |")
    print("|---|---|---|---|")
    for name, answers in means.items():
        figures = by_patient.figures(answers, labels, groups)
        area, right = figures["auc"], figures["balanced_accuracy"]
        loss = by_patient.losses(answers, labels).mean()
        print(f"| {name} | {area.value:.3f} ({area.low:.3f} to {area.high:.3f}) "
              f"| {right.value:.3f} | {loss:.3f} |")  # fmt: skip
    print(f"\n{_sentence(means, labels, groups)}")
    print(by_patient.few_patients(groups) or "")


def _sentence(means: dict[str, np.ndarray], labels: np.ndarray, groups: tuple[str, ...]) -> str:
    def gain(one: str, two: str) -> by_patient.Difference:
        lost = by_patient.losses(means[two], labels) - by_patient.losses(means[one], labels)
        return by_patient.paired(lost, groups)

    beyond, joint = gain(TABLE, PRESENCE), gain("model joint", "model image")
    verdicts = [
        f"{'more' if each.clear else 'no more'} than {what} ({each.mean:+.3f} nats, standard error "
        f"{each.error:.3f})"
        for each, what in ((beyond, "its presence alone tells"), (joint, "the image tells"))
    ]
    return f"The table says {verdicts[0]}; joined with the image, it says {verdicts[1]}."


def _cell(column: TableColumn, text: str) -> float | str:
    if column.kind != "numeric":
        return text
    return float(text) if text.strip() else math.nan


def _load(weights: Path, folder: Path) -> FusedNetwork:
    for name in BACKBONES:
        source = find_weights(get_backbone(name), weights)
        if source is None:
            raise SystemExit(f"clinical: no weights of {name} in {weights}")
        save_pretrained(
            name,
            str(folder / name),
            seed=0,
            path=str(source.path),
            sha256=source.sha256,
            label=source.label,
        )
    return load_fused({n: str(folder / n) for n in BACKBONES}, dict.fromkeys(BACKBONES))


def _taps(network: FusedNetwork, files: Sequence[Path]) -> dict[str, np.ndarray]:
    forward = tf.function(lambda pixels: network.pooled(network.feature_maps(pixels)))
    parts: dict[str, list[np.ndarray]] = {}
    for first in range(0, len(files), _BATCH):
        pixels = [decode_and_resize(f.read_bytes()) for f in files[first : first + _BATCH]]
        for name, values in forward(tf.cast(tf.stack(pixels), tf.float32)).items():
            parts.setdefault(name, []).append(values.numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def _with_columns(
    taps: dict[str, np.ndarray],
    cells: dict[str, list[float | str]],
    labels: np.ndarray,
    groups: tuple[str, ...],
    names: list[str],
) -> ImageTaps:
    """Put the columns beside the image as Transform does, over all images and not a split's."""
    numbers = np.arange(len(labels))
    whole = dict(taps)
    for column in COLUMNS:
        whole[column.transformed] = _transformed(column, cells[column.name]).astype(np.float32)
    return ImageTaps(whole, numbers, numbers, labels, tuple(names), groups)


def _transformed(column: TableColumn, values: list[float | str]) -> np.ndarray:
    if column.kind != "numeric":
        known = sorted({str(value) for value in values} - {""})[: column.values]
        hot = np.array([[str(value) == word for word in known] for value in values], float)
        return np.pad(hot, ((0, 0), (0, column.width - hot.shape[1])))
    given = np.array(values, np.float64)
    finite = given[np.isfinite(given)]
    clipped = np.clip(given, finite.min(), finite.max())
    scaled = (clipped - np.median(finite)) / finite.std()
    return np.nan_to_num(scaled)[:, np.newaxis]


if __name__ == "__main__":
    main()
