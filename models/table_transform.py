"""Columns of the table as numbers, in Transform's graph: what is missing, scales, vocabularies.

What the graph has to know of the data (median, spread, words) comes from analyzers over the
training split alone, and stays in it: the served model does the same to the same cell. A missing
value gives zeros, whatever the kind; so a model can answer as if a column had never been there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import tensorflow as tf
import tensorflow_transform as tft

from schema.table import TableColumn

# Of the sketch that finds the median, as a share of the ranks. It keeps all of up to 30,000 values,
# so their median is exact; of a million values it is 1.5 MB. With 1e-4 it is 16 MB, and Beam has
# some ten copies of it under way.
_RANKS_OFF: Final = 5e-3
_HASHES: Final = 1 << 62
# Stands for a masked word until the words in a row are made; no text holds it, since it is no
# letter. A word beside it is never joined with one behind it.
_MASKED: Final = "\x01"


def numeric(column: TableColumn, values: tf.SparseTensor) -> tf.Tensor:
    """Impute, clip at detection limits, and scale.

    Args:
        column: its configuration.
        values: float32 [batch, up to 1]; `-inf` and `inf` are beyond a detection limit, and NaN is
            missing, too.

    Returns:
        float32 [batch, 1], or 2 with `presence`: how many standard deviations a value is from
        what a missing one counts as. 0 where it is missing, or where the column has one value.
    """
    dense, there = _dense(values, tf.constant(float("nan")))
    there &= ~tf.math.is_nan(dense)
    numbers = tf.cast(dense, tf.float64)
    finite = tf.math.is_finite(numbers)
    if column.detection_low is not None:
        numbers = tf.maximum(numbers, column.detection_low)
    if column.detection_high is not None:
        numbers = tf.minimum(numbers, column.detection_high)
    # One NaN or infinity would be the mean and the spread of the whole column.
    known = tf.boolean_mask(numbers, finite)
    least, most = tft.min(known), tft.max(known)
    centre = tft.mean(known) if column.impute == "mean" else _median(known)
    spread = tf.where(most > least, tf.sqrt(tft.var(known)), 0.0)
    # Where a limit isn't given: as the least, or the most, that was measured.
    numbers = tf.where(tf.math.is_finite(numbers), numbers, tf.where(numbers < 0, least, most))
    scaled = tf.math.divide_no_nan(numbers - centre, spread)
    scaled = tf.cast(tf.where(there, scaled, tf.zeros_like(scaled)), tf.float32)
    return _with_presence(column, scaled[:, tf.newaxis], there)


def _median(values: tf.Tensor) -> tf.Tensor:
    boundaries = tft.quantiles(tf.cast(values, tf.float32), num_buckets=2, epsilon=_RANKS_OFF)
    return tf.cast(tf.reshape(boundaries, [-1])[0], tf.float64)


def categorical(column: TableColumn, values: tf.SparseTensor) -> tf.Tensor:
    """Say which of the known words a value is.

    Words are compared without case and blanks around them.

    Args:
        column: its configuration.
        values: string [batch, up to 1]; "" is missing, too.

    Returns:
        float32 [batch, values + 1], and one more with `presence`: 1 at the word's place, in the
        order of how often it was in the training split; at the last of `values + 1` where it was
        not among the most frequent; zeros where it is missing.
    """
    dense, there = _dense(values, tf.constant(b""))
    words = tf.strings.lower(tf.strings.strip(dense), encoding="utf-8")
    there &= words != b""
    keys, counts = tft.count_per_key(tf.boolean_mask(words, there))
    # Of words that are as frequent, their hashes decide: Beam has them in any order.
    hashed = tf.argsort(tf.strings.to_hash_bucket_fast(keys, _HASHES))
    keys, counts = tf.gather(keys, hashed), tf.gather(counts, hashed)
    order = tf.argsort(counts, direction="DESCENDING", stable=True)[: column.values]
    known = tf.gather(keys, order)
    match = tf.cast(words[:, tf.newaxis] == known[tf.newaxis], tf.float32)
    lacking = column.values - tf.shape(known)[0]
    match = tf.pad(match, [[0, 0], [0, lacking]])
    other = 1.0 - tf.reduce_sum(match, axis=1, keepdims=True)
    hot = tf.concat([match, other], axis=1) * tf.cast(there, tf.float32)[:, tf.newaxis]
    return _with_presence(column, tf.ensure_shape(hot, [None, column.values + 1]), there)


def text(column: TableColumn, values: tf.SparseTensor) -> tf.Tensor:
    """Hash the words of a text, alone and in a row, to a few numbers.

    A word is a run of letters and digits, without case. Those of `mask` are taken out before, and
    no two words are in a row that one of them stood between.

    Args:
        column: its configuration.
        values: string [batch, up to 1]; "" is missing, too.

    Returns:
        float32 [batch, buckets], and one more with `presence`: how often there is what falls on a
        number, scaled to length 1; zeros where it is missing, or nothing of it is left.
    """
    dense, there = _dense(values, tf.constant(b""))
    there &= tf.strings.strip(dense) != b""
    rows = words_in_a_row(dense, column.mask, column.ngrams)
    size = tf.shape(dense, out_type=tf.int64)[0]
    places = rows.value_rowids() * column.buckets + tf.strings.to_hash_bucket_fast(
        rows.flat_values, column.buckets
    )
    ones = tf.ones_like(places, tf.float32)
    counts = tf.math.unsorted_segment_sum(ones, places, size * column.buckets)
    counts = tf.reshape(counts, [-1, column.buckets])
    return _with_presence(column, tf.math.l2_normalize(counts, axis=1), there)


def words_in_a_row(
    texts: tf.Tensor, mask: tuple[str, ...], ngrams: tuple[int, int]
) -> tf.RaggedTensor:
    """Split texts into words, and join those in a row.

    Args:
        texts: string [batch].
        mask: words, or words in a row, that are taken out, in any case.
        ngrams: how many in a row, the least and the most.

    Returns:
        Ragged string [batch, n].
    """
    lower = tf.strings.lower(texts, encoding="utf-8")
    # Blanks on both sides of each word: so that what is masked is whole words, even in a row.
    parted = tf.strings.regex_replace(lower, r"([\pL\pM\pN]+)", r" \1 ")
    parted = tf.strings.regex_replace(parted, r"[^\pL\pM\pN ]+", " ")
    parted = tf.strings.regex_replace(tf.strings.join([" ", parted, " "]), " +", "  ")
    for pattern in masks(mask):
        parted = tf.strings.regex_replace(parted, pattern, f" {_MASKED} ")
    found = tf.strings.split(parted)
    joined = tf.strings.ngrams(found, tuple(range(ngrams[0], ngrams[1] + 1)))
    keep = ~tf.strings.regex_full_match(joined.flat_values, f"(?s).*{_MASKED}.*")
    return tf.ragged.boolean_mask(joined, joined.with_flat_values(keep))


def masks(mask: tuple[str, ...]) -> list[str]:
    """Write each masked word as an expression; the longest go first.

    Args:
        mask: as the configuration has them.
    """
    phrases = {tuple(re.findall(r"[^\W_]+", phrase.lower())) for phrase in mask} - {()}
    ordered = sorted(phrases, key=lambda words: (-len(words), words))
    # Letters and digits alone: nothing to escape.
    return ["".join(f" {word} " for word in words) for words in ordered]


def _dense(values: tf.SparseTensor, missing: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return values [batch], and which there are, bool [batch]."""
    size = values.dense_shape[0]
    rows = values.indices[:, :1]
    found = tf.tensor_scatter_nd_update(tf.fill([size], missing), rows, values.values)
    every = tf.ones_like(rows[:, 0], tf.bool)
    return found, tf.tensor_scatter_nd_update(tf.fill([size], False), rows, every)


def _with_presence(column: TableColumn, made: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    if not column.presence:
        return made
    return tf.concat([made, tf.cast(there, tf.float32)[:, tf.newaxis]], axis=1)


# `schema.inputs.Input.made_by` -> what makes it.
COLUMN_MAKERS: Final[dict[str, Callable[[TableColumn, tf.SparseTensor], tf.Tensor]]] = {
    "table_numeric": numeric,
    "table_categorical": categorical,
    "table_text": text,
}
