"""ServingPusher: TFX's Pusher, whose cache looks at the serving folder."""

from __future__ import annotations

from tfx.components import Pusher
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.serving_pusher.driver import ServingPusherDriver
from components.serving_pusher.executor import AUDIT, Executor
from components.shortcut_audit.artifact import AuditReport


class ServingPusherSpec(standard_component_specs.PusherSpec):
    """Pusher's, and the audit."""

    INPUTS = {
        **standard_component_specs.PusherSpec.INPUTS,
        AUDIT: component_spec.ChannelParameter(type=AuditReport, optional=True),
    }


class ServingPusher(Pusher):
    """Like Pusher, into a folder, and with an audit that may say no.

    The stock Pusher's cache knows nothing of the folder it pushed to: it says "pushed"
    after that was deleted, and after a return to an earlier model, while a later one is
    what TensorFlow Serving serves. And where InfraCheck found that a model must be served in
    one precision, the pushed version says so.
    """

    SPEC_CLASS = ServingPusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = ServingPusherDriver

    def __init__(
        self,
        *,
        model: channel.BaseChannel,
        push_destination: pusher_pb2.PushDestination,
        model_blessing: channel.BaseChannel | None = None,
        infra_blessing: channel.BaseChannel | None = None,
        audit: channel.BaseChannel | None = None,
    ) -> None:
        """Constructs the node.

        Args:
            model: what is pushed.
            push_destination: the model's serving folder.
            model_blessing: Evaluator's or Champion's; without one, every model is blessed.
            infra_blessing: of the node that had the model served.
            audit: ShortcutAudit's; where it did not pass, nothing is pushed.
        """
        # Pusher's own constructor builds its own spec, which knows no audit.
        base_component.BaseComponent.__init__(
            self,
            spec=ServingPusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                audit=audit,
                push_destination=push_destination,
                custom_config=json_utils.dumps(None),
                pushed_model=channel.Channel(type=standard_artifacts.PushedModel),
            ),
        )
