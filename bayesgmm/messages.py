"""Words of messages: the names of a table, the one that was meant, a warning at the user's line."""

import difflib
import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any


def lookup(table: Mapping[Any, Any], name: Any, argument: str) -> Any:
    """The row of an option table, or an error that lists the names.

    Raises
    ------
    ValueError
        If there is no such row.
    """
    if (name is None or isinstance(name, str)) and name in table:
        return table[name]
    raise ValueError(f"{argument} must be one of {listed(table)}; got {name!r}.{hint(table, name)}")


def listed(names: Iterable[Any]) -> str:
    """Names as a message shows them."""
    return ", ".join(map(repr, names))


def count(number: int, noun: str, nouns: str | None = None) -> str:
    """``1 row``, ``2 rows``."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def hint(names: Iterable[Any], name: Any) -> str:
    """The name that was probably meant, whatever its case, as a sentence; or nothing."""
    lower = {n.lower(): n for n in names if isinstance(n, str)}
    close = difflib.get_close_matches(str(name).lower(), lower, n=1)
    return f" Did you mean {lower[close[0]]!r}?" if close else ""


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """A warning that points at the user's line."""
    warnings.warn(message, category, stacklevel=_level_of_the_user())


def _level_of_the_user() -> int:
    """How many frames up the first one lies that is not ours."""
    frame, level = sys._getframe(1), 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("bayesgmm."):
        frame, level = frame.f_back, level + 1
    return level
