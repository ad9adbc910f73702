"""Single numbers that a user gave, checked, with what was expected and found if one is not."""

from typing import Any

import numpy as np


def check_number(
    value: Any, argument: str, *, integer: bool = False, low: float = -np.inf, strict: bool = False
) -> Any:
    """`value` if it is a number (a whole one) above `low`.

    Raises
    ------
    ValueError
        If it is not.
    """
    kinds = (int, np.integer) if integer else (int, float, np.integer, np.floating)
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    if fits and (value > low if strict else value >= low) and value < np.inf:
        return value
    kind = "an integer" if integer else "a finite number"
    bound = "" if low == -np.inf else f" {'above' if strict else 'of at least'} {low:g}"
    raise ValueError(f"{argument} must be {kind}{bound}, got {value!r}.")


def check_flag(value: Any, argument: str) -> None:
    """`value` is True or False.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{argument} must be True or False, got {value!r}.")


def check_level(level: Any) -> None:
    """The probability of an interval or a ball lies between 0 and 1.

    Raises
    ------
    ValueError
        If it does not.
    """
    number = isinstance(level, int | float | np.number) and not isinstance(level, bool)
    if not number or not 0 < level < 1:
        raise ValueError(f"level must be a number between 0 and 1, got {level!r}.")
