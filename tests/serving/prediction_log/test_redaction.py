"""Nobody's name gets into the log."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from schema import contract
from serving.core.model_config import parse_config
from serving.prediction_log.image_facts import Measure, is_image
from serving.prediction_log.redaction import kept_array, kept_example, kept_string
from serving.prediction_log.settings import LogSettings, LogTarget
from tests.serving.prediction_log.logged import png

_WORDS = st.sampled_from(["sex", "view", contract.SEX, contract.SOURCE])
_NAMES = st.text(min_size=1).filter(lambda name: name not in (contract.IMAGE,))


@given(name=_NAMES, value=st.binary(min_size=4, max_size=2000), pixels=st.booleans())
def test_a_free_text_is_never_logged(name: str, value: bytes, pixels: bool) -> None:
    kept = kept_string(name, value, value, LogSettings())
    assert kept in (b"", hashlib.sha256(value).hexdigest().encode())
    if pixels and is_image(value):
        assert kept_string(name, value, value, LogSettings(pixels=True)) == value


@given(name=_WORDS, value=st.binary(max_size=8))
def test_a_word_of_a_closed_list_is_logged(name: str, value: bytes) -> None:
    assert kept_string(name, value, value, LogSettings()) == value


@pytest.mark.parametrize("name", ["patient_id", contract.PATIENT, contract.PATH, contract.GROUP])
def test_who_it_is_stays_out_even_where_it_is_asked_for(name: str) -> None:
    bounds = LogSettings(columns=frozenset({"patient_id", name}), pixels=True)
    assert kept_string(name, b"4711", b"4711", bounds) == b""
    assert kept_array(name, np.array([4711]), np.array([4711]), bounds).tolist() == [0]


def test_a_column_that_is_asked_for_is_logged() -> None:
    bounds = LogSettings(columns=frozenset({"ward"}))
    for name in ("ward", "table/ward", "metadata/ward"):
        assert kept_string(name, b"7b", b"7b", bounds) == b"7b"


def test_pixels_as_numbers_are_pixels() -> None:
    pixels = np.random.default_rng(0).random((2, 40, 40))
    kept = kept_array("pixels", pixels, pixels, LogSettings())
    assert kept.tolist() == [hashlib.sha256(row.tobytes()).hexdigest().encode() for row in pixels]
    assert kept_array("pixels", pixels, pixels, LogSettings(pixels=True)) is pixels


@given(
    st.dictionaries(st.text(min_size=1, max_size=12), st.text(min_size=5, max_size=40), max_size=6)
)
def test_no_text_of_an_example_gets_through(texts: dict[str, str]) -> None:
    example = tf.train.Example()
    for name, text in texts.items():
        example.features.feature[name].bytes_list.value.append(text.encode("utf-8", "replace"))
    example.features.feature[contract.IMAGE].bytes_list.value.append(png())
    kept = kept_example(example.SerializeToString(), LogSettings(), Measure(0), any_number=True)
    assert set(kept.features.feature) - {"sex", "view", "source", "age_group"} == {
        *(contract.SHA256, contract.BYTES, contract.WIDTH, contract.HEIGHT)
    }


def test_as_many_images_are_measured_as_the_rate_allows() -> None:
    now = [0.0]
    measure = Measure(2.0, clock=lambda: now[0])

    def measured(images: int) -> int:
        found = [measure.facts(png(), png()).statistics for _ in range(images)]
        return sum(statistics is not None for statistics in found)

    # What may come at once; then two a second.
    assert measured(62) == 60
    now[0] += 3.0
    assert measured(20) == 6
    now[0] += 1e6
    assert measured(61) == 60


def test_no_image_is_measured_where_none_is_asked_for() -> None:
    assert Measure(0).facts(png(), png()).statistics is None


def _config(logging: str) -> str:
    return (
        'model_config_list { config { name: "a" base_path: "/m" logging_config { '
        f"{logging} }} }} }}"
    )


def test_logging_config_is_tensorflow_servings(tmp_path: Path) -> None:
    text = _config(
        f'log_collector_config {{ type: "tfrecord" filename_prefix: "{tmp_path}/a" }} '
        "sampling_config { sampling_rate: 0.25 }"
    )
    assert parse_config(text)["a"].logged == LogTarget(tmp_path / "a", 0.25)
    without = 'model_config_list { config { name: "a" base_path: "/m" } }'
    assert parse_config(without)["a"].logged is None


@pytest.mark.parametrize(
    ("logging", "said"),
    [
        ("", "is not absolute"),
        ('log_collector_config { filename_prefix: "a" }', "is not absolute"),
        ('log_collector_config { filename_prefix: "/nowhere/at/all" }', "is no folder"),
        ('log_collector_config { type: "kafka" }', "type 'kafka' is unknown"),
        (
            'log_collector_config { filename_prefix: "/tmp/a" } sampling_config { '
            "sampling_rate: 2 }",
            "2 is no share",
        ),
    ],
)
def test_a_logging_config_that_cannot_be_kept_is_refused(logging: str, said: str) -> None:
    with pytest.raises(InputError, match=f"model 'a': logging_config.*{said}"):
        parse_config(_config(logging))
