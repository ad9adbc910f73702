"""Numbers and lists as a sentence or a table has them."""

import math
from collections.abc import Sequence
from typing import Any

LONG = 100_000
"""Numbers as large as this are written with a power of ten."""


def number(value: Any, digits: int = 3) -> str:
    """A number to so many significant digits, all those before the point; "–" if there is none."""
    value = float(value)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value != 0 and not 1e-4 <= abs(value) < LONG:
        return signed(f"{value:.{digits - 1}e}")
    size = 0 if value == 0 else math.floor(math.log10(abs(value)))
    return signed(f"{value:.{max(digits - 1 - size, 0)}f}")


def fixed(value: Any, places: int = 3) -> str:
    """A number with so many decimals."""
    value = float(value)
    return signed(f"{value:.{places}f}") if math.isfinite(value) else number(value)


def signed(text: str) -> str:
    """With a true minus."""
    return text.replace("-", "−")


def probability(value: Any) -> str:
    """A probability with three decimals; tiny is not zero, nor all but one one."""
    value = float(value)
    if math.isnan(value):
        return "–"
    if 0 < value < 0.0005:
        return "<0.001"
    return ">0.999" if 0.9995 <= value < 1 else f"{value:.3f}"


def share_of(p: float, n: int) -> str:
    """A share of n things with three decimals; that none was seen says less than one, not zero."""
    if p in (0, 1):
        return f"<{1 / n:.3f}" if p == 0 else f">{1 - 1 / n:.3f}"
    return f"{p:.3f}"


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f} %" if 0 < share < 0.995 else f"{100 * share:.0f} %"


def count(n: int, noun: str, plural: str | None = None) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def listed(items: Sequence[Any]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    items = [str(item) for item in items]
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


QUANTITIES = {
    "n_clusters": "number of clusters",
    "n_components": "number of components",
    "entropy": "entropy of the partition",
    "log_det_scale": "log determinant of the common scale",
}
"""Quantities that do not depend on labels, where their name needs more words."""


def quantity(name: Any) -> str:
    """What a quantity is called in a sentence."""
    return QUANTITIES.get(name, str(name).replace("_", " "))


def upper_first(text: str) -> str:
    """With a capital letter at the front."""
    return text[:1].upper() + text[1:]


def array(value: Any, most: int = 4) -> str:
    """A number, a vector or a matrix in a line; a diagonal one by its diagonal."""
    import numpy as np

    found = np.asarray(value, float)
    if found.size == 1:
        return number(found.ravel()[0])
    if found.ndim == 2:
        diagonal = np.diagonal(found)
        if np.array_equal(found, np.diag(diagonal)):
            return f"diag({_entries(diagonal, 2 * most)})"
        if len(found) > most:
            return f"a {len(found)} × {len(found)} matrix of diagonal {_entries(diagonal, most)}"
        return "[" + "; ".join(_entries(row, most) for row in found) + "]"
    return f"({_entries(found, 2 * most)})"


def _entries(values: Any, most: int) -> str:
    shown = [number(value) for value in values[:most]]
    return ", ".join([*shown, "…"] if len(values) > most else shown)
