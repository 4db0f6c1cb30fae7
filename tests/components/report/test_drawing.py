"""A figure on the page: its ink, its ids, its name for those who can't see it."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from components.report.drawing import INK, Picture, picture, style


def _drawn(name: str, alt: str = "A line.") -> Picture:
    with style():
        figure, axes = plt.subplots()
        axes.plot([0, 1], [1, 0], label="line")
        axes.legend()
        return picture(figure, name, caption="", alt=alt)


def test_it_is_one_element_with_the_pages_ink() -> None:
    svg = _drawn("one", alt='Less "<" & more').svg
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert root.get("aria-label") == 'Less "<" & more'
    assert root.get("viewBox")
    assert INK not in svg
    assert "currentColor" in svg
    assert "<text" in svg, "text has become paths"


def test_two_figures_share_no_id_and_same_figures_are_the_same() -> None:
    one, other = _drawn("one"), _drawn("other")
    ids = [set(re.findall(r'id="([^"]+)"', figure.svg)) for figure in (one, other)]
    assert ids[0] and not ids[0] & ids[1]
    assert _drawn("one") == one
    assert not plt.get_fignums()


def test_it_is_laid_out_once_and_drawn_once_for_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def counted(of: type, method: str) -> None:
        original = getattr(of, method)

        def call(self: Any, *args: Any) -> Any:
            done.append(method)
            return original(self, *args)

        monkeypatch.setattr(of, method, call)

    counted(Figure, "draw")
    counted(ConstrainedLayoutEngine, "execute")
    _drawn("one")
    assert done == ["execute", "draw", "draw"]


def test_the_file_is_a_picture_on_white() -> None:
    with Image.open(io.BytesIO(_drawn("one").png)) as image:
        assert min(image.size) > 300
        assert image.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
