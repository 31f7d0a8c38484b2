"""The style and the file format of charts: the same figures give the same bytes.

A white background and dark lines are readable on GitHub's light and dark pages.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#1f6feb", "#d1580a", "#2da44e", "#8250df", "#6e7781")
"""They also differ in brightness, for readers who do not see the hues."""

_STYLE: Mapping[str, object] = {
    # Element IDs are hashes with a random salt unless one is given.
    "svg.hashsalt": "issuebox",
    # Glyphs as paths: the page needs no font, and the file depends on none of this machine.
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d8dee4",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def axes(title: str, x: str, y: str, *, width_in: float = 7.0, height_in: float = 3.6) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; `x` and `y` are labels with their units."""
    with mpl.rc_context(dict(_STYLE)):  # type: ignore[arg-type]
        figure = Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")
        drawn = figure.subplots()
    drawn.set_title(title, loc="left", fontsize=11)
    drawn.set_xlabel(x)
    drawn.set_ylabel(y)
    return figure, drawn


def svg(figure: Figure) -> str:
    """The chart as text of an SVG file."""
    target = io.StringIO()
    with mpl.rc_context(dict(_STYLE)):  # type: ignore[arg-type]
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    # Matplotlib leaves blanks at the ends of lines, about which git complains.
    return "\n".join(line.rstrip() for line in target.getvalue().splitlines()) + "\n"
