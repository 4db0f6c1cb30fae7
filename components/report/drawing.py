"""The look of figures, and their way onto the page."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

# Matplotlib keeps a list of fonts in the user's home, unless told another place.
if "MPLCONFIGDIR" not in os.environ:
    os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="matplotlib-")
    atexit.register(shutil.rmtree, os.environ["MPLCONFIGDIR"], ignore_errors=True)

import matplotlib as mpl
import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Files only, whether or not there is a screen.
mpl.use("Agg")

# Okabe and Ito 2008, told apart by the colour-blind, too; without yellow, which is hard to see
# on white, and black, which is on a dark page.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Text and axes: the colour is used for nothing else, so the page can put its own in its place.
INK: Final = "#010203"
# Of what stands behind the others.
FAINT: Final = "#808080"
# Of one column in a figure: a page has no room for more.
MOST_VALUES: Final = 30
_STYLE: Final[dict[str, Any]] = {
    "figure.figsize": (5.2, 3.9),
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#808080",
    "grid.alpha": 0.3,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "font.size": 10,
    "axes.titlesize": 11,
    "font.family": "DejaVu Sans",
    # Text stays text: it can be read aloud and searched, and follows the page's colours.
    "svg.fonttype": "none",
    # Dollars in a name are dollars.
    "text.parse_math": False,
}
_PNG_DPI: Final = 144


@dataclass(frozen=True)
class Picture:
    """A figure, ready for the page and as a file.

    Attributes:
        name: of the file, without suffix; letters, digits, "-" and "_".
        caption: below the figure.
        alt: what it shows, for those who can't see it.
        svg: the inline element; its ink is the page's own colour.
        png: the same as a file on white.
    """

    name: str
    caption: str
    alt: str
    svg: str
    png: bytes


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Give figures made inside one look."""
    with mpl.rc_context(_STYLE):
        yield


def picture(figure: Figure, name: str, *, caption: str, alt: str) -> Picture:
    """Turn a figure into what the page needs, and close it; same figure, same bytes.

    Args:
        figure: made inside `style`.
        name: as in Picture; also keeps the ids inside apart from other figures'.
        caption: as in Picture.
        alt: as in Picture.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # The page's text is the browser's to draw; the file has boxes for what the font lacks.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        # Laid out once, and drawn once a file: `savefig` does both twice for each.
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
            figure.set_layout_engine("none")
        text = io.StringIO()
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
        image = io.BytesIO()
        figure.set_facecolor("white")
        figure.set_dpi(_PNG_DPI)
        FigureCanvasAgg(figure).print_png(image, metadata={"Software": None})
    plt.close(figure)
    return Picture(name, caption, alt, _inline(text.getvalue(), name, alt), image.getvalue())


def _inline(svg: str, name: str, alt: str) -> str:
    """Return the element alone: its size by the page, its ink the page's, its ids its own."""
    element = svg[svg.index("<svg") :]
    element = element.replace(INK, "currentColor")
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    # Matplotlib calls groups figure_1, axes_1 …, in each figure.
    element = re.sub(r'(<g id=")', rf"\1{name}-", element)
    head, rest = element.split(">", 1)
    width = re.search(r'width="([\d.]+)pt"', head)
    assert width is not None
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    # One point of the figure is one pixel and a third; the page narrows what is too wide.
    label = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    style_text = f"width:{float(width[1]) * 4 / 3:.0f}px"
    return f'{head} role="img" aria-label="{label}" style="{style_text}">{rest}'
