"""Convert a Matplotlib figure to a small SVG, for an HTML page or a `data:` URI in Markdown.

Matplotlib's SVG is made for files. Here numbers are rounded, unused ids are dropped and the others made unique, the
style sheet (which would affect the page) becomes attributes, colors of text and background become CSS variables, and a
title and a description are added for screen readers. The same figures give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from snapshot_pipeline.plots.style import CARD, DARK, GRID, INK, MUTED
from snapshot_pipeline.plots.text import plain

_SVG: Final = "http://www.w3.org/2000/svg"
_XLINK_HREF: Final = "{http://www.w3.org/1999/xlink}href"
_FONT: Final = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"

_VARIABLES: Final = {INK: "--plot-ink", MUTED: "--plot-muted", GRID: "--plot-grid", CARD: "--plot-card"}
"""CSS variables by which a page sets the colors of its plots; the light colors are the default."""

_DARK_STYLE: Final = (
    "<style>@media (prefers-color-scheme:dark){svg{"
    + ";".join(f"{variable}:{DARK[color]}" for color, variable in _VARIABLES.items())
    + "}}</style>"
)


@dataclass(frozen=True)
class Plot:
    """A finished plot.

    Attributes:
        title: Also shown in the plot.
        svg: One `<svg>` element with title and description, `WIDTH` pixels wide, without external references. A page
            may set `--plot-ink`, `--plot-muted`, `--plot-grid` and `--plot-card`.
        alt: A description for screen readers, with the main figures.
    """

    title: str
    svg: str
    alt: str

    def markdown(self) -> str:
        """The plot as one line of Markdown, for the metadata of an asset; light or dark as the reader's system."""
        begin, body = self.svg.split(">", 1)
        # The alt text must not contain Markdown syntax; the full description is in the SVG.
        alt = re.sub(r"[\[\]\\`<>*_]", "", self.alt)
        return f"![{alt}](data:image/svg+xml;base64,{b64encode(f'{begin}>{_DARK_STYLE}{body}'.encode()).decode()})"


def to_plot(figure: Figure, title: str, alt: str) -> Plot:
    """Convert a figure; to be called inside `style.plot_style`."""
    alt = plain(alt, max_length=2000)
    name = "p" + hashlib.sha256(f"{title}|{alt}".encode()).hexdigest()[:8]
    _lay_out(figure)
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    # Our own text, from the lines above.
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314
    return Plot(title, _serialized(root, name, title, alt), alt)


def _lay_out(figure: Figure) -> None:
    """Place the axes as for the file: `savefig` would draw the whole figure once more for that."""
    FigureCanvasSVG(figure)
    figure.dpi = FigureCanvasSVG.fixed_dpi
    layout = figure.get_layout_engine()
    if layout is not None and figure.axes:
        layout.execute(figure)
    figure.set_layout_engine(None)  # "none" would still draw twice


def empty_plot(figure: Figure, title: str, sentence: str) -> Plot:
    """Return a plot without data, with a sentence instead; to be called inside `style.plot_style`."""
    figure.text(0.5, 0.48, sentence, ha="center", va="center", color=MUTED)
    return to_plot(figure, title, sentence)


def _serialized(root: ElementTree.Element, name: str, title: str, alt: str) -> str:
    width, height = (float(side) for side in root.attrib["viewBox"].split()[2:])
    _simplify(root, name)
    visible = (part for child in root if child.tag != "metadata" for part in _visible(child))
    body = "".join(ElementTree.tostring(part, encoding="unicode") for part in visible)
    return (
        f'<svg xmlns="{_SVG}" viewBox="0 0 {_format_number(width)} {_format_number(height)}" '
        f'width="{width / 0.75:.0f}" height="{height / 0.75:.0f}" role="img" aria-labelledby="{name}t {name}d" '
        f'style="stroke-linejoin:round;stroke-linecap:butt;font-family:{_FONT}">'
        f'<title id="{name}t">{escape(title)}</title><desc id="{name}d">{escape(alt)}</desc>'
        f'<rect width="100%" height="100%" rx="6" style="fill:{_theme_color(CARD)}"/>{body}</svg>'
    )


def _simplify(root: ElementTree.Element, name: str) -> None:
    referenced = set(re.findall(r'(?:url\(|href=")#([^")]+)', ElementTree.tostring(root, encoding="unicode")))
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        identity = element.attrib.pop("id", None)
        if identity and identity in referenced:
            element.set("id", name + identity)
        if target := element.attrib.pop(_XLINK_HREF, None):
            element.set("href", f"#{name}{target[1:]}")
        for key, value in element.attrib.items():
            element.set(key, _shorten(key, value, name))
        if re.fullmatch(r"rotate\(0 .*\)", element.get("transform", "")):
            del element.attrib["transform"]
        element.tail = None
        if element.tag != "text":
            element.text = None


def _shorten(key: str, value: str, name: str) -> str:
    if key == "style":
        value = re.sub(r"font-family: [^;]+;? ?", "", value).rstrip("; ").replace(": ", ":").replace("; ", ";")
        for color in _VARIABLES:
            value = value.replace(color, _theme_color(color))
    if key in ("d", "x", "y", "width", "height", "transform", "style"):
        value = re.sub(r"-?\b\d+\.\d+|-0\b", lambda number: _format_number(float(number[0])), value)
    if key == "d":
        value = re.sub(r"\s*([MLCQz])\s*", r"\1", value).strip()
    return value.replace("url(#", f"url(#{name}")


def _theme_color(color: str) -> str:
    return f"var({_VARIABLES[color]},{color})"


def _format_number(number: float) -> str:
    """A number with at most two decimals, without trailing zeros."""
    return f"{round(number, 2) + 0.0:.2f}".rstrip("0").rstrip(".")  # + 0.0 turns -0.0 into 0.0


def _visible(element: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """The element without invisible parts: groups without attributes, empty definitions, paths without a color."""
    children = [visible for child in element for visible in _visible(child)]
    if element.tag == "g" and not element.attrib:
        yield from children
    elif not _is_invisible(element, children):
        element[:] = children
        yield element


def _is_invisible(element: ElementTree.Element, children: list[ElementTree.Element]) -> bool:
    return (
        element.tag == "style"
        or (element.tag == "defs" and not children)
        or (element.tag == "path" and element.get("style") == "fill:none")
    )
