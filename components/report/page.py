"""The page: one self-contained HTML file of figures and words."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

import jinja2
import markdown
from markupsafe import Markup
from PIL import Image

from common.words import interval, number, percent
from components.report.content import Content
from components.report.data import SHOWN_LEFT_OUT
from components.report.data_figures import thumbnail
from components.report.drawing import Picture
from components.report.filing import NOT_RECORDED, Filing
from components.report.findings import NOT_KNOWN, SHOWN_FINDINGS
from components.report.gallery import SHOWN_ERRORS, Shown
from schema import contract
from schema.class_tables import MOST_COLUMNS, most_confused, named

_TEMPLATE: Final = "index.html.j2"
_FILING_TEMPLATE: Final = "filing.html.j2"
_SHOWN_SIDE: Final = 256
_JPEG_QUALITY: Final = 82


def render_filing(page: Filing) -> str:
    """Render the page for a filing.

    Returns:
        HTML that needs no other file and no network.
    """
    template = _environment().get_template(_FILING_TEMPLATE)
    return template.render(filing=page, not_recorded=NOT_RECORDED, css=_css())


def render(
    content: Content,
    pictures: Mapping[str, Picture],
    gallery: Mapping[str, Shown],
    card: str | None,
) -> str:
    """Render the page.

    Args:
        content: figures and words.
        pictures: by name.
        gallery: digest -> image and overlays.
        card: the main model's card, Markdown; None where there is none.

    Returns:
        HTML that needs no other file and no network.
    """
    environment = _environment()
    environment.filters |= {
        **{"percent": percent, "interval": interval, "number": number},
        **{"named": named, "most_confused": most_confused},
    }
    environment.globals["most_columns"] = MOST_COLUMNS
    numbers = content.numbers
    return environment.get_template(_TEMPLATE).render(
        **numbers,
        main=content.main,
        splits=contract.SPLITS,
        shown_errors=SHOWN_ERRORS,
        shown_findings=SHOWN_FINDINGS,
        not_known=NOT_KNOWN,
        shown_left_out=SHOWN_LEFT_OUT,
        pictures=pictures,
        gallery={digest: _embedded(shown) for digest, shown in gallery.items()},
        card=Markup(markdown.markdown(card, extensions=["tables"])) if card else None,
        css=_css(),
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("components.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _css() -> Markup:
    return Markup(files("components.report").joinpath("templates/style.css").read_text("utf-8"))


def _embedded(shown: Shown) -> dict[str, Any]:
    """Return the image and its overlays as data URLs."""
    return {
        "image": _data_url(Image.fromarray(thumbnail(shown.content, _SHOWN_SIDE))),
        "overlays": {
            name: _data_url(image.resize((_SHOWN_SIDE, _SHOWN_SIDE)))
            for name, image in shown.overlays.items()
        },
    }


def _data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
