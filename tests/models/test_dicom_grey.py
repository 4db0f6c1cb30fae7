"""Modality, VOI and presentation, in this order, each as the standard says."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from models.conversion import converted, dicom
from models.deep_images import UnusableImageError
from models.rendering import Rendering
from tests.dicoms import dataset, encoded, phantom

_PIXELS = phantom(12)


def _grey(found: Dataset, syntax: str = "explicit", **rendering: Any) -> NDArray[np.int64]:
    _, levels = dicom.shown(encoded(found, syntax), Rendering(**rendering))
    return levels.astype(np.int64)


def _by_pydicom(found: Dataset, index: int = 0, *, prefer_lut: bool = True) -> NDArray[np.int64]:
    """By pydicom's own functions; these give values of the range that is stored."""
    read = dcmread(io.BytesIO(encoded(found)))
    values = apply_modality_lut(read.pixel_array, read)
    seen = apply_voi_lut(values, read, index, prefer_lut=prefer_lut).astype(float)
    if read.get("VOILUTSequence") and prefer_lut:
        low, high = 0.0, 2.0 ** read.VOILUTSequence[index].LUTDescriptor[2] - 1
    else:
        # PS3.3 leaves open what the window's ends become; pydicom takes the stored range.
        stored = [-(2**11), 2**11 - 1] if read.PixelRepresentation else [0, 2**12 - 1]
        low, high = (
            v * read.get("RescaleSlope", 1) + read.get("RescaleIntercept", 0) for v in stored
        )
    return np.rint((seen - low) / (high - low) * 255).astype(np.int64)


_WINDOWS = st.tuples(st.integers(-500, 4500), st.integers(2, 6000))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", None]),
    _WINDOWS,
    st.sampled_from([(1, 0), (2, -1000), (0.5, 100)]),
    st.booleans(),
)
def test_a_window_is_pydicoms(
    function: str | None, window: tuple[int, int], rescale: tuple[float, float], signed: bool
) -> None:
    pixels = (_PIXELS.astype(np.int32) - 2048).astype(np.int16) if signed else _PIXELS
    found = dataset(
        pixels,
        12,
        WindowCenter=window[0],
        WindowWidth=window[1],
        RescaleSlope=rescale[0],
        RescaleIntercept=rescale[1],
    )
    if function:
        found.VOILUTFunction = function
    assert np.abs(_grey(found) - _by_pydicom(found)).max() <= 1


def test_the_formulas_of_the_standard() -> None:
    """PS3.3, C.11.2.1.2.1: Note 2's window of width 4096 at 2048, and 1 as a threshold."""
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    whole = _grey(dataset(ramp, 12, WindowCenter=2048, WindowWidth=4096))
    assert (whole == np.rint(ramp / 4095 * 255)).all()
    step = _grey(dataset(ramp, 12, WindowCenter=2048, WindowWidth=1))
    assert (step == np.where(ramp > 2047, 255, 0)).all()
    exact = _grey(
        dataset(ramp, 12, WindowCenter=2048, WindowWidth=4096, VOILUTFunction="LINEAR_EXACT")
    )
    assert (exact == np.rint(ramp / 4096 * 255)).all()


def _table(first: int, entries: list[int], bits: int, **elements: Any) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first % 65536, bits])
    item.add_new("LUTData", "US", entries)
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


_CURVE = [int(v) for v in np.rint(np.linspace(0, 1, 3000) ** 2 * 1023)]


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big endian"])
def test_a_voi_lut_is_pydicoms(syntax: str) -> None:
    found = dataset(_PIXELS, 12, VOILUTSequence=[_table(500, _CURVE, 10)])
    assert (_grey(found, syntax) == _by_pydicom(found)).all()


def test_a_voi_lut_of_negative_values() -> None:
    """Its first value is signed where the modality's values are (PS3.3, C.11.2.1.1)."""
    elements = {"RescaleIntercept": -1500, "RescaleSlope": 1}
    found = dataset(_PIXELS, 12, VOILUTSequence=[_table(-1000, _CURVE, 10)], **elements)
    expected = np.array(_CURVE)[np.clip(_PIXELS.astype(int) - 500, 0, 2999)]
    assert (_grey(found) == np.rint(expected / 1023 * 255)).all()


def test_a_table_of_bytes_and_one_of_words() -> None:
    curve = [int(v) for v in np.rint(np.linspace(0, 1, 4096) ** 2 * 255)]
    expected = np.array(curve)[_PIXELS]
    for data in (np.array(curve, np.uint8).tobytes(), np.array(curve, "<u2").tobytes()):
        item = _table(0, curve, 8)
        item.add_new("LUTData", "OW", data)
        assert (_grey(dataset(_PIXELS, 12, VOILUTSequence=[item])) == expected).all()


