"""Each door's first inputs and broken ones; and what fuzzing found, with harmless content."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dicoms import dataset, encoded, phantom
from tests.fuzz.targets import TARGETS, image, json_text


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_begins_with_ends_well(name: str) -> None:
    target, seeds = TARGETS[name]
    for seed in seeds():
        target(seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_broken_inputs_end_well(name: str) -> None:
    target, seeds = TARGETS[name]
    known = list(seeds())

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(known), st.integers(0), st.binary(max_size=8))
    def check(seed: bytes, at: int, other: bytes) -> None:
        at %= len(seed) + 1
        target(seed[:at] + other + seed[at + len(other) :])

    check()


def test_a_features_name_that_is_no_unicode_is_refused() -> None:
    json_text(b'{"examples": [{"\xf3\xf3": 1}]}')


def test_a_meta_element_of_a_wrong_length_is_refused() -> None:
    whole = encoded(dataset(phantom(12, (12, 13)), 12))
    # SOP class in the meta header: UI, which is a text, becomes US, which is numbers.
    begin = whole.index(b"\x02\x00\x02\x00UI")
    length = int.from_bytes(whole[begin + 6 : begin + 8], "little")
    odd = (length - 1).to_bytes(2, "little")
    image(whole[: begin + 4] + b"US" + odd + whole[begin + 8 :])
