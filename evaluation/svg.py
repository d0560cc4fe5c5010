"""A matplotlib figure as an SVG element of a page: with the page's font and colors, and ids of its own.

Text stays text. Colors are CSS variables, so that one drawing serves dark and light. The same figure gives the same
element.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import NamedTuple
from xml.etree import ElementTree

from matplotlib.figure import Figure

PALETTE = {
    "ink": ("#1a1f26", "#e9ecef"),
    "muted": ("#59636e", "#9aa4ae"),
    "rule": ("#d9dde2", "#343b43"),
    "accent": ("#0072b2", "#56b4e9"),
    "paper": ("#ffffff", "#14181c"),
}
"""Colors on light and on dark paper. The accent is the blue that Okabe and Ito chose for all kinds of color vision."""

INK, MUTED, RULE, ACCENT, PAPER = (light for light, _ in PALETTE.values())

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "font.size": 12,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


class Plot(NamedTuple):
    """An `<svg>` element and its natural width in CSS pixels."""

    svg: str
    width: int


def one_line(text: str) -> str:
    """Return a text on one line, without what XML cannot hold."""
    return re.sub(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\s+", " ", text)


_METADATA = ("Creator", "Date", "Format", "Type")


def element(figure: Figure, name: str, label: str) -> Plot:
    """Return the figure as an element for HTML; `name` keeps its ids apart from those of other plots."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        # It measures text in its own font, which lacks some letters; the page's font is what shows them.
        warnings.filterwarnings("ignore", message=".*Glyph .* missing", category=UserWarning)
        figure.savefig(written, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    root = ElementTree.fromstring(written.getvalue())
    style = root.find(f"{SVG}defs/{SVG}style/..")
    if style is not None:
        root.remove(style)  # it would hold for the whole page, not for this element
    for part in root.iter():
        _at_home(part, name)
    width = round(figure.bbox.width)
    root.attrib.update({"role": "img", "aria-label": one_line(label), "data-plot": name, "width": str(width)})
    del root.attrib["height"]
    ElementTree.register_namespace("", SVG.strip("{}"))
    return Plot(ElementTree.tostring(root, encoding="unicode"), width)


def _at_home(part: ElementTree.Element, name: str) -> None:
    """Make an element of a file one of a page: ids with a prefix, the page's font, colors by their names."""
    found = part.attrib
    if "id" in found:
        found["id"] = f"{name}-{found['id']}"
    if f"{XLINK}href" in found:
        found["href"] = found.pop(f"{XLINK}href").replace("#", f"#{name}-")
    if "clip-path" in found:
        found["clip-path"] = found["clip-path"].replace("#", f"#{name}-")
    if "style" in found:
        style = re.sub(r"font-family: [^;]*;?", "", found["style"])
        for color, (light, _) in PALETTE.items():
            style = style.replace(light, f"var(--{color})")
        found["style"] = style.strip("; ")
