"""RadiographExampleGen's records, read one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator

import tensorflow as tf


def read_examples(folder: str) -> Iterator[tf.train.Example]:
    """Read the examples of a split.

    Args:
        folder: of the split, local or remote.

    Yields:
        The examples, in the order of the files' names and within them.
    """
    files = sorted(tf.io.gfile.glob(os.path.join(folder, "*")))
    for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
        yield tf.train.Example.FromString(record)
