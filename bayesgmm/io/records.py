"""A tree of values as JSON and named arrays, and back: data only, so that reading runs no code.

What has a kind of its own in `KINDS` can be written. Named tuples and dataclasses are written by
name and fields, and only those of this package are made again.
"""

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

__all__ = ["pack", "unpack"]

Arrays = dict[str, np.ndarray]


class Kind(NamedTuple):
    """Values of one kind: one row of `KINDS`.

    Attributes
    ----------
    fits : callable
        Whether a value is of it.
    pack : callable
        (value, its place, arrays) -> JSON; arrays are added under names that begin with the place.
    unpack : callable
        (JSON, arrays) -> value.
    """

    fits: Callable[[Any], bool]
    pack: Callable[[Any, str, Arrays], Any]
    unpack: Callable[[Any, Arrays], Any]


def pack(value: Any, place: str, arrays: Arrays) -> Any:
    """The value as JSON; its arrays go to `arrays`.

    Parameters
    ----------
    value : any
    place : str
        What the value is called: names its arrays, and what an error is about.
    arrays : dict
        Added to.

    Raises
    ------
    TypeError
        If a part of it is of no kind that is known.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.io.records import pack
    >>> arrays = {}
    >>> pack([1, np.zeros(2)], "start", arrays), list(arrays)
    ({'list': [1, {'array': 'start.1'}]}, ['start.1'])
    """
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    for name, kind in KINDS.items():
        if kind.fits(value):
            return {name: kind.pack(value, place, arrays)}
    found = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(f"{place} is a {found}, which is neither an array nor a number or text.")


def unpack(packed: Any, arrays: Arrays) -> Any:
    """The value of which `pack` made this.

    Raises
    ------
    ValueError, KeyError
        If `pack` did not make it.
    """
    if not isinstance(packed, dict):
        return packed
    (name, content), *others = packed.items()
    if others or name not in KINDS:
        raise ValueError(f"no value is written as {sorted(packed)}")
    return KINDS[name].unpack(content, arrays)


# --- the kinds ------------------------------------------------------------------------------------


def _pack_array(value: Any, place: str, arrays: Arrays) -> str:
    arrays[place] = np.asarray(value)
    return place


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and hasattr(value, "dtype") and _plain(value.dtype)


