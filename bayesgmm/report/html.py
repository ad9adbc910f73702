"""HTML in small pieces: whatever is text is escaped, what is markup already stays as it is."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

VOID = {"img", "meta", "br", "mspace"}
"""Elements that have no end tag."""

_NUMBER = re.compile(r"[<>]?[−+]?\d[\d,.]*(e[−+]?\d+)?( \*)?( ?%| ?\(.*%\)| ?\[.*\])?|–|kept")
"""A number as a table has it: with a mark, a share or an interval after it."""


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


def table(
    head: Sequence[Any], rows: Iterable[Sequence[Any]], caption: str, *, wordy: bool = False
) -> Html:
    """A table in a box that scrolls by itself; the first cell of each row is its heading.

    Columns of numbers stand on the right; those of a wordy table are never very narrow.
    """
    rows = [list(row) for row in rows]
    sides = ["n" if _numeric(column) else None for column in zip(*rows, strict=True)]
    sides = [None, *sides[1:]] if sides else [None] * len(head)
    top = [tag("th", c, scope="col", class_=side) for c, side in zip(head, sides, strict=True)]
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", c, class_=side) for c, side in zip(row[1:], sides[1:], strict=True)),
        )
        for row in rows
    ]
    inside = tag("table", tag("thead", tag("tr", *top)), tag("tbody", *body), aria_label=caption)
    # the caption stays in sight when a wide table is scrolled, so it is not the table's own
    kind = "scroll wordy" if wordy else "scroll"
    box = tag("div", inside, class_=kind, role="region", aria_label=caption, tabindex="0")
    return joined([para(caption, class_="caption"), box])


def _numeric(column: Iterable[Any]) -> bool:
    """Whether all that stands in a column are numbers, and there is one."""
    texts = [re.sub(r"<[^>]*>", "", c) if isinstance(c, Html) else str(c) for c in column]
    texts = [text.strip() for text in texts if text.strip()]
    return bool(texts) and all(_NUMBER.fullmatch(text) for text in texts)


def stacked(first: str, second: str) -> Html:
    """A cell of two lines, the second in small print."""
    return joined([tag("span", first, class_="whole"), " ", tag("small", second)])
