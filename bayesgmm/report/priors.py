"""Priors in symbols and numbers: of weights, of their number, of means and covariances."""

from collections.abc import Callable
from typing import Any, NamedTuple

from bayesgmm.report.words import array

Rows = list[tuple[str, str, str]]
"""Numbers of a prior: a formula, its value, and what it is."""


def conjugate_formulas(family: Any) -> list[str]:
    """Normal-inverse-Wishart, or its form along the axes."""
    if family.axis_aligned:
        return [
            "σ_{kj}^2 ∼ InvGamma(ν_0/2, s_j/2)",
            "μ_{kj} | σ_{kj}^2 ∼ Normal(m_{0j} , σ_{kj}^2/κ_0)",
        ]
    return ["Σ_k ∼ InvWishart(ν_0 , S_0)", "μ_k | Σ_k ∼ Normal(m_0 , Σ_k/κ_0)"]


def conjugate_rows(prior: Any, family: Any) -> Rows:
    """Its numbers, from an object or an estimator that has them under scikit-learn's names."""
    value = lambda name: getattr(prior, name)  # noqa: E731
    scale = "s_j" if family.axis_aligned else "S_0"
    return [
        ("m_0", array(value("mean_prior")), "where the means are"),
        ("κ_0", array(value("mean_precision_prior")), "rows that the prior of a mean is worth"),
        ("ν_0", array(value("degrees_of_freedom_prior")), "degrees of freedom"),
        (scale, array(value("covariance_prior")), "scale of the covariances"),
    ]


# --- weights --------------------------------------------------------------------------------------


class Weights(NamedTuple):
    """A prior of the weights: words, formulas, whether K is drawn, whom to cite."""

    words: str
    formulas: list[str]
    number: bool
    cited: tuple[str, ...]


_STICKS = "π_k = v_k ∏_{j<k} (1 − v_j)"
WEIGHTS = {
    "finite": Weights(
        "A mixture with a known number of components",
        ["π ∼ Dirichlet(α, …, α)"],
        False,
        ("richardson1997",),
    ),
    "static": Weights(
        "A mixture of finite mixtures (static weights)",
        ["π | K ∼ Dirichlet(α, …, α)"],
        True,
        ("richardson1997", "fruhwirth2021"),
    ),
    "dynamic": Weights(
        "A mixture of finite mixtures (dynamic weights)",
        ["π | K, α ∼ Dirichlet(α/K, …, α/K)"],
        True,
        ("fruhwirth2021",),
    ),
    "dp": Weights(
        "A Dirichlet process mixture", ["v_k ∼ Beta(1, α)", _STICKS], False, ("escobar1995",)
    ),
    "py": Weights(
        "A Pitman–Yor process mixture",
        ["v_k ∼ Beta(1 − d, α + k d)", _STICKS],
        False,
        ("pitman1997",),
    ),
}
"""By the name of `weight_options`."""

NUMBERS = {
    "bnb": "K − 1 ∼ BetaNegBinomial({}, {}, {})",
    "poisson": "K − 1 ∼ Poisson({})",
    "geometric": "K ∼ Geometric({})",
    "uniform": "K ∼ Uniform(1, …, {})",
}
"""The prior of the number of components."""

LEARNED = {
    "gamma": ("shape of the prior of the concentration", "its rate"),
    "f": ("first degrees of freedom of the prior of the concentration", "the second"),
}
"""What the two numbers of a learned concentration are."""


# --- components -----------------------------------------------------------------------------------


class Components(NamedTuple):
    """A prior of means and covariances."""

    words: str
    formulas: Callable
    rows: Callable
    cited: tuple[str, ...] = ()


_MEANS = "μ_k ∼ Normal(b_0 , B_0)"


def _means(prior: Any) -> Rows:
    return [
        ("b_0", array(prior.mean_prior), "where the means are"),
        ("B_0", array(prior.mean_covariance_prior), "their covariance"),
    ]


def _independent_formulas(family: Any) -> list[str]:
    own = "σ_{kj}^2 ∼ InvGamma(ν_0/2, s_j/2)"
    return [_MEANS, own if family.axis_aligned else "Σ_k ∼ InvWishart(ν_0 , S_0)"]


def _independent_rows(prior: Any, family: Any) -> Rows:
    scale = "s_j" if family.axis_aligned else "S_0"
    return [
        *_means(prior),
        ("ν_0", array(prior.degrees_of_freedom_prior), "degrees of freedom"),
        (scale, array(prior.covariance_prior), "scale of the covariances"),
    ]


def _hierarchical_formulas(family: Any) -> list[str]:
    if family.axis_aligned:
        return [_MEANS, "σ_{kj}^{−2} ∼ Gamma(c_0 , C_j)", "C_j ∼ Gamma(g_0 , G_j)"]
    return [_MEANS, "Σ_k^{−1} ∼ Wishart(c_0 , C_0)", "C_0 ∼ Wishart(g_0 , G_0)"]


def _hierarchical_rows(prior: Any, family: Any) -> Rows:
    rate = "G_j" if family.axis_aligned else "G_0"
    return [
        *_means(prior),
        ("c_0", array(prior.covariance_shape_prior), "shape of the precisions"),
        ("g_0", array(prior.scale_shape_prior), "shape of their common scale"),
        (rate, array(prior.scale_rate_prior), "its rate"),
    ]


def _given_rows(prior: Any, family: Any) -> Rows:
    if not isinstance(prior, dict):
        return []
    return [(name, type(own).__name__, "a distribution of NumPyro") for name, own in prior.items()]


COMPONENTS = {
    "ConjugatePrior": Components(
        "The prior of means and covariances is conjugate (normal-inverse-Wishart).",
        conjugate_formulas,
        conjugate_rows,
        ("fraley2007",),
    ),
    "IndependentPrior": Components(
        "Means are independent of covariances in the prior, whose scale is fixed.",
        _independent_formulas,
        _independent_rows,
    ),
    "HierarchicalPrior": Components(
        "Means are independent of covariances in the prior, and these have a scale common to all "
        "clusters that the data decide on.",
        _hierarchical_formulas,
        _hierarchical_rows,
        ("richardson1997", "fruhwirth2021"),
    ),
    "dict": Components(
        "The prior of means and covariances is made of distributions of NumPyro.",
        lambda family: [],
        _given_rows,
    ),
}
"""By the class of `component_prior_`."""


def wishart_words(formulas: list[str]) -> str:
    """What Wishart(c, C) means here, where it is used."""
    if "Wishart(c_0" not in " ".join(formulas):
        return ""
    return (
        "Wishart(c, C) has a density proportional to |X|^(c − (D + 1)/2) exp(−tr(C X)), which for "
        "one column is Gamma(c, rate C)."
    )