def _plain(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"


def _is_time(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "mM"


def _pack_time(value: np.ndarray, place: str, arrays: Arrays) -> list:
    return [str(value.dtype), _pack_array(value.view(np.int64), place, arrays)]


def _is_text(value: Any) -> bool:
    """An array of names."""
    text = isinstance(value, np.ndarray) and value.dtype.kind in "OU" and value.ndim == 1
    return text and all(isinstance(name, str) for name in value)


def _pack_items(value: Any, place: str, arrays: Arrays) -> list:
    return [pack(item, f"{place}.{i}", arrays) for i, item in enumerate(value)]


def _unpack_items(content: list, arrays: Arrays) -> list:
    return [unpack(item, arrays) for item in content]


def _pack_dict(value: dict, place: str, arrays: Arrays) -> list:
    return [
        [pack(key, place, arrays), pack(item, f"{place}.{key}", arrays)]
        for key, item in value.items()
    ]


def _unpack_dict(content: list, arrays: Arrays) -> dict:
    return {unpack(key, arrays): unpack(item, arrays) for key, item in content}


def _is_record(value: Any) -> bool:
    return _is_class_of_records(type(value))


def _is_class_of_records(given: Any) -> bool:
    if not isinstance(given, type) or not given.__module__.startswith("bayesgmm."):
        return False
    return is_dataclass(given) or (issubclass(given, tuple) and hasattr(given, "_fields"))


def _pack_record(value: Any, place: str, arrays: Arrays) -> list:
    names = [field.name for field in fields(value)] if is_dataclass(value) else value._fields
    parts = {name: pack(getattr(value, name), f"{place}.{name}", arrays) for name in names}
    return [f"{type(value).__module__}.{type(value).__qualname__}", parts]


def _unpack_record(content: list, arrays: Arrays) -> Any:
    name, parts = content
    module, _, own = name.rpartition(".")
    found = getattr(import_module(module), own, None) if module.startswith("bayesgmm.") else None
    if not _is_class_of_records(found):
        raise ValueError(f"{name} is no record of this package")
    return found(**{field: unpack(part, arrays) for field, part in parts.items()})


def _pack_generator(value: Any, place: str, arrays: Arrays) -> Any:
    return pack(value.get_state(legacy=True), place, arrays)


def _unpack_generator(content: Any, arrays: Arrays) -> np.random.RandomState:
    state = np.random.RandomState()
    state.set_state(unpack(content, arrays))
    return state


def _is_gamma(value: Any) -> bool:
    return getattr(getattr(value, "dist", None), "name", None) == "gamma" and hasattr(value, "kwds")


def _unpack_gamma(content: list, arrays: Arrays) -> Any:
    from scipy import stats

    args, kwds = unpack(content, arrays)
    return stats.gamma(*args, **kwds)


def _is_pandas(value: Any, name: str) -> bool:
    """Without loading pandas: what is not loaded made no value."""
    module = type(value).__module__.partition(".")[0]
    return module == "pandas" and any(base.__name__ == name for base in type(value).__mro__)


def _unpack_range(content: list, arrays: Arrays) -> Any:
    import pandas as pd

    start, stop, step, name = unpack(content, arrays)
    return pd.RangeIndex(start, stop, step, name=name)


def _unpack_levels(content: list, arrays: Arrays) -> Any:
    import pandas as pd

    levels, names = unpack(content, arrays)
    return pd.MultiIndex.from_arrays(levels, names=names)


def _values(value: Any) -> Any:
    """Values of an index or a series as an array, or, where that holds objects, as a list."""
    values = value.to_numpy()
    array = _plain(values.dtype) or _is_time(values) or _is_text(values)
    return values if array else values.tolist()


def _levels(value: Any) -> list:
    return [value.get_level_values(i) for i in range(value.nlevels)]


def _columns(value: Any) -> list:
    return [column for _, column in value.items()]


def _unpack_index(content: list, arrays: Arrays) -> Any:
    import pandas as pd

    values, name = unpack(content, arrays)
    return pd.Index(values, name=name)


def _unpack_series(content: list, arrays: Arrays) -> Any:
    import pandas as pd

    values, index, name = unpack(content, arrays)
    return pd.Series(values, index=index, name=name)


def _unpack_frame(content: list, arrays: Arrays) -> Any:
    import pandas as pd

    columns, names, index = unpack(content, arrays)
    frame = pd.DataFrame(dict(enumerate(columns)), index=index)
    frame.columns = names
    return frame


def _through(parts: Callable[[Any], Any]) -> Callable:
    """Packs what `parts` makes of the value."""
    return lambda value, place, arrays: pack(parts(value), place, arrays)


KINDS = {
    "float": Kind(
        lambda value: type(value) is float,
        lambda value, place, arrays: repr(value),  # nan, inf and -inf: no numbers of JSON
        lambda content, arrays: float(content),
    ),
    "scalar": Kind(
        lambda value: isinstance(value, np.generic) and _plain(value.dtype),
        _pack_array,
        lambda content, arrays: arrays[content][()],
    ),
    "range": Kind(
        lambda value: _is_pandas(value, "RangeIndex"),
        _through(lambda value: [value.start, value.stop, value.step, value.name]),
        _unpack_range,
    ),
    "levels": Kind(
        lambda value: _is_pandas(value, "MultiIndex"),
        _through(lambda value: [list(map(_values, _levels(value))), list(value.names)]),
        _unpack_levels,
    ),
    "index": Kind(
        lambda value: _is_pandas(value, "Index"),
        _through(lambda value: [_values(value), value.name]),
        _unpack_index,
    ),
    "series": Kind(
        lambda value: _is_pandas(value, "Series"),
        _through(lambda value: [_values(value), value.index, value.name]),
        _unpack_series,
    ),
    "frame": Kind(
        lambda value: _is_pandas(value, "DataFrame"),
        _through(lambda value: [list(map(_values, _columns(value))), value.columns, value.index]),
        _unpack_frame,
    ),
    "array": Kind(_is_array, _pack_array, lambda content, arrays: arrays[content]),
    "time": Kind(_is_time, _pack_time, lambda content, arrays: arrays[content[1]].view(content[0])),
    "text": Kind(
        _is_text,
        lambda value, place, arrays: value.tolist(),
        lambda content, arrays: np.array(content, object),
    ),
    "record": Kind(_is_record, _pack_record, _unpack_record),
    "list": Kind(lambda value: type(value) is list, _pack_items, _unpack_items),
    "tuple": Kind(
        lambda value: type(value) is tuple,
        _pack_items,
        lambda content, arrays: tuple(_unpack_items(content, arrays)),
    ),
    "range of integers": Kind(
        lambda value: type(value) is range,
        lambda value, place, arrays: [value.start, value.stop, value.step],
        lambda content, arrays: range(*content),
    ),
    "dict": Kind(lambda value: type(value) is dict, _pack_dict, _unpack_dict),
    "random state": Kind(
        lambda value: isinstance(value, np.random.RandomState), _pack_generator, _unpack_generator
    ),
    "gamma": Kind(_is_gamma, _through(lambda value: [value.args, value.kwds]), _unpack_gamma),
}
"""Kinds of values beside plain JSON, by the name they are written under; the first that fits."""
