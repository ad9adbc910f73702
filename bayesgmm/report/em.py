"""What the report reads of a GaussianMixture: a maximum of the likelihood, or of the posterior."""

from functools import cached_property
from typing import Any

import numpy as np

from bayesgmm.report.priors import conjugate_formulas, conjugate_rows
from bayesgmm.report.reading import LEVEL, Check, Reading, family_words, interval_table
from bayesgmm.report.references import Citations
from bayesgmm.report.words import count, number

BOOTSTRAPS, WORK = 199, 500_000
"""Replicates of the bootstrap, and what a pass over the points may cost (points times components
times moments) for it to be done."""

NEAR = 0.1
"""Nats of the log likelihood by which two starts may differ and have come to the same maximum."""

TOLERANCE = 1e-5
"""Relative, of a mean log density that is computed twice, maybe in float32."""

NARROW = 1e-6
"""A component is a spike if its variance in some direction is below this share of the data's."""


class EM(Reading):
    """Maximum likelihood, or with a prior the mode of the posterior."""

    key, title, words = "em", "EM", "expectation-maximization"

    @property
    def n_fitted(self) -> float:
        """NaN if the likelihood is not that of these rows, each of weight 1."""
        model, N = self.model, float(len(self.data.table))
        if model.prior is not None or model.support_fraction is not None or not model.n_iter_:
            return N
        if hasattr(model, "n_batch_iter_"):  # of a stream: of the last batch
            return N
        away = abs(float(model.score(self.given)) - model.lower_bound_)
        return N if away <= TOLERANCE * (1 + abs(model.lower_bound_)) else np.nan

    @property
    def total(self) -> float:
        """Log likelihood of the table, nats."""
        return float(self.model.score(self.given)) * len(self.data.table)

    @property
    def n_parameters(self) -> int:
        """Free ones."""
        K, D = np.shape(self.model.means_)
        return K - 1 + K * D + self.family.n_parameters(K, D)

    @property
    def answer(self) -> str:
        """As the table of models says, or as it was given."""
        K = count(int(self.model.n_components_), "component")
        if self.selection is None:
            return f"was fitted with {K}, a number that was given"
        return f"has the {self.criterion_words} with {K}"

    # --- clusters

    @cached_property
    def bootstrap(self) -> Any:
        """Parameters on replicates; None where they cost too much or make no sense."""
        N, D = self.data.shape
        cost = N * self.model.n_components_ * (D + 1) * (D + 2) / 2
        if cost > WORK or self.model.support_fraction is not None or not self.model.n_iter_:
            return None
        from bayesgmm.estimators.bootstrap import bootstrap

        self.progress(f"bootstrap of EM, {BOOTSTRAPS} replicates")
        with self.listening():
            try:
                return bootstrap(self.model, self.given, BOOTSTRAPS, random_state=0)
            except ValueError as error:
                self.said.append(str(error))
        return None

    @cached_property
    def clusters(self) -> tuple[Any, str]:
        """Parameters with intervals of the bootstrap, where there is one."""
        if self.bootstrap is None:
            return interval_table(self._plain()), (
                "Estimates without intervals: " + self._why_no_bootstrap()
            )
        return interval_table(self._bootstrapped()), (
            f"Estimates with {100 * LEVEL:g} % intervals of {BOOTSTRAPS} replicates of the "
            "weighted-likelihood bootstrap, each fitted again from this maximum. What the choice "
            "of the number of components adds to the uncertainty is not in them."
        )

    def _why_no_bootstrap(self) -> str:
        if self.model.support_fraction is not None:
            return "the fit leaves out a share of the rows, which a bootstrap would have to repeat."
        if not self.model.n_iter_:
            return "the parameters were given, not fitted."
        if self.said:
            return "every replicate of a bootstrap failed."
        return (
            "a bootstrap was left out of this report, for it would take long with so many rows; "
            "bayesgmm.bootstrap(model, X) does it."
        )

    def _plain(self) -> list[tuple]:
        nothing = np.nan, np.nan
        return [(*key, value, *nothing) for key, value in self._values()]

    def _values(self) -> list[tuple]:
        mixture, names = self.model.mixture_, self.data.names
        sds = np.sqrt(np.square(mixture.scales).sum(-1))
        found = []
        for k, weight in enumerate(np.asarray(self.model.weights_, float)):
            found.append(((k, "weight", None), weight))
            found += [((k, "mean", f), mixture.means[k, j]) for j, f in enumerate(names)]
            found += [((k, "sd", f), sds[k, j]) for j, f in enumerate(names)]
        return found

    def _bootstrapped(self) -> list[tuple]:
        table = self.bootstrap.summary(LEVEL)[["estimate", "lower", "upper"]].to_numpy()
        return [(*key, *row) for (key, _), row in zip(self._values(), table, strict=True)]

    # --- checks

    @cached_property
    def checks(self) -> list[Check]:
        """Convergence, starts, spikes, and the edge of the table of models."""
        found = [self._converged(), *self._starts(), *self._spikes(), *self.selection_checks()]
        return [check for check in found if check is not None]

    def _converged(self) -> Check | None:
        model = self.model
        if not model.n_iter_:
            return Check("the fit has converged", "the parameters were given", None)
        done = f"{'it has' if model.converged_ else 'it has not'}, in {model.n_iter_} iterations"
        return Check("the fit has converged", done, bool(model.converged_), "raise max_iter")

    def _starts(self) -> list[Check]:
        runs = getattr(self.model, "restart_lower_bounds_", None)
        if not runs:
            return []
        N, best = len(self.data.table), self.model.best_restart_
        ends = np.array([run[-1] if len(run) else np.nan for run in runs]) * N
        if len(ends) == 1:
            advice = "n_init=10 would show whether other starts end elsewhere"
            return [Check("several starts agree", "there was one start", None, advice)]
        near = int((ends >= ends[best] - NEAR).sum())
        what = f"{near} of {len(ends)} starts came within {NEAR:g} nats of the best"
        more = " (the worse half is given up early)"
        advice = "raise n_init: a better maximum may exist"
        return [Check("several starts agree", what + more, True if near > 1 else None, advice)]

    def _spikes(self) -> list[Check]:
        model, (N, D) = self.model, self.data.shape
        if self.family.pooled or model.n_components_ == 1:
            return []
        fewest, least = float(np.min(model.weights_)) * N, D + 1
        size = Check(
            "no component is a spike on a few rows",
            f"the smallest component has {number(fewest)} rows, of which {least} or fewer would be "
            "too few",
            bool(fewest > least),
            "choose fewer components or a simpler covariance family, or prior='data-scaled'",
        )
        spread = self.data.table.std(ddof=0).to_numpy()
        spread = np.where(spread > 0, spread, 1.0)
        scales = model.mixture_.scales / spread[:, None]
        share = float(np.linalg.svd(scales, compute_uv=False).min() ** 2)
        flat = Check(
            "no component is flat",
            f"the least variance of a component in any direction is {number(share)} of the data’s",
            bool(share > NARROW),
            "look for columns that follow from others, or for rows that are repeated",
        )
        return [size, flat]

    # --- replicas

    def mixtures(self, R: int) -> Any:
        """The same one R times."""
        mixture = self.model.mixture_
        return type(mixture)(*(np.broadcast_to(leaf, (R, *leaf.shape)) for leaf in mixture))

    @property
    def replica_words(self) -> str:
        """Of the plug-in."""
        return "drawn from the fitted mixture, its parameters taken as known"

    # --- the model

    @property
    def _prior(self) -> Any:
        return getattr(self.model, "prior_", None)

    def model_words(self) -> list[str]:
        """What is maximised."""
        K, model = count(int(self.model.n_components_), "component"), self.model
        words = [
            f"A mixture of {K} with {family_words(model, self.family)} (family "
            f"{model.covariance_type}): {count(self.n_parameters, 'free parameter')}."
        ]
        if self._prior is None:
            words.append(
                "Its parameters are those of the largest likelihood; there is no prior, and so "
                "none on the number of clusters."
            )
        else:
            words.append(
                "Its parameters are the mode of the posterior under a conjugate prior of means and "
                "covariances; there is none on the number of clusters."
            )
        if self._prior is None and self._ridge:
            words.append(f"{self._ridge} is added to each variance.")
        if model.support_fraction is not None:
            kept = int(np.sum(model.support_))
            words.append(
                f"The fit keeps {kept:,} of the rows (support_fraction={model.support_fraction:g}) "
                "and leaves out those of least density."
            )
        return words

    @property
    def _ridge(self) -> str:
        value = self.model.reg_covar
        if value == "relative":
            value = ("relative", 1e-6)
        if isinstance(value, tuple):
            return f"{number(value[1])} of the variance of each column"
        return number(value) if value else ""

    def formulas(self) -> list[str]:
        """The density, and the prior if there is one."""
        lines = ["p(x_n) = ∑_{k=1}^K π_k Normal(x_n ; μ_k , Σ_k),   n = 1, …, N"]
        return lines if self._prior is None else [*lines, *conjugate_formulas(self.family)]

    def prior_rows(self) -> list[tuple[str, str, str]]:
        """Of the conjugate prior."""
        return [] if self._prior is None else conjugate_rows(self._prior, self.family)

    # --- methods

    def methods(self, cite: Citations) -> list[str]:
        """What was done."""
        model = self.model
        what = "maximum likelihood" if self._prior is None else "maximum a posteriori"
        said = [
            f"A Gaussian mixture of {count(int(model.n_components_), 'component')} with "
            f"{family_words(model, self.family)} (family {model.covariance_type}; "
            f"{cite('celeux1995')[1:-1]}) was fitted by {what} with the "
            f"expectation-maximization algorithm {cite('dempster1977')}"
            + (
                f", accelerated by squared extrapolation {cite('varadhan2008')}"
                if model.acceleration == "squarem" and model.support_fraction is None
                else ""
            )
            + "."
        ]
        if self._prior is not None:
            said.append(
                "The prior of means and covariances was conjugate (normal-inverse-Wishart; "
                f"{cite('fraley2007')[1:-1]})."
            )
        said += self.selected(cite)
        if self.bootstrap is not None:
            said.append(
                f"Intervals of its parameters are {100 * LEVEL:g} % intervals of {BOOTSTRAPS} "
                "replicates of the weighted-likelihood bootstrap "
                f"{cite('newton1994', 'ohagan2019')}."
            )
        return said
