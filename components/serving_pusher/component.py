"""ServingPusher: TFX's Pusher, whose cache looks at the serving folder."""

from __future__ import annotations

from tfx.components import Pusher
from tfx.dsl.components.base import executor_spec

from components.serving_pusher.driver import ServingPusherDriver
from components.serving_pusher.executor import Executor


class ServingPusher(Pusher):
    """Like Pusher, with the same arguments, inputs and outputs.

    The stock Pusher's cache knows nothing of the folder it pushed to: it says "pushed"
    after that was deleted, and after a return to an earlier model, while a later one is
    what TensorFlow Serving serves. And where InfraCheck found that a model must be served in
    one precision, the pushed version says so.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = ServingPusherDriver
