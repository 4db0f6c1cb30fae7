"""The models `image`, `table` and `joint` side by side, out of fold, on the same folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models import by_patient
from models.calibration import apply_temperature, fit_temperature
from models.cross_validation import assign_folds, out_of_fold
from models.head_rows import Taps
from models.joint import Parts, fit_head, without
from models.joint_params import JointParams
from models.refit import answers_of
from models.training_data import ImageTaps
from schema.table import TableColumn

IMAGE: Final = "image"
TABLE: Final = "table"
JOINT: Final = "joint"
# The joint model, where the whole table is missing.
WITHHELD: Final = "joint without the table"
ITERATIONS: Final = 5_000
# Of the decision curve.
THRESHOLDS: Final = tuple(step / 20 for step in range(1, 20))


@dataclass(frozen=True)
class Comparison:
    """Answers of all models to the same images, each by heads that saw neither it nor its patient.

    Attributes:
        answers: model -> calibrated probabilities, float64 [images, n].
        raw: the same before calibration.
        labels: of the images.
        groups: of the images.
    """

    answers: Mapping[str, np.ndarray]
    raw: Mapping[str, np.ndarray]
    labels: np.ndarray
    groups: tuple[str, ...]

    def difference(self, model: str, other: str) -> dict[str, by_patient.Difference]:
        """Say by how much one model is better than another: `loss` in nats, and `accuracy`."""
        one, two = self.answers[model], self.answers[other]
        gained = by_patient.losses(two, self.labels) - by_patient.losses(one, self.labels)
        right = by_patient.hits(one, self.labels) - by_patient.hits(two, self.labels)
        return {
            "loss": by_patient.paired(gained, self.groups),
            "accuracy": by_patient.paired(right, self.groups),
        }

    @property
    def joint_is_better(self) -> bool:
        """True where `joint` beats `image` by more than one standard error, in log loss."""
        return self.difference(JOINT, IMAGE)["loss"].clear

    def as_json(self, seed: int = 0) -> dict[str, Any]:
        """Return figures, differences and the verdict, in what JSON can hold."""
        found: dict[str, Any] = {
            "patients": len(set(self.groups)),
            "images": len(self.labels),
            "models": {
                name: {
                    "loss": float(by_patient.losses(answers, self.labels).mean()),
                    **{
                        figure: interval.as_json()
                        for figure, interval in by_patient.figures(
                            answers, self.labels, self.groups, seed
                        ).items()
                    },
                }
                for name, answers in self.answers.items()
            },
            "few_patients": by_patient.few_patients(self.groups),
        }
        best = self.answers[JOINT if JOINT in self.answers else TABLE]
        found["decision_curve"] = {
            str(label): by_patient.decision_curve(best, self.labels, label, THRESHOLDS)
            for label in range(best.shape[1])
        }
        if {JOINT, IMAGE} <= set(self.answers):
            found["joint_over_image"] = {
                name: each.as_json() for name, each in self.difference(JOINT, IMAGE).items()
            }
            found["joint_is_better"] = self.joint_is_better
            found["sentence"] = sentence(self)
        return found


def compare(
    images: ImageTaps,
    columns: Sequence[TableColumn],
    within: Mapping[str, float],
    params: JointParams,
    n_classes: int,
    seed: int,
) -> Comparison:
    """Answer every image out of fold, by each of the models.

    Args:
        images: taps of the image and of the columns, a row an image.
        columns: of the table.
        within: see `Parts`; taps of the image.
        params: how the heads are fitted.
        n_classes: number of classes.
        seed: of the folds.

    Raises:
        InputError: a class has images of one patient alone.
    """
    models = {
        IMAGE: (Parts.of((), params, within), params.l2),
        TABLE: (Parts.of(columns, params), params.table_l2),
        JOINT: (Parts.of(columns, params, within), params.l2),
    }

    def fit_and_answer(fitted: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
        taps = images.split(fitted, asked)
        unseen: Taps = taps.validation[0]
        found = {}
        for name, (parts, l2) in models.items():
            head, _ = fit_head(
                parts, taps, n_classes, l2=l2, withheld=params.withheld, iterations=ITERATIONS
            )
            found[name] = answers_of(head, _only(unseen, parts))
            if name == JOINT:
                found[WITHHELD] = answers_of(head, _only(without(unseen, columns), parts))
        return found

    folds = assign_folds(images.labels, images.groups, seed)
    raw = out_of_fold(folds, fit_and_answer)
    # What is withheld is answered by the joint model, and so with its temperature.
    of = {name: JOINT if name == WITHHELD else name for name in raw}
    temperatures = {name: fit_temperature(raw[name], images.labels) for name in models}
    answers = {name: apply_temperature(p, temperatures[of[name]]) for name, p in raw.items()}
    return Comparison(answers, raw, images.labels, images.groups)


def sentence(comparison: Comparison) -> str:
    """Say what the table adds to the image, and whether the joint model may be pushed."""
    gain = comparison.difference(JOINT, IMAGE)
    loss, right = gain["loss"], gain["accuracy"]
    figures = (
        f"log loss {-loss.mean:+.4f} nats (standard error {loss.error:.4f}), accuracy "
        f"{100 * right.mean:+.1f} points (standard error {100 * right.error:.1f}), out of fold, "
        f"by {loss.patients} patients"
    )
    if comparison.joint_is_better:
        return f"The joint model beats the image alone by more than one standard error: {figures}."
    if not loss.decides:
        return (
            f"{loss.patients} patients are too few to tell whether the joint model beats the image "
            f"alone ({figures}): {by_patient.LEAST} are the least. It is not pushed."
        )
    return (
        f"The joint model doesn't beat the image alone by more than one standard error: {figures}. "
        "It is not pushed."
    )


def _only(taps: Taps, parts: Parts) -> Taps:
    return {name: taps[name] for name in parts.order}
