"""What the report reads of a BayesianGaussianMixture: a variational posterior."""

import math
from functools import cached_property
from typing import Any

import numpy as np

from bayesgmm.report.priors import conjugate_formulas, conjugate_rows
from bayesgmm.report.reading import LEVEL, Check, Reading, family_words, interval_table
from bayesgmm.report.references import Citations
from bayesgmm.report.words import count, number

DRAWS = 2000
"""Of the posterior, for intervals."""

RELIABLE = 0.7
"""Pareto k-hat up to which importance weights say something."""


class VB(Reading):
    """The posterior by variational Bayes."""

    key, title, words = "vb", "Variational Bayes", "variational Bayes"

    @property
    def answer(self) -> str:
        """Components that are kept."""
        found = count(int(self.model.n_components_), "component")
        if self.selection is not None:
            return f"has the {self.criterion_words} with {found}"
        if self.model.n_components is None:
            return f"keeps {found}"
        return f"keeps {found} of at most {self.model.n_components}"

    @property
    def n_fitted(self) -> float:
        """Rows that the components hold together."""
        held = np.asarray(self.model.mean_precision_, float) - self.model.mean_precision_prior_
        return float(held.sum())

    @property
    def evidence(self) -> Any:
        """What `evidence` has found, if it was asked."""
        return getattr(self.model, "evidence_", None)

    # --- clusters

    @cached_property
    def drawn(self) -> Any:
        """Mixtures of the posterior."""
        return self.model.posterior_sample(DRAWS, random_state=0)

    @cached_property
    def clusters(self) -> tuple[Any, str]:
        """Quantiles of draws of the variational posterior."""
        drawn = self.drawn
        K, names = int(self.model.n_components_), self.data.names
        weights = np.exp(drawn.log_weights)[:, :K]
        means = drawn.means[:, :K]
        sds = np.sqrt(np.square(drawn.scales[:, :K]).sum(-1))
        rows = []
        for k in range(K):
            rows.append((k, "weight", None, *_described(weights[:, k])))
            rows += [(k, "mean", f, *_described(means[:, k, j])) for j, f in enumerate(names)]
            rows += [(k, "sd", f, *_described(sds[:, k, j])) for j, f in enumerate(names)]
        return interval_table(rows), (
            f"Posterior means with {100 * LEVEL:g} % credible intervals of the variational "
            "posterior, which takes clusters and assignments as independent: such intervals are "
            "too narrow where clusters overlap, and they know one number of clusters only."
        )

    # --- checks

    @cached_property
    def checks(self) -> list[Check]:
        """Convergence, the bound, the evidence, the room for more components."""
        found = [self._converged(), *self._risen(), *self._smallest(), *self._room()]
        return [*found, *self.selection_checks(), self._trust()]

    def _converged(self) -> Check:
        model = self.model
        done = f"{'it has' if model.converged_ else 'it has not'}, in {model.n_iter_} iterations"
        return Check("the fit has converged", done, bool(model.converged_), "raise max_iter")

    def _risen(self) -> list[Check]:
        trace = np.asarray(self.model.lower_bounds_, float)
        if len(trace) < 2:
            return []
        fall = float(max(0.0, -np.diff(trace).min()))
        slack = 1e-8 * max(1.0, float(np.abs(trace).max()))
        found = "it never fell" if fall <= slack else f"it fell by {number(fall)} nats"
        advice = "report it: exact updates cannot lower the bound"
        return [Check("the bound rose in every iteration", found, fall <= slack, advice)]

    def _smallest(self) -> list[Check]:
        if self.model.n_components_ == 1:
            return []
        least = float(np.min(self.model.mean_precision_) - self.model.mean_precision_prior_)
        return [
            Check(
                "every component holds rows",
                f"the smallest is expected to hold {number(least)} rows",
                least >= 1,
                "components below one row are the prior’s: use prune=True",
            )
        ]

    def _room(self) -> list[Check]:
        most, found = self.model.n_components, int(self.model.n_components_)
        if most is None or not (self.model.moves or self.model.prune):
            return []
        return [
            Check(
                "fewer components are kept than there might be",
                f"{found} of at most {most}",
                found < most,
                "raise n_components, or leave it out",
            )
        ]

    def _trust(self) -> Check:
        what = "the approximation is close to the posterior (Pareto k-hat at most 0.7)"
        if self.evidence is None:
            return Check(what, "not looked at", None, "ask model.evidence(X) before the report")
        khat = float(self.evidence["khat"])
        if not math.isfinite(khat):
            return Check(what, "too few draws to say", None, "raise n_draws of evidence")
        advice = "take probabilities and intervals from MCMCGaussianMixture"
        return Check(what, f"k-hat is {khat:.2f}", khat <= RELIABLE, advice)

    # --- replicas

    def mixtures(self, R: int) -> Any:
        """Draws of the posterior."""
        return type(self.drawn)(*(leaf[:R] for leaf in self.drawn))

    @property
    def replica_words(self) -> str:
        """Each of its own draw."""
        return "each drawn from a mixture of its own, drawn from the variational posterior"

    # --- the model

    @property
    def _discount(self) -> float:
        given = self.model.discount_prior
        if self.model.weight_concentration_prior_type != "pitman_yor":
            return 0.0
        return 0.25 if given is None else float(given)

    @property
    def _gamma(self) -> tuple[float, float] | None:
        """Shape and rate of the prior of a concentration that is learned."""
        given = self.model.weight_concentration_prior
        if isinstance(given, tuple):
            return given[1:]
        return (1.0, 1.0) if isinstance(given, str) else None

    def model_words(self) -> list[str]:
        """The kind of weights, and what is approximated."""
        kind = KINDS[self.model.weight_concentration_prior_type]
        return [
            f"A {kind.words} of Gaussians with {family_words(self.model, self.family)} (family "
            f"{self.model.covariance_type}).",
            "The posterior of all parameters and assignments is approximated by one in which "
            "assignments, weights and components are independent, the closest to it from below: "
            "its bound on the log evidence is largest.",
        ]

    def formulas(self) -> list[str]:
        """The whole model."""
        kind = KINDS[self.model.weight_concentration_prior_type]
        lines = ["x_n | z_n = k ∼ Normal(μ_k , Σ_k),   P(z_n = k) = π_k", *kind.formulas]
        if self._gamma is not None:
            lines.append(f"{kind.total} ∼ Gamma(a, b)")
        return [*lines, *conjugate_formulas(self.family)]

    def prior_rows(self) -> list[tuple[str, str, str]]:
        """Of weights and components."""
        rows = []
        if self._discount:
            rows.append(("d", number(self._discount), "discount"))
        if self._gamma is None:
            alpha = float(self.model.weight_concentration_prior_)
            rows.append(("α", number(alpha), "concentration, fixed"))
        else:
            shape, rate = self._gamma
            rows.append(("a", number(shape), "shape of the prior of the concentration"))
            rows.append(("b", number(rate), "its rate"))
        return rows + conjugate_rows(_With_numbers(self.model), self.family)

    def prior_n_clusters(self, most: int) -> np.ndarray:
        """Of so many clusters among the rows."""
        N = len(self.data.table)
        return np.pad(self.model.prior_n_clusters(N, min(most, N)), (0, max(most - N, 0)))

    # --- methods

    def methods(self, cite: Citations) -> list[str]:
        """What was done."""
        model = self.model
        kind = KINDS[model.weight_concentration_prior_type]
        said = [
            f"The posterior of a {kind.words} of Gaussians with "
            f"{family_words(model, self.family)} was approximated by coordinate-ascent variational "
            f"Bayes {cite(*kind.cited)} under a normal-inverse-Wishart prior of means and "
            "covariances."
        ]
        said += self.selected(cite)
        if model.moves:
            said.append(
                "Components were merged, removed and split where that raised the evidence lower "
                f"bound {cite('hughes2013')}."
            )
        if self.evidence is not None:
            said.append(
                "The log evidence was estimated by importance sampling with "
                f"{count(int(self.evidence['n_draws']), 'draw')}, judged by Pareto k-hat "
                f"{cite('yao2018')}."
            )
        return said


