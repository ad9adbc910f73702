"""What the report reads of an MCMCGaussianMixture: draws of the posterior."""

from functools import cached_property
from typing import Any

import numpy as np

from bayesgmm.estimators.sampling import BNB, prior_of_clusters, weight_options
from bayesgmm.posterior import summary
from bayesgmm.posterior.matching import names_by_overlap
from bayesgmm.report.priors import COMPONENTS, LEARNED, NUMBERS, WEIGHTS, Components
from bayesgmm.report.reading import LEVEL, Check, Reading, family_words, interval_table
from bayesgmm.report.references import Citations
from bayesgmm.report.words import count, number, percent, probability, quantity

SAME = 1.05
"""R-hat of relabelled weights and means up to which clusters are the same in all chains."""


class MCMC(Reading):
    """The posterior by draws."""

    key, title, words = "mcmc", "MCMC", "Markov chain Monte Carlo"

    @property
    def n_fitted(self) -> float:
        """Rows that have labels, each as often as its weight says."""
        return float(self.model.label_draws().shape[-1])

    # --- how many

    @cached_property
    def numbers(self) -> Any:
        """Posterior of the number of clusters: `n_clusters_posterior()`."""
        return self.model.n_clusters_posterior()

    @property
    def most_probable(self) -> int:
        """Number of clusters."""
        return int(self.numbers["probability"].idxmax())

    @property
    def answer(self) -> str:
        """The most probable number, and how probable it is."""
        if self.selection is not None:
            chosen = count(self.selection.best_n_components_, "component")
            return f"has the {self.criterion_words} with {chosen}"
        K = self.most_probable
        row = self.numbers.loc[K]
        if self.options.known is not None:
            given = count(self.options.known, "component")
            return f"was run with {given}, a number that was given, of which {K} hold rows"
        if row["probability"] == 1:
            draws = count(self.model.n_draws_, "draw")
            return f"finds {count(K, 'cluster')} in each of {draws}"
        error = "" if np.isnan(row["mcse"]) else f" ± {row['mcse']:.3f}"
        return (
            f"finds {count(K, 'cluster')} most probable "
            f"(p = {probability(row['probability'])}{error})"
        )

    def chance_of(self, K: int) -> str:
        """How probable this number of clusters is: the beginning of a sentence."""
        found = float(self.numbers["probability"].get(K, 0.0))
        if found == 0:
            return f"None of {count(self.model.n_draws_, 'draw')} of MCMC has {K}"
        return f"The posterior probability by MCMC is {probability(found)} for {K}"

    # --- the partition

    @cached_property
    def best(self) -> Any:
        """The point partition."""
        self.progress("finding the partition of least expected loss")
        return self.model.point_partition()

    @cached_property
    def labels(self) -> np.ndarray:
        """The point partition, a cluster called by that of `predict` with which it shares most."""
        found = self.best.labels
        return names_by_overlap(found, np.asarray(self.model.labels_), int(found.max()) + 1)[found]

    @cached_property
    def ball(self) -> Any:
        """Its credible ball."""
        return self.model.credible_ball(self.labels, LEVEL)

    @cached_property
    def assignments(self) -> Any:
        """Probabilities of the clusters of the partition for each row."""
        self.progress("assignment probabilities")
        return self.model.assignment_probabilities(self.labels)

    @cached_property
    def doubt(self) -> Any:
        """As the draws have it: there may be none of the clusters, too."""
        table = self.assignments.table
        names = {"hesitation": "other", "hesitation_probability": "other_probability"}
        found = table[["label", "probability", *names]].rename(columns=names)
        return found.set_axis(self.data.table.index)

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each cluster of the partition."""
        return np.bincount(self.labels)

    # --- clusters

    @cached_property
    def tree(self) -> Any:
        """The draws as ArviZ has them, relabelled."""
        self.progress("relabelling the draws")
        with self.listening():
            return self.model.relabel()

    @cached_property
    def summary(self) -> Any:
        """Table of the relabelled clusters."""
        from bayesgmm.posterior.clusters import cluster_summary

        wanted = ["weight", "size", "mean", "sd"]
        return cluster_summary(self.tree, wanted, level=LEVEL)

    @cached_property
    def clusters(self) -> tuple[Any, str]:
        """Of the relabelled draws."""
        table, names = self.summary, self.data.names
        features = list(dict.fromkeys(table["feature"].dropna()))
        named = dict(zip(features, names, strict=True))
        columns = table[["cluster", "quantity", "feature", "mean", "lower", "upper"]]
        rows = [
            (self._places[int(k)], kind, named.get(feature), *values)
            for k, kind, feature, *values in columns.itertuples(index=False, name=None)
        ]
        attrs = self.tree["relabelled"].attrs
        share, K = float(attrs["share"]), int(attrs["n_clusters"])
        return interval_table(rows), (
            f"Posterior means with {100 * LEVEL:g} % credible intervals, of the draws with "
            f"{count(K, 'cluster')} ({percent(share)} of all), label switching undone."
        )

    @cached_property
    def _places(self) -> np.ndarray:
        """What `predict` calls each of the relabelled clusters."""
        draws = self.tree["relabelled"]["labels"].values
        K = int(draws.max()) + 1
        shares = np.stack([(draws == k).mean((0, 1)) for k in range(K)])
        return names_by_overlap(shares.argmax(0), np.asarray(self.model.labels_), K)

    # --- checks

    @cached_property
    def diagnosis(self) -> Any:
        """`diagnose()`: quantities that do not depend on labels."""
        return self.model.diagnose()

    @cached_property
    def checks(self) -> list[Check]:
        """Chains that agree, enough draws, no chain astray, clusters that are the same."""
        found = [self._agree(), self._enough(), self._astray(), self._same()]
        found += self.selection_checks()
        if not self.model.converged_ and all(check.passed for check in found[:3]):
            found.append(
                Check(
                    "the fit did not warn",
                    "it did, for a reason that is not in this table",
                    False,
                    "fit again and read the warning",
                )
            )
        return found

    def _agree(self) -> Check:
        table = self.diagnosis
        worst = table["r_hat"].fillna(1.0)
        name, value = worst.idxmax(), worst.max()
        return Check(
            f"the chains agree (R-hat at most {summary.RHAT})",
            f"the largest of {len(table)} is {number(value, 4)}, of {quantity(name)}",
            bool(value <= summary.RHAT),
            "raise n_warmup and thin, and compare the chains by their log likelihood",
        )

    def _enough(self) -> Check:
        sizes = self.diagnosis["ess_bulk"].dropna()
        what = f"there are enough draws (effective sample size at least {summary.ESS})"
        if not len(sizes):
            return Check(what, "nothing varies, so that nothing can be said", None)
        name, value = sizes.idxmin(), sizes.min()
        return Check(
            what,
            f"the smallest is {value:,.0f} of {self.model.n_draws_:,} draws, of {quantity(name)}",
            bool(value >= summary.ESS),
            "raise thin, or go on with warm_start=True",
        )

    def _astray(self) -> Check:
        values = self.model.quantities()["log_likelihood"]
        said = [line for line in summary.advice(self.diagnosis.iloc[:0], values) if line]
        found = said[0].split(":")[0] if said else "all are in one region of the log likelihood"
        return Check("no chain stays in another mode", found, not said, summary.UNSTUCK)

    def _same(self) -> Check:
        table = self.summary
        own = table[table["quantity"].isin(["weight", "mean"])]["r_hat"].dropna()
        what = f"clusters are the same in all chains (R-hat at most {SAME})"
        if not len(own):
            return Check(what, "too few draws to say", None)
        advice = "read the partition, not the table of clusters: these have no meaning of their own"
        found = f"the largest R-hat of their weights and means is {number(own.max(), 4)}"
        return Check(what, found, bool(own.max() <= SAME), advice)

    # --- replicas

    def mixtures(self, R: int) -> Any:
        """So many of the draws, evenly taken."""
        mixtures = self.model.mixtures()
        flat = [leaf.reshape(-1, *leaf.shape[2:]) for leaf in mixtures]
        rows = np.linspace(0, len(flat[0]) - 1, R).round().astype(int)
        return type(mixtures)(*(leaf[rows] for leaf in flat))

    @property
    def replica_words(self) -> str:
        """Each of its own draw."""
        return "each drawn from a mixture of its own, a draw of the posterior"

    # --- the model

    @cached_property
    def options(self) -> Any:
        """What the options say of the weights."""
        model = self.model
        return weight_options(
            model.n_components,
            model.weight_prior,
            model.weight_concentration_prior,
            model.discount_prior,
            model.n_components_prior,
        )

    @cached_property
    def _components(self) -> Components:
        kind = type(self.model.component_prior_).__name__
        return COMPONENTS.get(kind, COMPONENTS["dict"])

    def model_words(self) -> list[str]:
        """The kind of weights, and of components."""
        model = self.model
        words = [
            f"{WEIGHTS[self.options.name].words} of Gaussians with "
            f"{family_words(model, self.family)} (family {model.covariance_type}).",
            self._components.words,
        ]
        if model.truncation_ is not None:
            words.append(
                f"The process is truncated to {model.truncation_} components, beyond which the "
                f"prior expects a weight of {number(model.leftover_)}."
            )
        return words

    def formulas(self) -> list[str]:
        """The whole model."""
        kind, learned = WEIGHTS[self.options.name], self.options.learned
        lines = ["x_n | z_n = k ∼ Normal(μ_k , Σ_k),   P(z_n = k) = π_k"]
        if kind.number:
            lines.append(self._number_formula)
        lines += kind.formulas
        if learned is not None:
            name = {"gamma": "Gamma", "f": "F"}[learned[0]]
            lines.append(f"α ∼ {name}(a, b)")
        return lines + self._components.formulas(self.family)

    @property
    def _number_formula(self) -> str:
        given = self.model.n_components_prior
        given = BNB if given is None else given
        given = (given,) if isinstance(given, str) else given
        if isinstance(given, tuple) and isinstance(given[0], str):
            name, *values = given
            return NUMBERS[name].format(*(f"{float(value):g}" for value in values))
        return "K ∼ a given table of probabilities"

    def prior_rows(self) -> list[tuple[str, str, str]]:
        """Of weights and components."""
        options, rows = self.options, []
        if options.name == "py":
            rows.append(("d", number(options.prior.discount), "discount"))
        if options.learned is None:
            rows.append(("α", number(options.alpha), "concentration, fixed"))
        else:
            name, *values = options.learned
            for symbol, value, what in zip("ab", values, LEARNED[name], strict=True):
                rows.append((symbol, number(value), what))
        return rows + self._components.rows(self.model.component_prior_, self.family)

    def prior_n_clusters(self, most: int) -> np.ndarray:
        """Of so many clusters among the rows."""
        return prior_of_clusters(self.options, len(self.data.table), most)

    # --- sensitivity

    @cached_property
    def sensitivity(self) -> Any:
        """`prior_sensitivity`, or why there is none, as a sentence."""
        from bayesgmm.posterior.comparison import prior_sensitivity

        self.progress("sensitivity to the prior")
        with self.listening():
            try:
                return prior_sensitivity(self.model.posterior_)
            except ValueError as error:
                return f"It could not be computed: {error}"

    # --- methods

    def _cited(self, cite: Citations) -> str:
        """The prior of the components, with where it is from inside of the sentence."""
        words, cited = self._components.words, self._components.cited
        return f"{words[:-1]} {cite(*cited)}." if cited else words

    def methods(self, cite: Citations) -> list[str]:
        """What was done."""
        model, kind = self.model, WEIGHTS[self.options.name]
        draws, chains = count(model.n_draws_, "draw"), count(model.n_chains, "chain")
        words = kind.words[0].lower() + kind.words[1:]
        words = words.replace("a dirichlet", "a Dirichlet").replace("a pitman", "a Pitman")
        said = [
            f"The posterior of {words} {cite(*kind.cited)} of Gaussians with "
            f"{family_words(model, self.family)} was sampled by {self._sampler(cite)}: {chains} "
            f"of {model.n_iter_:,} sweeps, of which {draws} were kept. {self._cited(cite)}"
        ]
        said += self.selected(cite)
        said.append(
            "Convergence was judged on quantities that do not depend on labels by rank-normalized "
            f"split R-hat and bulk effective sample size {cite('vehtari2021')}."
        )
        said.append(
            "The clustering is the partition of least posterior expected variation of information "
            f"{cite('meila2007')}, with a {100 * LEVEL:g} % credible ball {cite('wade2018')}; "
            "parameters of its clusters are of draws whose labels were matched to a pivot "
            f"{cite('papastamoulis2010')}."
        )
        return [line if line.endswith(".") else line + "." for line in said]

    def _sampler(self, cite: Citations) -> str:
        if self.model.sampler_ == "nuts":
            return f"the no-U-turn sampler of NumPyro {cite('hoffman2014')}, labels summed out"
        moves = f", with split-merge moves {cite('jain2004')}" if self.model.moves else ""
        unknown = self.options.name in ("static", "dynamic")
        telescope = " and telescoping over the number of components" if unknown else ""
        return f"blocked Gibbs sampling{telescope}{moves}"
