"""Results in a terminal and in a notebook."""

import pandas as pd
import pytest

from bayesgmm import assignment_probabilities
from bayesgmm.estimators.bootstrap import Bootstrap
from bayesgmm.estimators.likelihood_ratio import LikelihoodRatioTest
from bayesgmm.posterior.assignments import Assignments
from bayesgmm.posterior.evidence import EvidenceOverComponents
from bayesgmm.shown import Shown


class Found(Shown):
    def _headline(self):
        return "p < 0.05 & more"

    def _shown(self):
        return pd.DataFrame({"value": [1.25]}, index=pd.Index([3], name="K"))


def test_text_and_table():
    assert repr(Found()).splitlines() == ["p < 0.05 & more", "   value", "K       ", "3   1.25"]
    html = Found()._repr_html_()
    assert html.startswith("<p>p &lt; 0.05 &amp; more</p>")
    assert "<td>1.25</td>" in html and "<th>value</th>" in html


def test_who_wants_text_of_pandas_gets_text():
    with pd.option_context("display.notebook_repr_html", False):
        assert Found()._repr_html_() is None


@pytest.mark.parametrize(
    "kind", [Assignments, Bootstrap, EvidenceOverComponents, LikelihoodRatioTest]
)
def test_results_with_a_table(kind):
    """Their own `dataclass` would write another repr."""
    assert kind.__repr__ is Shown.__repr__ and not kind.__abstractmethods__


def test_one_of_them():
    draws = [[0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]]
    html = assignment_probabilities(draws, draws[0])._repr_html_()
    assert "Assignments of 4 points to 2 clusters" in html and "<th>jaccard</th>" in html
