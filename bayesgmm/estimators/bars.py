"""Progress bars: on terminals, unless they are turned off."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bayesgmm.arguments import check_flag


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
        if begun:
            self.bar.total = (self.bar.total or 0) + begun
        self.bar.update(ended)


@contextmanager
def progress(what: str, shown: Any) -> Iterator[Bar]:
    """A bar of fits.

    Raises
    ------
    ValueError
        If `shown` is no flag.
    """
    from tqdm import tqdm

    check_flag(shown, "progress_bar")
    # tqdm itself hides a bar of which `disable` is None where nobody looks
    with tqdm(total=0, desc=what, leave=False, disable=None if shown else True) as bar:
        yield Bar(bar)
