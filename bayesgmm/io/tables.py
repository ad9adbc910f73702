"""A table as the user names it, a file or a bundled data set, and its columns to fit.

The messages speak of the command line: DATA is the table, ``--columns`` the choice of columns.
"""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bayesgmm.datasets import DATASETS, load

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TableError", "read_table", "select_columns"]

LISTED = 5
"""So many rows with missing values are listed, and so many names of columns."""


class TableError(Exception):
    """What the user can put right about a table, in one line."""


def read_table(source: str) -> "tuple[str, pd.DataFrame]":
    """The name of a data set and its table, the index of which names the rows."""
    if source in DATASETS:
        return source, load(source)[0]
    from bayesgmm.messages import hint, listed

    path = Path(source)
    if not path.is_file():
        kind = "is a folder, not a file" if path.is_dir() else "is neither a file nor a data set"
        files = [str(file) for file in path.parent.glob(f"*{path.suffix}") if path.suffix]
        raise TableError(
            f"{source!r} {kind}. The bundled data sets are {listed(DATASETS)}."
            f"{hint([*DATASETS, *files], source)}"
        )
    try:
        table = _READERS.get(path.suffix.lower(), _read_csv)(path)
    except ImportError as error:
        raise TableError(
            f"reading {source!r} needs pyarrow, which is not installed: "
            "pip install 'bayesgmm[parquet]'"
        ) from error
    except (OSError, ValueError) as error:  # pandas' and pyarrow's errors of format are ValueErrors
        raise TableError(f"cannot read {source!r}: {' '.join(str(error).split())}") from error
    return re.sub(r"\.(csv|tsv|tab|txt|parquet|pq)(\.\w+)?$", "", path.name, flags=re.I), table


def _read_csv(path: Path, separator: str = ",") -> "pd.DataFrame":
    import pandas as pd

    table = pd.read_csv(path, sep=separator)
    first = str(table.columns[0])
    if first.startswith("Unnamed:"):  # what R and pandas write above the names of rows
        table = table.set_index(first)
    return table


def _read_tabs(path: Path) -> "pd.DataFrame":
    return _read_csv(path, "\t")


def _read_parquet(path: Path) -> "pd.DataFrame":
    import pandas as pd

    table = pd.read_parquet(path, engine="pyarrow")
    return table.reset_index() if table.index.nlevels > 1 else table


_READERS: dict[str, Callable] = {
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".tsv": _read_tabs,
    ".tab": _read_tabs,
}
"""Readers by the end of a file's name; all else is read as CSV."""


def select_columns(
    table: "pd.DataFrame", columns: list[str] | None, note: Callable
) -> "pd.DataFrame":
    """The columns to fit, as float64 without gaps."""
    table = table.set_axis([str(name) for name in table.columns], axis=1)
    if not len(table):
        raise TableError("DATA has no rows.")
    if all(re.fullmatch(r"[-+]?\.?\d[\d.eE+-]*", name) for name in table.columns):
        warnings.warn(
            f"the columns are called {', '.join(table.columns[:LISTED])}: if DATA begins without a "
            "line of names, its first row was taken for one",
            stacklevel=2,
        )
    chosen = _numeric(table, note) if columns is None else _named(table, columns)
    _check_complete(chosen)
    return chosen.astype(float)


def _numeric(table: "pd.DataFrame", note: Callable) -> "pd.DataFrame":
    reasons = {name: _unfit(table[name]) for name in table.columns}
    for reason in dict.fromkeys(filter(None, reasons.values())):
        left = [name for name, found in reasons.items() if found == reason]
        note(f"left out, {reason}: {', '.join(left)}")
    used = [name for name, reason in reasons.items() if not reason]
    if not used:
        found = ", ".join(f"{name!r} ({reason})" for name, reason in reasons.items())
        raise TableError(f"DATA has no numeric columns to fit: {found or 'it has no columns'}.")
    return table.loc[:, used]


def _unfit(column: "pd.Series") -> str:
    """Why a column is left out unless asked for; nothing for one that is used."""
    from pandas.api.types import is_any_real_numeric_dtype

    if not is_any_real_numeric_dtype(column.dtype):
        return "not numbers"
    if len(column) > 1 and column.notna().all():
        if (column == column.iloc[0]).all():
            return "the same in every row"
        if len(column) > 2 and (column.diff().iloc[1:] == 1).all():
            return "counts the rows"
    return ""


def _named(table: "pd.DataFrame", columns: list[str]) -> "pd.DataFrame":
    from pandas.api.types import is_any_real_numeric_dtype

    from bayesgmm.messages import hint, listed

    for name in columns:
        if name not in table.columns:
            raise TableError(
                f"--columns: there is no column {name!r}. The columns are {listed(table.columns)}."
                f"{hint(table.columns, name)}"
            )
        if not is_any_real_numeric_dtype(table[name].dtype):
            example = table[name].dropna().iloc[:1].tolist()
            raise TableError(
                f"--columns: column {name!r} does not hold numbers"
                + (f", but such values as {example[0]!r}." if example else ".")
            )
    return table.loc[:, columns]


def _check_complete(table: "pd.DataFrame") -> None:
    """Every value is there; if not, name the rows as assignments.csv would."""
    missing = table.isna()
    bad = missing[missing.any(axis=1)]
    if not len(bad):
        return
    places = [
        f"row {row} ({', '.join(table.columns[gaps])})"
        for row, gaps in zip(bad.index[:LISTED], bad.to_numpy(), strict=False)
    ]
    more = f" and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
    raise TableError(
        f"values are missing in {len(bad)} of {len(table)} rows{_counted(table)}: "
        f"{'; '.join(places)}{more}. Missing values are not modelled: drop or impute them, or "
        "choose complete columns with --columns."
    )


def _counted(table: "pd.DataFrame") -> str:
    import pandas as pd

    return " (the first is row 0)" if isinstance(table.index, pd.RangeIndex) else ""
