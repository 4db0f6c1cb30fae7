"""ContinuedTrainer: TFX's Trainer, which may start from an earlier model."""

from __future__ import annotations

from typing import Any

from tfx.components import Trainer
from tfx.dsl.components.base import executor_spec
from tfx.proto import trainer_pb2
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.continued_trainer.executor import PREVIOUS_MODEL, PREVIOUS_RUN, Executor


class ContinuedTrainerSpec(standard_component_specs.TrainerSpec):
    """Trainer's, and an earlier model."""

    INPUTS = {
        **standard_component_specs.TrainerSpec.INPUTS,
        PREVIOUS_MODEL: component_spec.ChannelParameter(
            type=standard_artifacts.Model, optional=True
        ),
        PREVIOUS_RUN: component_spec.ChannelParameter(
            type=standard_artifacts.ModelRun, optional=True
        ),
    }


class ContinuedTrainer(Trainer):
    """Like Trainer; the earlier model is a further input, since `base_model` is a backbone."""

    SPEC_CLASS = ContinuedTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        run_fn: str,
        examples: channel.BaseChannel,
        transform_graph: channel.BaseChannel,
        base_model: channel.BaseChannel,
        train_args: trainer_pb2.TrainArgs,
        eval_args: trainer_pb2.EvalArgs,
        custom_config: dict[str, Any],
        previous_model: channel.BaseChannel,
        previous_run: channel.BaseChannel,
        hyperparameters: channel.BaseChannel | None = None,
    ) -> None:
        """Construct the node.

        Args:
            run_fn: as Trainer's.
            examples: likewise.
            transform_graph: likewise.
            base_model: likewise.
            train_args: likewise.
            eval_args: likewise.
            custom_config: likewise; `run_fn` finds `models.trainer.PREVIOUS` in it, where there
                is an earlier model.
            previous_model: the channel may be empty.
            previous_run: what that training left beside its model.
            hyperparameters: as Trainer's.
        """
        # Past Trainer's own, which makes a spec that knows no further input.
        super(Trainer, self).__init__(
            spec=ContinuedTrainerSpec(
                run_fn=run_fn,
                examples=examples,
                transform_graph=transform_graph,
                base_model=base_model,
                hyperparameters=hyperparameters,
                train_args=train_args,
                eval_args=eval_args,
                custom_config=json_utils.dumps(custom_config),
                previous_model=previous_model,
                previous_run=previous_run,
                model=channel.Channel(type=standard_artifacts.Model),
                model_run=channel.Channel(type=standard_artifacts.ModelRun),
            )
        )
