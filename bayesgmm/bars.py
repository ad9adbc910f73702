"""Progress bars: on terminals and in notebooks, unless they are turned off.

This file is the only door to tqdm.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bayesgmm.arguments import check_flag


def bar(**options: Any) -> Any:
    """A bar of tqdm: a widget in a notebook that has them, else a line of text."""
    with warnings.catch_warnings():  # tqdm warns, when it is imported, that it has no widgets
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm(file=sys.stderr, **options)


class Bar:
    """A bar whose end may move away while it runs.

    Parameters
    ----------
    bar : tqdm
    """

    def __init__(self, bar: Any):
        self.bar = bar

    def __call__(self, begun: int = 0, ended: int = 0) -> None:
        """So many more are to be done, so many more are done."""
        if self.bar.disable:
            return
        if begun:  # a widget learns of a new end by `reset` alone, which begins anew
            done, start = self.bar.n, self.bar.start_t
            self.bar.reset(total=self.bar.total + begun)
            self.bar.n, self.bar.start_t = done, start
        self.bar.update(ended)


@contextmanager
def progress(what: str, shown: Any) -> Iterator[Bar]:
    """A bar of fits, where somebody looks.

    Raises
    ------
    ValueError
        If `shown` is no flag.
    """
    check_flag(shown, "progress_bar")
    with bar(total=0, desc=what, leave=False, disable=not (shown and _watched())) as own:
        yield Bar(own)


def _watched() -> bool:
    """Whether standard error is a terminal or the output of a notebook."""
    if sys.stderr is None:  # of a program without a console
        return False
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")
