"""ServingPusher: TFX's Pusher, whose cache looks at the serving folder."""

from __future__ import annotations

from tfx.components import Pusher
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.model_card.artifact import ModelCardFiles
from components.radiograph_example_gen.artifact import SplitManifest
from components.serving_precision.artifact import ServingPrecisionFiles
from components.serving_pusher.driver import ServingPusherDriver
from components.serving_pusher.executor import (
    AUDIT,
    MANIFEST,
    MODEL_CARD,
    MODEL_RUN,
    PRECISION_FILES,
    PUSHED,
    SIGNED_BY,
    SIGNING_KEY,
    SIGNING_KEY_VARIABLE,
    STATISTICS,
    Executor,
)
from components.shortcut_audit.artifact import AuditReport


class ServingPusherSpec(standard_component_specs.PusherSpec):
    """Pusher's, a model card, the audit, and what is kept of a version."""

    PARAMETERS = {
        **standard_component_specs.PusherSpec.PARAMETERS,
        PUSHED: component_spec.ExecutionParameter(type=str, optional=True),
        SIGNING_KEY: component_spec.ExecutionParameter(type=str, optional=True),
        SIGNING_KEY_VARIABLE: component_spec.ExecutionParameter(type=str, optional=True),
        SIGNED_BY: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        **standard_component_specs.PusherSpec.INPUTS,
        MODEL_CARD: component_spec.ChannelParameter(type=ModelCardFiles, optional=True),
        AUDIT: component_spec.ChannelParameter(type=AuditReport, optional=True),
        MANIFEST: component_spec.ChannelParameter(type=SplitManifest, optional=True),
        MODEL_RUN: component_spec.ChannelParameter(type=standard_artifacts.ModelRun, optional=True),
        STATISTICS: component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
        PRECISION_FILES: component_spec.ChannelParameter(type=ServingPrecisionFiles, optional=True),
    }


class ServingPusher(Pusher):
    """Like Pusher, into a folder, with a model card and an audit that may say no.

    The stock Pusher's cache knows nothing of the folder it pushed to: it says "pushed"
    after that was deleted, and after a return to an earlier model, while a later one is
    what TensorFlow Serving serves. And what belongs beside a model is pushed with it: its
    card, and where a precision was chosen (ServingPrecision), or InfraCheck found that it must be
    served in one, a note of that, with the networks in int8 where they were chosen.
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
        model_card: channel.BaseChannel | None = None,
        audit: channel.BaseChannel | None = None,
        manifest: channel.BaseChannel | None = None,
        model_run: channel.BaseChannel | None = None,
        statistics: channel.BaseChannel | None = None,
        precision_files: channel.BaseChannel | None = None,
        pushed: str | None = None,
        signing_key: str | None = None,
        signing_key_variable: str | None = None,
        signed_by: str | None = None,
    ) -> None:
        """Construct the node.

        Args:
            model: to push.
            push_destination: a folder; in it a version's folder a push.
            model_blessing: Evaluator's or Champion's; without one the model is pushed unasked.
            infra_blessing: of the node that had the model served.
            model_card: ModelCard's; it goes into the version's `assets.extra`.
            audit: ShortcutAudit's; where it did not pass, nothing is pushed.
            manifest: of the images; with `pushed`, kept there under the version's name.
            model_run: what the training left beside the model; with `pushed`, its recipe, and
                what earlier models saw that it goes on from, are kept there, too.
            precision_files: ServingPrecision's; they go into the version's `assets.extra`.
            statistics: StatisticsGen's; with `pushed`, kept there, too.
            pushed: folder, outside what is served, since the manifest names patients; with it
                `manifest` and `model_run` have to be there.
            signing_key: file of a private key in PEM that signs the version; its place, never
                what is in it.
            signing_key_variable: environment variable that holds the PEM instead.
            signed_by: SHA-256 of the public key's PEM that the key has to belong to; any where
                None.
        """
        # Past Pusher's own, which makes a spec that knows no further input.
        super(Pusher, self).__init__(
            spec=ServingPusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                model_card=model_card,
                audit=audit,
                manifest=manifest,
                model_run=model_run,
                statistics=statistics,
                precision_files=precision_files,
                pushed=pushed,
                signing_key=signing_key,
                signing_key_variable=signing_key_variable,
                signed_by=signed_by,
                push_destination=push_destination,
                custom_config=json_utils.dumps(None),
                pushed_model=channel.Channel(type=standard_artifacts.PushedModel),
            )
        )
