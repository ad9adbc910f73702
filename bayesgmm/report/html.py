"""HTML in small pieces: whatever is text is escaped, what is markup already stays as it is."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

VOID = {"img", "meta", "br", "mspace"}
"""Elements that have no end tag."""

_NUMBER = re.compile(r"[<>≥≤±]?\s*[−+]?\d[\d,.]*(e[−+]?\d+)?\s*(%|±.*|\[.*\])?|–")


class Html(str):
    """Markup: it is not escaped again."""


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element; children that are no `Html` are escaped, None and "" left out.

    Of an attribute's name a trailing underscore falls away and others become hyphens; one that is
    None or False is left out.
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID:
        return Html(f"<{name}{shown}>")
    return Html(f"<{name}{shown}>{joined(children)}</{name}>")


def joined(children: Iterable[Any]) -> Html:
    """Pieces one after the other."""
    return Html("".join(_markup(child) for child in children if child is not None))


def _markup(child: Any) -> str:
    return child if isinstance(child, Html) else escape(str(child), quote=False)


def para(*children: Any, **attributes: Any) -> Html:
    """A paragraph."""
    return tag("p", *children, **attributes)


def bullets(items: Iterable[Any]) -> Html:
    """An unordered list."""
    return tag("ul", *(tag("li", item) for item in items))


def code(text: str) -> Html:
    """Lines to be copied."""
    return tag("pre", tag("code", text), tabindex="0")


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], caption: str) -> Html:
    """A table in a box that scrolls by itself; the first cell of each row is its heading."""
    top = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = [
        tag("tr", tag("th", first, scope="row"), *(_cell(cell) for cell in rest))
        for first, *rest in rows
    ]
    inside = tag("table", tag("caption", caption), tag("thead", top), tag("tbody", *body))
    return tag("div", inside, class_="scroll", role="region", aria_label=caption, tabindex="0")


def _cell(cell: Any) -> Html:
    text = re.sub(r"<[^>]*>", "", cell) if isinstance(cell, Html) else str(cell)
    return tag("td", cell, class_="n" if _NUMBER.fullmatch(text.strip()) else None)


def stacked(first: str, second: str) -> Html:
    """A cell of two lines, the second in small print."""
    return joined([first, " ", tag("small", second)])
