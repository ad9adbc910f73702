"""Files of fitted estimators: ``fit`` and ``select`` write them, ``predict`` reads them."""

from pathlib import Path
from typing import Any

from bayesgmm.commands.words import CommandError
from bayesgmm.io.tables import Scaling

__all__ = ["check_saved", "read_model", "save"]

ENDS = {".npz": ("em", "vb", "mcmc"), ".nc": ("mcmc",)}
"""Ends of the names of files, and the methods whose fits can be written to such a one."""

SCALING = "scaling_"
"""The attribute of an estimator that was fitted to standardised columns."""


def check_saved(path: Path | None, method: str) -> None:
    """Before a fit of some minutes: it can be saved there."""
    if path is None:
        return
    if method not in ENDS.get(path.suffix, ()):
        ends = " or ".join(end for end, methods in ENDS.items() if method in methods)
        raise CommandError(
            f"--save: the file of a fit by {method} must end in {ends}, got {str(path)!r}."
        )
    if not path.parent.is_dir():
        raise CommandError(f"--save: there is no folder {str(path.parent)!r}.")


def save(model: Any, path: Path, scaling: Scaling | None) -> str:
    """The model as a file, with the units of its columns if they are not those of DATA; a note."""
    if scaling is not None:
        setattr(model, SCALING, scaling._asdict())
    try:
        model.save(path)
    except (OSError, ImportError) as error:
        raise CommandError(f"--save: {error}") from error
    return f"saved the mixture: bayesgmm predict {path} DATA"


def read_model(path: str) -> tuple[Any, Scaling | None]:
    """A saved estimator, and the units of its columns if they are not those of DATA."""
    from bayesgmm.estimators.loading import load

    try:
        model = load(path)
    except (OSError, ValueError, ImportError) as error:
        raise CommandError(f"MODEL: {error}") from error
    scaling = getattr(model, SCALING, None)
    return model, None if scaling is None else Scaling(**scaling)
