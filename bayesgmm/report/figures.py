"""Figures inside the page: SVG where there is little to draw, else PNG, with words in their place.

They are drawn without pyplot and in matplotlib's own style, whatever that of the session is.
"""

import base64
import io
from collections.abc import Callable
from typing import Any

from bayesgmm.report.html import Html, tag

FEW = 1500
"""Points up to which a scatter is drawn as SVG."""

DPI = 144
"""Of a PNG."""


def picture(
    draw: Callable[[Any], Any],
    alt: str,
    caption: Any,
    *,
    size: tuple[float, float] = (5.6, 3.6),
    n_points: int = 0,
) -> Html:
    """A figure.

    Parameters
    ----------
    draw : callable
        It draws on the matplotlib Figure that it is given.
    alt : str
        What there is to see, in a sentence.
    caption : str or Html
    size : two floats, default (5.6, 3.6)
        Inches.
    n_points : int, default 0
        Things drawn: of more than `FEW` it is a PNG.
    """
    import matplotlib
    from matplotlib.figure import Figure

    kind = "svg" if n_points <= FEW else "png"
    style = {**_plain(matplotlib), "svg.hashsalt": "bayesgmm"}  # the same bytes every time
    buffer = io.BytesIO()
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        plain = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": DPI}
        figure.savefig(buffer, format=kind, **plain)
    media = {"svg": "image/svg+xml", "png": "image/png"}[kind]
    source = f"data:{media};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    width, height = (round(96 * inches) for inches in size)
    image = tag("img", src=source, alt=alt, width=width, height=height)
    return tag("figure", image, tag("figcaption", caption))


def _plain(matplotlib: Any) -> dict[str, Any]:
    """Matplotlib's own style, without what belongs to the process."""
    from matplotlib.style.core import STYLE_BLACKLIST

    defaults = matplotlib.rcParamsDefault
    return {key: defaults[key] for key in defaults if key not in STYLE_BLACKLIST}


def draw_intervals(ax: Any, rows: list[tuple[str, float, float, float]]) -> None:
    """A bar from low to high and a dot for each row (name, low, high, dot), the first on top."""
    from bayesgmm.drawing import COLORS

    places = range(len(rows))
    for place, (_, low, high, dot) in zip(places, rows, strict=True):
        ax.plot([low, high], [place, place], color="0.75", linewidth=5, solid_capstyle="butt")
        outside = not low <= dot <= high
        ax.plot(dot, place, "D" if outside else "o", color=COLORS[1 if outside else 0])
    ax.set_yticks(places, [name for name, *_ in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
