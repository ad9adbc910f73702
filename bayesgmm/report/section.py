"""A section of the page, and what all of them are made from."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from bayesgmm.report.html import Html, tag
from bayesgmm.report.reading import Data, Reading
from bayesgmm.report.references import Citations


class Section(NamedTuple):
    """A heading and what stands below it.

    Attributes
    ----------
    id, title : str
    blocks : list of Html
    """

    id: str
    title: str
    blocks: list[Html]


class Context:
    """Everything that sections read.

    Attributes
    ----------
    data : Data
    readings : list of Reading
        In the order EM, VB, MCMC.
    selection : ModelSelection or None
    command : str or None
    progress : callable
    cite : Citations
    """

    def __init__(
        self,
        data: Data,
        readings: Sequence[Reading],
        selection: Any,
        command: str | None,
        progress: Callable[[str], Any],
    ):
        self.data = data
        self.readings = list(readings)
        self.selection = selection
        self.command = command
        self.progress = progress
        self.cite = Citations()

    @cached_property
    def by_key(self) -> dict[str, Reading]:
        """The readings by "em", "vb" and "mcmc"."""
        return {reading.key: reading for reading in self.readings}

    @property
    def lead(self) -> Reading:
        """The one that says most: MCMC before variational Bayes before EM."""
        return self.readings[-1]

    @property
    def several(self) -> bool:
        """Whether there is more than one method."""
        return len(self.readings) > 1

    def heading(self, reading: Reading, section: str) -> Html | None:
        """The name of the method, where there are several."""
        return tag("h3", reading.title, id=f"{section}-{reading.key}") if self.several else None


def cluster_name(k: Any) -> Html:
    """A cluster with a spot of its colour."""
    from bayesgmm.drawing import COLORS

    color = COLORS[int(k) % len(COLORS)]
    spot = tag("span", "", class_="spot", style=f"background:{color}", aria_hidden="true")
    return Html(f"{spot}{int(k)}")