class _With_numbers:
    """Hyperparameters of a fitted estimator under the names that a prior has."""

    def __init__(self, model: Any):
        for name in ("mean", "mean_precision", "degrees_of_freedom", "covariance"):
            setattr(self, f"{name}_prior", getattr(model, f"{name}_prior_"))


class _Kind:
    def __init__(self, words: str, formulas: list[str], total: str, cited: tuple[str, ...]):
        self.words, self.formulas, self.total, self.cited = words, formulas, total, cited


_STICKS = "π_k = v_k ∏_{j<k} (1 − v_j)"
KINDS = {
    "dirichlet_process": _Kind(
        "Dirichlet process mixture", ["v_k ∼ Beta(1, α)", _STICKS], "α", ("attias2000", "blei2006")
    ),
    "pitman_yor": _Kind(
        "Pitman–Yor process mixture",
        ["v_k ∼ Beta(1 − d, α + k d)", _STICKS],
        "α",
        ("attias2000", "blei2006", "pitman1997"),
    ),
    "dirichlet_distribution": _Kind(
        "mixture with a symmetric Dirichlet prior of the weights",
        ["π ∼ Dirichlet(α, …, α)"],
        "K α",
        ("attias2000",),
    ),
}
"""The priors of the weights."""


def _described(values: np.ndarray) -> tuple[float, float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(values.mean()), float(low), float(high)
