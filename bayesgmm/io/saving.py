"""Fitted estimators in files: arrays and JSON as .npz, or with a posterior for ArviZ as .nc."""

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.io.records import Arrays, pack, unpack
from bayesgmm.messages import listed

__all__ = ["read", "save"]

FORMAT = 1
"""Raised when a fitted estimator holds other things than it did; what is older is then told."""

ESTIMATORS = ("GaussianMixture", "BayesianGaussianMixture", "MCMCGaussianMixture")
HEADER, GROUP = "header", "bayesgmm"


def save(model: Any, path: Any) -> None:
    """Write a fitted estimator to a file: what `MixtureEstimator.save` documents."""
    kind, path = type(model).__name__, Path(path)
    if not type(model).__module__.startswith("bayesgmm.") or kind not in ESTIMATORS:
        raise TypeError(f"save knows {listed(ESTIMATORS)}, got a {kind}: pickle it.")
    row = _format(path)
    arrays: Arrays = {}
    try:
        state = {name: pack(value, name, arrays) for name, value in model._kept_state().items()}
    except TypeError as error:
        raise TypeError(
            f"The model cannot be saved: {error} Its draws can, as model.posterior_.to_netcdf(path)"
            if hasattr(type(model), "posterior_")
            else f"The model cannot be saved: {error}"
        ) from error
    header = {"format": FORMAT, "bayesgmm": version("bayesgmm"), "class": kind, "state": state}
    arrays[HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with _in_its_place(path) as written:
        row.write(model, arrays, written)


def read(path: Any) -> tuple[str, dict[str, Any]]:
    """The class and the attributes that `save` has written: what `bayesgmm.load` documents."""
    path = Path(path)
    row = _format(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    try:
        arrays = row.read(path)
        header = json.loads(arrays[HEADER].tobytes())
        found, writer, kind = header["format"], header["bayesgmm"], header["class"]
    except ImportError:
        raise
    except Exception as error:  # whatever a reader makes of a file that is something else
        raise ValueError(
            f"{str(path)!r} was not written by save() of an estimator, or is damaged ({error})."
        ) from error
    if found != FORMAT:
        way = "Upgrade bayesgmm" if found > FORMAT else f"Read it with bayesgmm {writer}"
        raise ValueError(
            f"{str(path)!r} was written by bayesgmm {writer} in format {found}, and this is "
            f"{version('bayesgmm')}, which reads format {FORMAT}. {way}, or fit again."
        )
    try:
        if kind not in ESTIMATORS:
            raise ValueError(f"there is no estimator {kind!r}")
        return kind, {name: unpack(value, arrays) for name, value in header["state"].items()}
    except Exception as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}.") from error


# --- formats --------------------------------------------------------------------------------------


class FileFormat(NamedTuple):
    """How arrays are kept in a file: one row of `FORMATS`.

    Attributes
    ----------
    write : callable
        (model, arrays, path)
    read : callable
        path -> arrays
    """

    write: Callable
    read: Callable


def _write_npz(model: Any, arrays: Arrays, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _read_npz(path: Path) -> Arrays:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no .npz file")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _write_netcdf(model: Any, arrays: Arrays, path: Path) -> None:
    import xarray as xr

    if not hasattr(type(model), "posterior_"):
        raise ValueError(
            f"An .nc file holds a posterior, and a {type(model).__name__} has none: name it .npz."
        )
    own = {
        name: (tuple(f"{name}.dim{i}" for i in range(array.ndim)), array)
        for name, array in arrays.items()
    }
    _with_netcdf()
    tree = model.posterior_.copy()
    tree[GROUP] = xr.DataTree(xr.Dataset(own))
    tree.to_netcdf(path, engine="h5netcdf")


def _read_netcdf(path: Path) -> Arrays:
    import xarray as xr

    _with_netcdf()
    found = xr.load_dataset(path, group=GROUP, engine="h5netcdf", decode_times=False)
    return {str(name): variable.to_numpy() for name, variable in found.variables.items()}


def _with_netcdf() -> None:
    if find_spec("h5netcdf") is None:
        raise ImportError(
            "An .nc file needs h5netcdf: pip install 'bayesgmm[netcdf]', or use .npz."
        )


FORMATS = {
    ".npz": FileFormat(_write_npz, _read_npz),
    ".nc": FileFormat(_write_netcdf, _read_netcdf),
}
"""By the end of the file's name."""


def _format(path: Path) -> FileFormat:
    if path.suffix not in FORMATS:
        raise ValueError(
            f"path must end in .npz, or in .nc for a posterior that ArviZ reads; got {str(path)!r}."
        )
    return FORMATS[path.suffix]


@contextmanager
def _in_its_place(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place once it is whole."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path: there is no folder {str(path.parent)!r}.")
    written = path.with_name(f".{path.stem}-{token_hex(4)}{path.suffix}")
    try:
        yield written
        os.replace(written, path)
    finally:
        written.unlink(missing_ok=True)
