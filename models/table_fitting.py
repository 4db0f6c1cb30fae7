"""Fits the candidates `table` and `joint`, out of fold and then to all images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import keras

from models.classifier import Network
from models.convex import History
from models.fused_data import joined
from models.input_gate_fitting import Facts, fit_out_of_fold
from models.joint import Parts, coefficients, fit_head, recipe_of
from models.joint_comparison import ITERATIONS, Comparison, compare
from models.joint_params import JointParams
from models.refit import refit
from models.training import Task, Trained, judge
from models.training_data import ImageTaps, TapData
from schema import contract
from schema.table import TableColumn

# Of validation.json: the comparison with the image alone (`Comparison.as_json`).
TABLE_FIELD: Final = "table"


def fit_table_model(
    network: Network,
    columns: Sequence[TableColumn],
    within: Mapping[str, float] | None,
    params: JointParams,
    task: Task,
    training: ImageTaps,
    evaluation: ImageTaps,
    *,
    seed: int,
    facts: Facts | None = None,
) -> tuple[Trained, dict[str, Any]]:
    """Fit a head, calibrate it, and compare it with the image alone.

    Always out of fold: a table's patients are few.

    Args:
        network: what computed the image's taps, with the columns beside it; or
            `models.table_models.NoNetwork`.
        columns: of the table.
        within: taps of the image (`FusedNetwork.scales`); None for the table alone.
        params: how the head is fitted.
        task: what is to be learnt.
        training: the train split, a row an image (`models.fused_data`).
        evaluation: the validation split.
        seed: of the folds.
        facts: for the input gate, of all images; the table alone has none.

    Returns:
        The model, in whose `validation` stands the comparison, where there is an image; and the
        recipe, for training.json.

    Raises:
        InputError: a class has images of one patient alone.
        FloatingPointError: a feature is no number.
    """
    parts = Parts.of(columns, params, within)
    l2 = params.l2 if within else params.table_l2

    def fit_heads(taps: TapData, _: bool) -> tuple[dict[str, keras.Model], History]:
        head, history = fit_head(
            parts, taps, task.n_classes, l2=l2, withheld=params.withheld, iterations=ITERATIONS
        )
        return {contract.FLAT: head}, history

    images = joined(training, evaluation)
    fitted = refit(images.select(parts.order), seed, fit_heads)
    if network.pools and facts:
        gate = fit_out_of_fold(images, facts, network.pools, task.false_alarms, seed)
        fitted = replace(fitted, gate=gate)
    cost = sum(part.multiply_adds for part in network.parts.values())
    trained = judge(network, fitted, task, cost)
    found: dict[str, Any] = {"columns": [column.name for column in columns]}
    head = trained.classifier.heads[contract.FLAT]
    found["coefficients"] = coefficients(head.model, columns, head.temperature, task.n_classes)
    if network.parts:
        found["members"] = sorted(network.parts)
    if within:
        compared = compare(images, columns, within, params, task.n_classes, seed)
        found |= _said(compared, seed)
    recipe = recipe_of(parts, params, l2, ITERATIONS)
    return replace(trained, validation=trained.validation | found), recipe


def _said(compared: Comparison, seed: int) -> dict[str, Any]:
    content = compared.as_json(seed)
    return {
        TABLE_FIELD: content,
        contract.NOT_TO_PUSH: None if compared.joint_is_better else content["sentence"],
    }
