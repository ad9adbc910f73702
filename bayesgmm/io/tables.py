"""A table as the user names it, a file or a bundled data set, and its columns to fit.

The messages speak of the command line: DATA is the table, ``--columns`` the choice of columns,
``--index`` that of the one that names the rows.
"""

import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bayesgmm.datasets import DATASETS, load

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Scaling",
    "TableError",
    "columns_of_model",
    "named_by",
    "read_table",
    "select_columns",
    "standardized",
]

LISTED = 5
"""So many rows with missing values are listed, and so many names of columns."""

STDIN = "-"
"""What stands for CSV on standard input."""

DROP = "drop or impute them"


class TableError(Exception):
    """What the user can put right about a table, in one line."""


def read_table(source: str) -> "tuple[str, pd.DataFrame]":
    """The name of a data set and its table, the index of which names the rows."""
    if source in DATASETS:
        return source, load(source)[0]
    if source == STDIN:
        return "stdin", _read("standard input", _read_csv, getattr(sys.stdin, "buffer", sys.stdin))
    from bayesgmm.messages import hint, listed

    path = Path(source)
    if not path.is_file():
        kind = "is a folder, not a file" if path.is_dir() else "is neither a file nor a data set"
        files = [str(file) for file in path.parent.glob(f"*{path.suffix}") if path.suffix]
        raise TableError(
            f"{source!r} {kind}. The bundled data sets are {listed(DATASETS)}."
            f"{hint([*DATASETS, *files], source)}"
        )
    table = _read(repr(source), _READERS.get(path.suffix.lower(), _read_csv), path)
    return re.sub(r"\.(csv|tsv|tab|txt|parquet|pq)(\.\w+)?$", "", path.name, flags=re.I), table


def _read(named: str, reader: Callable, source: Any) -> "pd.DataFrame":
    try:
        return reader(source)
    except ImportError as error:
        raise TableError(
            f"reading {named} needs pyarrow, which is not installed: "
            "pip install 'bayesgmm[parquet]'"
        ) from error
    except (OSError, ValueError) as error:  # pandas' and pyarrow's errors of format are ValueErrors
        raise TableError(f"cannot read {named}: {' '.join(str(error).split())}") from error


def _read_csv(file: Any, separator: str = ",") -> "pd.DataFrame":
    import pandas as pd

    table = pd.read_csv(file, sep=separator)
    first = str(table.columns[0])
    if first.startswith("Unnamed:"):  # what R and pandas write above the names of rows
        table = table.set_index(first).rename_axis(None)
    return table


def _read_tabs(file: Any) -> "pd.DataFrame":
    return _read_csv(file, "\t")


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


# --- rows and columns -----------------------------------------------------------------------------


def named_by(table: "pd.DataFrame", index: str | None) -> "pd.DataFrame":
    """The table with its rows named by that column, if one is given."""
    table = table.set_axis([str(name) for name in table.columns], axis=1)
    if index is None:
        return table
    _check_there(table, [index], "--index")
    if table[index].isna().any():
        row = table.index[table[index].isna()][0]
        raise TableError(f"--index: column {index!r} is empty in row {row}.")
    named = table.set_index(index)
    twice = named.index[named.index.duplicated()].unique()
    if len(twice):
        shown = ", ".join(str(name) for name in twice[:LISTED])
        warnings.warn(f"--index: several rows have the same name: {shown}", stacklevel=2)
    return named


def select_columns(
    table: "pd.DataFrame", columns: list[str] | None, note: Callable
) -> "pd.DataFrame":
    """The columns to fit, as float64 without gaps."""
    _check_rows(table)
    chosen = _numeric(table, note) if columns is None else _named(table, columns)
    _check_complete(chosen, f"{DROP}, or choose complete columns with --columns")
    return chosen.astype(float)


def columns_of_model(
    table: "pd.DataFrame", columns: Sequence[str] | None, n_columns: int, note: Callable
) -> "pd.DataFrame":
    """The columns that a model was fitted to, by their names; by their number if it has none."""
    _check_rows(table)
    if columns is None:
        chosen = _numeric(table, note)
        if chosen.shape[1] != n_columns:
            raise TableError(
                f"MODEL was fitted to {n_columns} columns without names, and DATA has "
                f"{chosen.shape[1]} that are numbers: {', '.join(chosen.columns)}."
            )
    else:
        lacking = [name for name in columns if name not in table.columns]
        if lacking:
            from bayesgmm.messages import listed

            raise TableError(
                f"DATA lacks {listed(lacking)}, of the columns that MODEL was fitted to. Its "
                f"columns are {listed(table.columns)}."
            )
        chosen = _named(table, list(columns), "DATA")
    _check_complete(chosen, DROP)
    return chosen.astype(float)


def _check_rows(table: "pd.DataFrame") -> None:
    if not len(table):
        raise TableError("DATA has no rows.")
    if all(re.fullmatch(r"[-+]?\.?\d[\d.eE+-]*", name) for name in table.columns):
        warnings.warn(
            f"the columns are called {', '.join(table.columns[:LISTED])}: if DATA begins without a "
            "line of names, its first row was taken for one",
            stacklevel=3,
        )


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


def _named(
    table: "pd.DataFrame", columns: list[str], argument: str = "--columns"
) -> "pd.DataFrame":
    from pandas.api.types import is_any_real_numeric_dtype

    _check_there(table, columns, argument)
    for name in columns:
        if not is_any_real_numeric_dtype(table[name].dtype):
            example = table[name].dropna().iloc[:1].tolist()
            raise TableError(
                f"{argument}: column {name!r} does not hold numbers"
                + (f", but such values as {example[0]!r}." if example else ".")
            )
    return table.loc[:, columns]


def _check_there(table: "pd.DataFrame", columns: list[str], argument: str) -> None:
    from bayesgmm.messages import hint, listed

    for name in columns:
        if name not in table.columns:
            raise TableError(
                f"{argument}: there is no column {name!r}. The columns are {listed(table.columns)}."
                f"{hint(table.columns, name)}"
            )


def _check_complete(table: "pd.DataFrame", way_out: str) -> None:
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
        f"{'; '.join(places)}{more}. Missing values are not modelled: {way_out}."
    )


def _counted(table: "pd.DataFrame") -> str:
    import pandas as pd

    return " (the first is row 0)" if isinstance(table.index, pd.RangeIndex) else ""


# --- units ----------------------------------------------------------------------------------------


class Scaling(NamedTuple):
    """How columns are brought to mean 0 and standard deviation 1.

    Attributes
    ----------
    columns : list of str
    means, deviations : list of float
        Of the points of the fit; the deviations are those of N, not of N - 1.
    """

    columns: list[str]
    means: list[float]
    deviations: list[float]

    def scores(self, X: "pd.DataFrame") -> "pd.DataFrame":
        """The same columns in these units, under names that say so: z(column)."""
        scores = (X[self.columns] - self.means) / self.deviations
        return scores.set_axis([f"z({name})" for name in self.columns], axis=1)


def standardized(X: "pd.DataFrame") -> "tuple[pd.DataFrame, Scaling]":
    """Columns of mean 0 and standard deviation 1, and how they came to it."""
    deviations = X.std(ddof=0)
    flat = deviations.index[~(deviations > 0)]
    if len(flat):
        raise TableError(
            f"--standardize: column {flat[0]!r} is the same in every row, and has no standard "
            "deviation to be divided by."
        )
    scaling = Scaling(list(X.columns), X.mean().tolist(), deviations.tolist())
    return scaling.scores(X), scaling
