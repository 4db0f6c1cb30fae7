"""Bodies of multipart/related, cut anywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.dicom_node.multipart import DICOM, BodyError, Part, Parts

TYPE = 'multipart/related; type="application/dicom"; boundary=b0'


def body(contents: list[bytes], kind: str = DICOM, start: bytes = b"") -> bytes:
    header = f"--b0\r\nContent-Type: {kind}\r\n\r\n".encode()
    return start + b"".join(header + one + b"\r\n" for one in contents) + b"--b0--\r\n"


def fed(data: bytes, cuts: list[int], most: int = 10_000) -> list[Part]:
    parts = Parts(TYPE, most)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found = [
        part for start, end in itertools.pairwise(edges) for part in parts.feed(data[start:end])
    ]
    parts.close()
    return found


# What looks like a boundary is the sender's to avoid.
_CONTENT = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--b", b"\r\n--b1", b"0"])).map(b"".join),
).filter(lambda content: b"\r\n--b0" not in b"\r\n" + content)


@given(st.lists(_CONTENT, min_size=1, max_size=4), st.lists(st.integers(0, 999), max_size=8))
def test_parts_are_the_same_wherever_the_body_is_cut(
    contents: list[bytes], cuts: list[int]
) -> None:
    # dicomweb-client begins with a line break.
    for start in (b"", b"\r\n"):
        assert fed(body(contents, start=start), cuts) == [Part(DICOM, one) for one in contents]


@given(st.integers(1, 30), st.lists(st.integers(0, 999), max_size=5))
def test_what_is_larger_than_a_part_may_be_is_not_held_and_the_rest_is(
    most: int, cuts: list[int]
) -> None:
    contents = [b"x" * most, b"y" * (most + 1), b"z"]
    assert [one.content for one in fed(body(contents), cuts, most)] == [b"x" * most, None, b"z"]


def test_the_type_of_a_part_is_told_without_its_parameters() -> None:
    (part,) = fed(body([b"x"], kind="Application/DICOM; transfer-syntax=1.2.840.10008.1.2.1"), [])
    assert part.content_type == DICOM
    (other,) = fed(body([b"x"], kind="application/json"), [])
    assert other.content_type == "application/json"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/dicom", 415),
        ("", 415),
        ("multipart/form-data; boundary=b0", 415),
        ('multipart/related; type="application/dicom+json"; boundary=b0', 415),
        ('multipart/related; type="application/dicom"', 400),
        (f'multipart/related; type="application/dicom"; boundary={"b" * 999}', 400),
    ],
)
def test_another_kind_of_body_is_refused(kind: str, status: int) -> None:
    with pytest.raises(BodyError) as refused:
        Parts(kind, 99)
    assert refused.value.status == status


@pytest.mark.parametrize("cut", [3, 8, 30, 45])
def test_a_body_that_is_cut_off_is_no_end(cut: int) -> None:
    with pytest.raises(BodyError, match="ends before its last boundary"):
        fed(body([b"some content"])[:-cut], [])


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    try:
        fed(data, [3])
    except BodyError as error:
        assert error.status == 400


def test_a_header_without_end_is_not_held() -> None:
    with pytest.raises(BodyError, match="is no multipart/related"):
        fed(b"--b0\r\nX: " + b"x" * 100_000, [])
