"""Sums up what the image and each column of the table added to the answers to the test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from models import evaluation_model
from schema import contract

# All columns together; beside the name of a column, which has no blank.
WHOLE_TABLE: Final = "the table"


def part_figures(
    heads: str,
    answers: Mapping[str, Mapping[str, np.ndarray]],
    classes: Mapping[str, tuple[int, str]],
) -> dict[str, Any] | None:
    """Sum up the shares of the parts in the log-odds of each image's own class.

    Args:
        heads: folder that `models.evaluation_model.write` wrote.
        answers: to the test split (`LoadedHeads.ask`).
        classes: digest of an image -> its label and the name of its class.

    Returns:
        `images`; and `parts`, each a `name`, its `mean_absolute` share (nats) over all images, and
        `signed`: class -> the mean share over the images of that class, above 0 where the part
        speaks for it. None where the model takes no table.
    """
    names = evaluation_model.read_parts(heads)
    if not names:
        return None
    digests = sorted(answers)
    labels = np.array([classes[digest][0] for digest in digests])
    shares = np.stack([answers[digest][contract.PARTS] for digest in digests]).astype(np.float64)
    own = shares[np.arange(len(digests)), labels]
    named = dict(sorted(classes[digest] for digest in digests))
    return {
        "images": len(digests),
        "parts": [
            {
                "name": name,
                "mean_absolute": float(np.abs(values).mean()),
                "signed": {
                    class_name: float(values[labels == label].mean())
                    for label, class_name in named.items()
                },
            }
            for name, values in _columns(names, own)
        ],
    }


def _columns(names: Sequence[str], shares: np.ndarray) -> list[tuple[str, np.ndarray]]:
    found = [(name, shares[:, place]) for place, name in enumerate(names)]
    of_table = [v for name, v in found if name not in (contract.PART_IMAGE, contract.PART_REST)]
    if len(of_table) > 1:
        first = next(n for n, (name, _) in enumerate(found) if name != contract.PART_IMAGE)
        found.insert(first, (WHOLE_TABLE, np.sum(of_table, axis=0)))
    return found