def test_a_modality_lut_comes_first() -> None:
    table = _table(0, [4095 - v for v in range(4096)], 12, ModalityLUTType="US")
    found = dataset(_PIXELS, 12, ModalityLUTSequence=[table], WindowCenter=1000, WindowWidth=800)
    plain = dataset(4095 - _PIXELS, 12, WindowCenter=1000, WindowWidth=800)
    assert (_grey(found) == _grey(plain)).all()
    del found.WindowCenter, found.WindowWidth
    assert (_grey(found) == np.rint((4095 - _PIXELS) / 4095 * 255)).all()


def test_which_of_several_is_configured() -> None:
    """Tables first, then windows; whoever has fewer takes the first."""
    found = dataset(
        _PIXELS,
        12,
        VOILUTSequence=[_table(0, _CURVE, 10)],
        WindowCenter=[1000, 3000],
        WindowWidth=[500, 700],
    )
    windows = [
        dataset(_PIXELS, 12, WindowCenter=1000, WindowWidth=500),
        dataset(_PIXELS, 12, WindowCenter=3000, WindowWidth=700),
    ]
    table = dataset(_PIXELS, 12, VOILUTSequence=[_table(0, _CURVE, 10)])
    assert (_grey(found) == _grey(table)).all()
    assert (_grey(found, window=2) == _grey(windows[0])).all()
    assert (_grey(found, window=3) == _grey(windows[1])).all()
    assert (_grey(found, window=4) == _grey(table)).all()


@pytest.mark.parametrize("intent", ["FOR PRESENTATION", "FOR PROCESSING", None])
@pytest.mark.parametrize("window", [(1500, 900), None])
def test_an_image_for_presentation_is_windowed_once(
    intent: str | None, window: tuple[int, int] | None
) -> None:
    elements: dict[str, Any] = {"PresentationIntentType": intent} if intent else {}
    expected = np.rint(_PIXELS / 4095 * 255)
    if window:
        elements |= {"WindowCenter": window[0], "WindowWidth": window[1]}
        position = (_PIXELS - (window[0] - 0.5)) / (window[1] - 1) + 0.5
        expected = np.rint(np.clip(position, 0, 1) * 255)
    assert (_grey(dataset(_PIXELS, 12, **elements)) == expected).all()


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
    ],
)
def test_inverted_once_and_behind_the_window(
    photometric: str, shape: str | None, inverted: bool
) -> None:
    elements: dict[str, Any] = {"WindowCenter": 900, "WindowWidth": 1000}
    plain = _grey(dataset(_PIXELS, 12, **elements))
    elements |= {"PresentationLUTShape": shape} if shape else {}
    found = _grey(dataset(_PIXELS, 12, PhotometricInterpretation=photometric, **elements))
    # Half grey levels are rounded to even ones, before and behind.
    assert np.abs(found - (255 - plain if inverted else plain)).max() <= 1


def test_percentiles_where_there_is_no_window() -> None:
    ramp = np.repeat(np.arange(1000, dtype=np.uint16), 4).reshape(50, 80)
    found = _grey(dataset(ramp, 12), percentile=5)
    expected = np.rint(np.clip((ramp - 49.0) / (949 - 49), 0, 1) * 255)
    assert (found == expected).all()
    padded = ramp.copy()
    padded[:10] = 4095
    grey = _grey(dataset(padded, 12, PixelPaddingValue=4095), percentile=5)
    assert (grey == np.rint(np.clip((padded - 239.0) / (959 - 239), 0, 1) * 255)).all()
    window = dataset(ramp, 12, WindowCenter=500, WindowWidth=100)
    assert (_grey(window, percentile=5) == _grey(window)).all()
    flat = dataset(np.full((40, 40), 7, np.uint16), 12)
    assert set(_grey(flat, percentile=5).ravel()) == {0}


def test_percentiles_of_signed_and_shifted_values() -> None:
    signed = (_PIXELS.astype(np.int32) - 2048).astype(np.int16)
    shifted = (_PIXELS << 3).astype(np.uint16)
    expected = _grey(dataset(_PIXELS, 12), percentile=10)
    assert (_grey(dataset(signed, 12), percentile=10) == expected).all()
    assert (_grey(dataset(shifted, 12, HighBit=14), percentile=10) == expected).all()


