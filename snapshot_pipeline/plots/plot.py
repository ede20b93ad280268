"""From a Matplotlib figure to a small SVG that can stand anywhere: in a page, or as `data:` URI in Markdown.

Put here: what is done to every picture's SVG. Do not put here: what a picture shows.

Matplotlib's SVG is made for files. Here the figures in it are rounded, names that nothing refers to are dropped, the
others are made unique to the picture, its style sheet (which would restyle the page around it) becomes attributes, the
colours of text and background become variables of the page, and a title and a description are added for those who
listen. The same figures give the same bytes.
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
from matplotlib.figure import Figure

from snapshot_pipeline.plots.style import CARD, DARK, GRID, INK, MUTED, plain

_SVG: Final = "http://www.w3.org/2000/svg"
_XLINK_HREF: Final = "{http://www.w3.org/1999/xlink}href"
_FONT: Final = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"

_VARIABLES: Final = {INK: "--plot-ink", MUTED: "--plot-muted", GRID: "--plot-grid", CARD: "--plot-card"}
"""The custom properties by which a page sets the colours of the pictures in it; without a page, the light ones hold."""

_DARK_STYLE: Final = (
    "<style>@media (prefers-color-scheme:dark){svg{"
    + ";".join(f"{variable}:{DARK[color]}" for color, variable in _VARIABLES.items())
    + "}}</style>"
)


@dataclass(frozen=True)
class Plot:
    """A drawn picture.

    Attributes:
        title: What it shows, in a few words; it stands in the picture as well.
        svg: One `<svg>` element with title and description, to be put into a page as it is. It is `WIDTH` pixels wide
            and has no reference to anything outside. A page may set `--plot-ink`, `--plot-muted`,
            `--plot-grid` and `--plot-card`.
        alt: What a person who does not see it should know: the figures that matter.
    """

    title: str
    svg: str
    alt: str

    def markdown(self) -> str:
        """The picture in one line of Markdown, for the metadata of an asset.

        It has a background of its own, light or dark as the reader's system is, so that it can be read on either.
        """
        begin, body = self.svg.split(">", 1)
        # The description is in the picture; the text for those who do not see it must not end the line early.
        alt = re.sub(r"[\[\]\\`<>*_]", "", self.alt)
        return f"![{alt}](data:image/svg+xml;base64,{b64encode(f'{begin}>{_DARK_STYLE}{body}'.encode()).decode()})"


def finished(figure: Figure, title: str, alt: str) -> Plot:
    """Make a picture of a figure that is drawn; to be called inside `style.styled`."""
    alt = plain(alt, longest=2000)
    name = "p" + hashlib.sha256(f"{title}|{alt}".encode()).hexdigest()[:8]
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    # Our own text, written a line above.
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314
    return Plot(title, _serialized(root, name, title, alt), alt)


def _serialized(root: ElementTree.Element, name: str, title: str, alt: str) -> str:
    width, height = (float(side) for side in root.attrib["viewBox"].split()[2:])
    _simplify(root, name)
    drawn = (part for child in root if child.tag != "metadata" for part in _drawn(child))
    body = "".join(ElementTree.tostring(part, encoding="unicode") for part in drawn)
    return (
        f'<svg xmlns="{_SVG}" viewBox="0 0 {_short(width)} {_short(height)}" width="{width / 0.75:.0f}" '
        f'height="{height / 0.75:.0f}" role="img" aria-labelledby="{name}t {name}d" '
        f'style="stroke-linejoin:round;stroke-linecap:butt;font-family:{_FONT}">'
        f'<title id="{name}t">{escape(title)}</title><desc id="{name}d">{escape(alt)}</desc>'
        f'<rect width="100%" height="100%" rx="6" style="fill:{_themed(CARD)}"/>{body}</svg>'
    )


def _simplify(root: ElementTree.Element, name: str) -> None:
    referred = set(re.findall(r'(?:url\(|href=")#([^")]+)', ElementTree.tostring(root, encoding="unicode")))
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        identity = element.attrib.pop("id", None)
        if identity and identity in referred:
            element.set("id", name + identity)
        if target := element.attrib.pop(_XLINK_HREF, None):
            element.set("href", f"#{name}{target[1:]}")
        for key, value in element.attrib.items():
            element.set(key, _shortened(key, value, name))
        if re.fullmatch(r"rotate\(0 .*\)", element.get("transform", "")):
            del element.attrib["transform"]
        element.tail = None
        if element.tag != "text":
            element.text = None


def _shortened(key: str, value: str, name: str) -> str:
    if key == "style":
        value = re.sub(r"font-family: [^;]+;? ?", "", value).rstrip("; ").replace(": ", ":").replace("; ", ";")
        for color in _VARIABLES:
            value = value.replace(color, _themed(color))
    if key in ("d", "x", "y", "width", "height", "transform", "style"):
        value = re.sub(r"-?\b\d+\.\d+|-0\b", lambda number: _short(float(number[0])), value)
    if key == "d":
        value = re.sub(r"\s*([MLCQz])\s*", r"\1", value).strip()
    return value.replace("url(#", f"url(#{name}")


def _themed(color: str) -> str:
    return f"var({_VARIABLES[color]},{color})"


def _short(number: float) -> str:
    """A number to a hundredth, without zeros at its end."""
    return f"{round(number, 2) + 0.0:.2f}".rstrip("0").rstrip(".")  # + 0.0: no minus before a zero


def _drawn(element: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """What an element draws, without what nobody sees: groups without a name, empty definitions, paths of no colour."""
    children = [drawn for child in element for drawn in _drawn(child)]
    if element.tag == "g" and not element.attrib:
        yield from children
    elif not _is_idle(element, children):
        element[:] = children
        yield element


def _is_idle(element: ElementTree.Element, children: list[ElementTree.Element]) -> bool:
    return (
        element.tag == "style"
        or (element.tag == "defs" and not children)
        or (element.tag == "path" and element.get("style") == "fill:none")
    )
