"""ServingPusher: TFX's Pusher, whose cache looks at the serving folder."""

from __future__ import annotations

from tfx.components import Pusher

from components.serving_pusher.driver import ServingPusherDriver


class ServingPusher(Pusher):
    """Like Pusher, with the same arguments, inputs, outputs and executor.

    The stock Pusher's cache knows nothing of the folder it pushed to: it says "pushed"
    after that was deleted, and after a return to an earlier model, while a later one is
    what TensorFlow Serving serves.
    """

    DRIVER_CLASS = ServingPusherDriver