def _half_a_table() -> Dataset:
    table = _table(0, [1, 2], 8)
    del table.LUTData
    return table


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"WindowCenter": 5, "WindowWidth": 0}, "WindowWidth (0028,1051) is 0"),
        ({"WindowCenter": 5, "WindowWidth": -3}, "is -3"),
        ({"WindowCenter": [5, 6], "WindowWidth": 4}, "of 2 WindowCenter"),
        ({"WindowCenter": 5}, "of 1 WindowCenter (0028,1050) and 0 WindowWidth"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "is 'CUBIC'"),
        ({"RescaleSlope": 0}, "RescaleSlope (0028,1053) is 0"),
        ({"VOILUTSequence": [_half_a_table()]}, "VOILUTSequence (0028,3010) has no whole table"),
        ({"VOILUTSequence": [_table(0, [1, 2], 17)]}, "entries of 17 bits"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(elements: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableImageError) as caught:
        _grey(dataset(_PIXELS, 12, **elements))
    assert reason in str(caught.value)


def test_a_table_shorter_than_it_says() -> None:
    table = _table(0, [1, 2, 3], 8)
    table.LUTDescriptor = [4, 0, 8]
    with pytest.raises(UnusableImageError, match="has 3 of 4 entries"):
        _grey(dataset(_PIXELS, 12, VOILUTSequence=[table]))


@pytest.mark.parametrize(("name", "value"), [("window", 0), ("percentile", 50), ("percentile", -1)])
def test_a_rendering_is_checked(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"dicom_{name} is {value}"):
        Rendering(**{name: value})


@pytest.mark.parametrize("sequence", ["ModalityLUTSequence", "VOILUTSequence"])
def test_an_item_without_a_table_says_nothing(sequence: str) -> None:
    empty = Dataset()
    # Written as "US or OW" an empty one can't be.
    empty.add_new("LUTDescriptor", "US", None)
    empty.add_new("LUTData", "US", None)
    found = _grey(dataset(_PIXELS, 12, **{sequence: [empty]}))
    assert (found == _grey(dataset(_PIXELS, 12))).all()


def test_a_modality_table_is_shown_as_far_as_its_values_go() -> None:
    """And not as far as the bits that it is said to have: with 10 of 16, all would be black."""
    pixels = _PIXELS >> 2
    identity = _table(0, list(range(1024)), 16)
    found = _grey(dataset(pixels, 10, ModalityLUTSequence=[identity]))
    assert (found == _grey(dataset(pixels, 10))).all()


@pytest.mark.parametrize(
    ("bits", "elements", "left"),
    [
        (12, {"WindowCenter": 60_000, "WindowWidth": 100}, "1 grey level of"),
        (12, {"WindowCenter": -500, "WindowWidth": 100}, "1 grey level of"),
        # As detectors' values are that are said to be of 16 bits: 12 of them are 16 grey levels.
        (16, {}, "17 grey levels of"),
    ],
)
def test_an_image_of_which_next_to_nothing_is_left(
    bits: int, elements: dict[str, Any], left: str
) -> None:
    content = encoded(dataset(_PIXELS, bits, **elements))
    with pytest.raises(UnusableImageError, match=left):
        converted(content)


def test_what_the_percentiles_show_is_known_by_all_its_pixels() -> None:
    """Though the default would leave too little of it to be an image."""
    content = encoded(dataset(_PIXELS, 16))
    rendering = Rendering(percentile=1)
    png = converted(content, rendering=rendering)
    levels = np.asarray(Image.open(io.BytesIO(png)))
    assert len(np.unique(levels)) > 100
    assert len(dicom.identity(content, png, rendering)) == 64


@pytest.mark.parametrize("first", [(60_000, 100), (0, 0)])
def test_images_whose_first_window_shows_nothing_are_known_by_their_values(
    first: tuple[int, int],
) -> None:
    """And not by the one white image that it makes of all of them, or by its refusal."""
    rendering = Rendering(window=2)
    windows = {"WindowCenter": [first[0], 2048], "WindowWidth": [first[1], 4096]}

    def known(seed: int, syntax: str = "explicit") -> str:
        content = encoded(dataset(phantom(12, seed=seed), 12, **windows), syntax)
        return dicom.identity(content, converted(content, rendering=rendering), rendering)

    assert known(1) != known(2)
    assert known(1) == known(1, "RLE") == known(1, "big endian")


def test_a_blank_image_stays_one() -> None:
    blank = np.full((40, 40), 7, np.uint16)
    assert np.asarray(Image.open(io.BytesIO(converted(encoded(dataset(blank, 12)))))).max() == 0
