"""A session for a graph that is asked a few times."""

from __future__ import annotations

import tensorflow as tf


def cpu_session(graph: tf.Graph) -> tf.compat.v1.Session:
    """Open a session on the CPU that gets a graph ready with as little work as can be.

    To simplify a network's graph takes longer than to run it for a few images, and gains nothing:
    4.2 CPU seconds for eight images and three networks with it, 3.9 without. Functions are put in
    the place of their calls: else each is prepared by itself, once more with each that calls it,
    and simplified, too (of an ensemble 6 CPU seconds, 1 so).

    Args:
        graph: to run.
    """
    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.do_function_inlining = True
    return tf.compat.v1.Session(graph=graph, config=config)
