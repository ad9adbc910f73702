"""A result that is a sentence and a table, in a terminal and in a notebook."""

from abc import ABC, abstractmethod
from html import escape
from typing import Any


class Shown(ABC):
    """Its text is a headline and a table below it; in a notebook the table is one of pandas."""

    @abstractmethod
    def _headline(self) -> str:
        """A sentence."""

    @abstractmethod
    def _shown(self) -> Any:
        """A DataFrame."""

    def __repr__(self) -> str:
        """Headline and table."""
        return f"{self._headline()}\n{self._shown()}"

    def _repr_html_(self) -> str | None:
        table = self._shown()._repr_html_()  # None where the user wants text of pandas
        return table and f"<p>{escape(self._headline())}</p>{table}"
