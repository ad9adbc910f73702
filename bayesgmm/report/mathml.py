"""Formulas as MathML, which browsers draw without help: from a line such as "x_n ∼ Normal(μ_k)"."""

import re
from collections.abc import Iterator

from bayesgmm.report.html import Html, joined, tag

_TOKEN = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)?|\S")
_LARGE = {"∑", "∏"}
"""Operators, though they are letters to Unicode."""


def math(line: str) -> Html:
    """A formula.

    Parameters
    ----------
    line : str
        Letters, words, numbers and signs; ``_`` and ``^`` put what follows, one token or a group
        in braces, below and above.
    """
    tokens = iter(_TOKEN.findall(line))
    inside = tag("mrow", *_row(_Ahead(tokens), end=None))
    return tag("math", inside)


class _Ahead:
    """Tokens, of which the next may be looked at."""

    def __init__(self, tokens: Iterator[str]):
        self.tokens = tokens
        self.next = next(tokens, None)

    def take(self) -> str | None:
        """The next token."""
        found, self.next = self.next, next(self.tokens, None)
        return found


def _row(ahead: _Ahead, end: str | None) -> Iterator[Html]:
    while ahead.next != end:
        yield _with_scripts(ahead)
    ahead.take()


def _with_scripts(ahead: _Ahead) -> Html:
    base, below, above = _atom(ahead), None, None
    while ahead.next in ("_", "^"):
        if ahead.take() == "_":
            below = _atom(ahead)
        else:
            above = _atom(ahead)
    if below is not None and above is not None:
        return tag("msubsup", base, below, above)
    if below is not None:
        return tag("msub", base, below)
    return base if above is None else tag("msup", base, above)


def _atom(ahead: _Ahead) -> Html:
    token = ahead.take() or ""
    if token == "{":
        return tag("mrow", joined(_row(ahead, "}")))
    if token[0].isdigit():
        return tag("mn", token)
    if token.isalpha() and token not in _LARGE:
        return tag("mi", token)
    # without a font for mathematics brackets are stretched far beyond what they hold
    return tag("mo", token, stretchy="false") if token in "()" else tag("mo", token)
