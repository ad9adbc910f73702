"""What can be asked of draws: convergence, numbers, partitions, clusters, evidence."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from bayesgmm.core.mixture import Mixture
from bayesgmm.estimators import evidence
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.chains import Sampled
from bayesgmm.estimators.model import label_free
from bayesgmm.estimators.sampling import WeightOptions, prior_of_clusters
from bayesgmm.posterior import (
    assignments,
    balls,
    expectation,
    partitions,
    relabel,
    search,
    similarity,
    summary,
)
from bayesgmm.posterior.clusters import cluster_summary


class PosteriorMixin:
    """Questions to the draws of an estimator, which has them, its options, its points, the tree.

    Most are answered by a function of the package that takes the draws of other programs, too.
    """

    n_components: Any
    progress_bar: bool
    posterior_: Any
    _draws: Sampled
    _options: WeightOptions
    _kept: Entered
    _rows: Any

    # --- how sure, and how many

    def diagnose(self) -> Any:
        """How well the chains have converged, on quantities that do not depend on labels.

        Returns
        -------
        DataFrame
            A row each for the number of clusters, the log likelihood, the entropy of the partition
            (nats), the largest weight and the sum of squared weights, and for the number of
            components and the concentration where they are drawn. Columns `mean`, `sd`,
            `mcse_mean`, `ess_bulk`, `ess_tail`, `r_hat` and `verdict`: "converged", "chains
            disagree" (R-hat above 1.01), "too few draws" (bulk ESS below 400), or "constant", which
            says nothing.

        References
        ----------
        Vehtari et al. (2021), *Bayesian Analysis* 16, 667-718.
        """
        check_is_fitted(self)
        return summary.diagnostics(self.quantities())

    def quantities(self) -> dict[str, np.ndarray]:
        """What `diagnose` judges: quantities [C, S] that do not depend on labels, by name."""
        check_is_fitted(self)
        return label_free(self._draws, self._options)

    def n_clusters_posterior(self) -> Any:
        """Posterior of the number of clusters that hold points, K+.

        Returns
        -------
        DataFrame
            Indexed by the number; columns `probability`, `mcse` (its Monte Carlo standard error,
            from all chains) and `prior`, the probability before any point is seen.

        Examples
        --------
        >>> import numpy as np
        >>> from bayesgmm import MCMCGaussianMixture
        >>> rng = np.random.default_rng(0)
        >>> X = np.concatenate([rng.normal(-4, 1, 60), rng.normal(4, 1, 40)])[:, None]
        >>> model = MCMCGaussianMixture(random_state=0).fit(X)
        >>> int(model.n_clusters_posterior()["probability"].idxmax())
        2
        """
        check_is_fitted(self)
        numbers = self._draws.n_clusters
        prior = prior_of_clusters(self._options, len(self._kept.X), int(numbers.max()))
        return summary.number_table(numbers, prior, "n_clusters")

    def n_components_posterior(self) -> Any:
        """Posterior of the number of components K, those without points counted too.

        Returns
        -------
        DataFrame
            As `n_clusters_posterior`.

        Raises
        ------
        ValueError
            If the number is known (`n_components` an integer) or infinite ("dp", "py").
        """
        check_is_fitted(self)
        if self._options.kind.weights not in ("static", "dynamic"):
            what = "known" if self._options.known else "infinite"
            raise ValueError(
                f"n_components={self.n_components!r}: the number of components is {what}. Ask "
                "n_clusters_posterior, or fit n_components='mfm'."
            )
        prior = np.exp(np.asarray(self._options.prior.log_n_components))
        return summary.number_table(self._draws.n_components, prior, "n_components")

    # --- partitions: `bayesgmm`'s functions of label draws, on those of the fit

    def label_draws(self) -> np.ndarray:
        """Cluster of each row in each draw, [C, S, N], the largest cluster of a draw first.

        With `sample_weight` the rows are those of the points, each as often as its weight says.
        What `bayesgmm.point_partition` and the functions beside it take, and the methods below give
        them.
        """
        check_is_fitted(self)
        return self._draws.labels

    def similarity_matrix(self, **options: Any) -> Any:
        """Posterior probability that each two of the rows fitted are in one cluster, [N, N].

        Parameters
        ----------
        **options
            As `bayesgmm.similarity_matrix` has them: `return_mcse`, `threshold` (a sparse matrix),
            `points` (some of the rows), `max_memory`.

        Returns
        -------
        ndarray [N, N], or scipy.sparse.csr_array
            Or two of them, with Monte Carlo standard errors between chains.
        """
        return similarity.similarity_matrix(self.label_draws(), **options)

    def point_partition(
        self,
        loss: Any = "vi",
        max_clusters: int | None = None,
        n_starts: int = 16,
        random_state: Any = 0,
    ) -> search.PointPartition:
        """The partition of the rows of least posterior expected loss.

        Parameters
        ----------
        loss, max_clusters, n_starts
            As in `bayesgmm.point_partition`.
        random_state : int, Generator or RandomState, default 0

        Returns
        -------
        PointPartition
            With `labels` [N], `expected_loss`, `runner_up`.
        """
        draws = self.label_draws()
        return search.point_partition(draws, loss, max_clusters, n_starts, None, random_state)

    def expected_loss(self, labels: Any, loss: Any = "vi", return_mcse: bool = False) -> Any:
        """Posterior expectation of the loss of a partition of the rows, or of several.

        Parameters
        ----------
        labels : array-like [N] or [M, N]
        loss, return_mcse
            As in `bayesgmm.expected_loss`.

        Returns
        -------
        float or ndarray [M]
            Or two of them, with Monte Carlo standard errors.
        """
        return partitions.expected_loss(labels, self.label_draws(), loss, None, return_mcse)

    def credible_ball(
        self, labels: Any = None, level: float = 0.95, loss: Any = "vi", max_ties: int = 100
    ) -> balls.CredibleBall:
        """The partitions about an estimate that hold a share of the posterior, and their extremes.

        Parameters
        ----------
        labels : array-like [N], optional
            The estimate; `point_partition` with this loss when not given.
        level, loss, max_ties
            As in `bayesgmm.credible_ball`.

        Returns
        -------
        CredibleBall
            With `radius`, `horizontal`, `upper` and `lower`.
        """
        labels = self.point_partition(loss).labels if labels is None else labels
        return balls.credible_ball(self.label_draws(), labels, level, loss, None, max_ties)

    def assignment_probabilities(self, labels: Any = None) -> assignments.Assignments:
        """Probability of each row to be in each cluster of a partition, and in none of them.

        Parameters
        ----------
        labels : array-like [N], optional
            The partition; `point_partition` when not given.

        Returns
        -------
        Assignments
            Its `table` has the index of the DataFrame that was fitted.
        """
        draws = self.label_draws()
        return assignments.assignment_probabilities(draws, labels, index=self._rows)

    # --- clusters, and functionals of the mixture

    def mixtures(self) -> Mixture:
        """The draws as a stacked `core.Mixture`, [C, S, T, ...], in the user's units.

        Scales are [C, S, T, D, D]. The components that hold points come first, from the largest
        down; then those without. Log weight -inf: there is no such component in this draw.
        """
        check_is_fitted(self)
        return self._draws.mixtures

    def relabel(self, method: str = "ecr", n_clusters: int | None = None) -> Any:
        """`posterior_` with a group `relabelled`, in which a cluster is the same in every draw.

        Parameters
        ----------
        method : {"ecr", "ecr-iterative", "stephens", "data-based"}, default "ecr"
        n_clusters : int, optional
            Draws with so many clusters are taken; the most frequent number when not given.

        Returns
        -------
        DataTree
            As `bayesgmm.relabel` says.
        """
        return relabel.relabel(self.posterior_, method, n_clusters)

    def cluster_summary(
        self,
        quantities: Any = None,
        *,
        n_clusters: int | None = None,
        level: float = 0.95,
        interval: str = "equal-tailed",
    ) -> Any:
        """Weight, size, mean, spread and separation of the clusters, with credible intervals.

        Parameters
        ----------
        quantities, level, interval
            As in `bayesgmm.cluster_summary`.
        n_clusters : int, optional
            As in `relabel`.

        Returns
        -------
        DataFrame
            A row for each number.
        """
        tree = self.relabel(n_clusters=n_clusters)
        return cluster_summary(tree, quantities, level=level, interval=interval)

    def posterior_expectation(self, f: Any, **options: Any) -> Any:
        """Posterior of any functional of the mixture: mean, interval and Monte Carlo error.

        Parameters
        ----------
        f : callable
            From one `core.Mixture`, in the user's units, to a number, an array or a dict of such.
        **options
            As `bayesgmm.posterior_expectation` has them: `level`, `interval`, `vectorize`.

        Returns
        -------
        DataFrame
            A row for each number that `f` returns.
        """
        return expectation.posterior_expectation(f, self.mixtures(), **options)

    def log_evidence(
        self, method: str = "bridge", *, n_components: Any = None, random_state: Any = 0
    ) -> evidence.Evidence | evidence.EvidenceOverComponents:
        """Log marginal likelihood of the data, in nats, with its standard error.

        Parameters
        ----------
        method : {"bridge", "mfm"}, default "bridge"
        n_components : int or iterable of int, optional
            Of "mfm": the numbers wanted.
        random_state : int or RandomState, default 0

        Returns
        -------
        Evidence or EvidenceOverComponents
            As `bayesgmm.log_evidence` says.
        """
        return evidence.log_evidence(
            self,
            method,
            n_components=n_components,
            random_state=random_state,
            progress_bar=self.progress_bar,
        )
