"""MCMCGaussianMixture: draws from the posterior of a mixture."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import jax
import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from bayesgmm.arguments import check_flag, check_number
from bayesgmm.core.arrays import Data, Standardizer, float_scope
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import Form, choose_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.estimators import component_priors, priors
from bayesgmm.estimators.base import Entered, MixtureEstimator, check_n_samples
from bayesgmm.estimators.chains import (
    Bar,
    Sampled,
    begun,
    check_finite_draws,
    check_thin,
    first_labels,
    in_order,
    joined,
    joined_stats,
    most_thin,
)
from bayesgmm.estimators.checks import check_univariate, warn_not_converged
from bayesgmm.estimators.em import GaussianMixture
from bayesgmm.estimators.model import (
    Specification,
    clusters,
    label_free,
    log_prior_group,
    prior_groups,
)
from bayesgmm.estimators.points import in_blocks, standard_data
from bayesgmm.estimators.questions import PosteriorMixin
from bayesgmm.estimators.sampling import (
    WeightOptions,
    check_counts,
    check_most,
    is_whole,
    sampler_of,
    weight_options,
)
from bayesgmm.inference import chains, gibbs, splitmerge
from bayesgmm.messages import count, lookup
from bayesgmm.posterior import (
    matching,
    predictive,
    summary,
)

OTHER = (
    "warm_start=True goes on with the chains of the last fit, which needs the same points and "
    "options. Set warm_start=False to start anew."
)

MANY = 2000
"""Points beyond which a move costs much more than the rest of a sweep."""

ENOUGH = 10
"""Draws a chain that an interrupted run is kept for."""

POINTWISE, PREDICTED = 20_000_000, 2_000_000
"""Numbers that the groups log_likelihood (left out above) and posterior_predictive (fewer draws) of
`posterior_` may hold."""


class MCMCGaussianMixture(PosteriorMixin, MixtureEstimator):
    r"""Gaussian mixture with priors, its posterior sampled by Markov chain Monte Carlo.

    Draws of weights, means, covariances, assignments and the number of clusters, by blocked Gibbs
    sampling: all labels given all parameters, all parameters given all labels, and the number of
    components by telescoping (Fruhwirth-Schnatter, Malsiner-Walli and Grun 2021) or with as many
    slots as a sweep needs, so that no process is cut at a given number; with split-merge moves on
    the partition beside (Jain and Neal 2004).

    Parameters
    ----------
    n_components : int, "mfm", "dp" or "py", default "mfm"
        A known number of components; a mixture of finite mixtures, with a prior over their number;
        a Dirichlet process; or a Pitman-Yor process.
    covariance_type : str, default "full"
        "full" (VVV), "tied" (EEE), "diag" (VVI), "spherical" (VII), by scikit-learn's name or
        mclust's; "E" (shared variance) and "V" for one feature.
    sampler : {"auto", "gibbs", "nuts"}, default "auto"
        Blocked Gibbs sampling, or NumPyro's no-U-turn sampler on `numpyro_model`, its labels summed
        out: for a known number of components and truncated processes, any prior of the components,
        and fractional weights of the points. "auto" is "gibbs", but for a `component_prior` that
        only "nuts" has.
    component_prior : str, object or dict, default "hierarchical"
        Of means and covariances. "hierarchical": means independent of covariances, and a random
        scale of these, common to all components, so that the data say how wide clusters are
        (Fruhwirth-Schnatter, Malsiner-Walli and Grun 2021). "independent": the same with a fixed
        scale. "conjugate": Normal-inverse-Wishart, with the four hyperparameters below.
        "richardson-green": the hierarchical prior with the numbers of Richardson and Green (1997)
        for one feature, means about the middle of the range R, variance R^2, c0 = 2, g0 = 0.2,
        G0 = 10 / R^2; of more features c0 and g0 are (D - 1) / 2 more. Or a `ConjugatePrior`,
        `IndependentPrior` or `HierarchicalPrior`.
        With "nuts" alone "lkj": LKJ(1) correlations, log-normal standard
        deviations about half that of the data, and normal means, all independent; or a dict of
        NumPyro distributions of one component, in the units of the data, with the keys "means" and
        "scales" and "correlations" (a Cholesky factor), or "means" and "scale_tril", or "means"
        and "covariances"; "means" and "scales" or "variances" for "diag" and "spherical".
    mean_prior : array [D], optional
        The mean of the points when not given. This and the next three are for
        ``component_prior="conjugate"``.
    mean_precision_prior : float, optional
        Number of points that the prior of a mean is worth. K^(-2/D) when not given, with K =
        n_components, or 3 where that is not a number: with `covariance_prior` not given either, the
        means of the clusters are then expected to vary as the points do.
    degrees_of_freedom_prior : float, optional
        Of the inverse Wishart, or twice the shape of the inverse Gamma; D + 2 when not given.
    covariance_prior : array, optional
        Scale of the inverse Wishart: [D, D], [D] for "diag", a number for "spherical". The
        covariance of the points in that form divided by K^(2/D) when not given (Fraley and Raftery
        2007), K as above.
    weight_concentration_prior : float or tuple, optional
        A number is fixed; ("gamma", shape, rate) and ("f", d1, d2) are priors under which it is
        learned. When not given: 1 for a known number of components and for
        ``weight_prior="static"``; ("f", 6, 3) for ``weight_prior="dynamic"``; ("gamma", 2, 4)
        (Escobar and West 1995) for the processes.
    discount_prior : float in [0, 1), optional
        Of the Pitman-Yor process; 0.25 when not given.
    n_components_prior : tuple or array, optional
        Of "mfm": ("poisson", rate), K - 1 ~ Poisson; ("geometric", p), P(K) = p (1 - p)^(K - 1);
        ("uniform", largest); ("bnb", size, a, b), K - 1 beta negative binomial; or probabilities of
        1, 2, ... components. ("bnb", 1, 4, 3) when not given.
    weight_prior : {"dynamic", "static"}, optional
        Of "mfm": Dirichlet(alpha / K) or Dirichlet(alpha) weights; "dynamic" when not given.
    max_components : int, optional
        The most components that a draw may hold where their number is not known. When not given
        room is made as it is needed. With "nuts" the number T to which a process is truncated, the
        last component taking all that T - 1 sticks leave: when not given, the least that leaves
        less than 0.001 in the mean of the prior, at most 64.
    moves : bool, default True
        Of "gibbs": whether each sweep proposes to split and to merge clusters: two such moves
        where their number is unknown; of a known number one that does both, with more than 2,000
        points in the warm-up only.
    n_chains : int, default 4
        They begin at k-means, at random labels, with all points in one cluster, and at the nearest
        of random points, in turn; and run side by side on the devices there are, or on the cores
        of the one processor, an even share on each.
    n_samples : int, default 1000
        Draws kept of each chain.
    n_warmup : int, optional
        Sweeps of each chain before the first draw (of "nuts", iterations that adapt step size and
        masses); ``n_samples * thin`` when not given.
    thin : int or "auto", default 1
        Sweeps a draw. "auto" doubles them, from 1, until the chains have converged as `converged_`
        has it, for at most 64 sweeps a draw or about a minute or two; fewer than 400 draws cannot
        by that measure, and have one sweep each. The draws are those of a fit whose `thin` is the
        number it comes to: it costs no more, as shorter runs are the warm-up of longer ones. (Of
        more than 2,000 points and a known number of components, where moves are for the warm-up,
        they are others.)
    random_state : int, RandomState or None
    warm_start : bool, default False
        Whether `fit` goes on with the chains of the last fit, without warm-up, and adds its draws
        to those.
    progress_bar : bool, default True
        Shown on standard error by runs longer than a second.

    Attributes
    ----------
    n_components_ : int
        Clusters of the point summary below: the most frequent number of clusters.
    weights_ : ndarray [K]
    means_ : ndarray [K, D]
    covariances_, precisions_, precisions_cholesky_ : ndarray
        Posterior means (of weights, means, covariances) over the draws with K clusters, these
        matched to one partition, from the largest cluster down. Shapes as in scikit-learn.
    labels_ : ndarray [N]
        Most probable cluster of each row, ``predict`` of the points.
    converged_ : bool
        Whether R-hat is at most 1.01 and the bulk effective sample size at least 400 for all
        quantities of `diagnose`.
    n_iter_ : int
        Sweeps of each chain.
    thin_ : int
        Sweeps a draw.
    n_draws_ : int
        Draws kept, of all chains together.
    posterior_ : xarray.DataTree
        The draws in ArviZ's schema.
    component_prior_ : ConjugatePrior, IndependentPrior, HierarchicalPrior or dict
        The prior as used, with all of its numbers.
    sampler_ : {"gibbs", "nuts"}
    truncation_, leftover_ : int, float
        Of a process by "nuts": T, and the prior mean of what the last component stands for.
    mean_prior_, mean_precision_prior_, degrees_of_freedom_prior_, covariance_prior_
        Those of them that it has.
    mixture_ : core.Mixture
        `weights_`, `means_` and `covariances_`: the plug-in.
    n_features_in_ : int
    feature_names_in_ : ndarray [D]
        When `X` was a DataFrame.

    References
    ----------
    Escobar and West (1995), *Journal of the American Statistical Association* 90, 577-588.
    Fraley and Raftery (2007), *Journal of Classification* 24, 155-181.
    Fruhwirth-Schnatter, Malsiner-Walli and Grun (2021), *Bayesian Analysis* 16, 1279-1307.
    Jain and Neal (2004), *Journal of Computational and Graphical Statistics* 13, 158-182.
    Jain and Neal (2007), *Bayesian Analysis* 2, 445-472.
    Richardson and Green (1997), *Journal of the Royal Statistical Society B* 59, 731-792.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import MCMCGaussianMixture
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-4, 1, 60), rng.normal(4, 1, 40)])[:, None]
    >>> model = MCMCGaussianMixture(2, random_state=0).fit(X)
    >>> model.converged_, model.weights_.round(1)
    (True, array([0.6, 0.4]))
    """

    _plug_in = GaussianMixture

    _caches = ("_tree",)

    # those of the base class that are set here, again: type checkers ask for it
    labels_: np.ndarray
    n_iter_: int
    converged_: bool
    thin_: int
    n_draws_: int
    component_prior_: Any
    sampler_: str
    truncation_: int | None
    leftover_: float | None

    def __init__(
        self,
        n_components: Any = "mfm",
        *,
        covariance_type: str = "full",
        sampler: str = "auto",
        component_prior: Any = "hierarchical",
        mean_prior: Any = None,
        mean_precision_prior: float | None = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: Any = None,
        weight_concentration_prior: Any = None,
        discount_prior: float | None = None,
        n_components_prior: Any = None,
        weight_prior: str | None = None,
        max_components: int | None = None,
        moves: bool = True,
        n_chains: int = 4,
        n_samples: int = 1000,
        n_warmup: int | None = None,
        thin: int | str = 1,
        random_state: Any = None,
        warm_start: bool = False,
        progress_bar: bool = True,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.sampler = sampler
        self.component_prior = component_prior
        self.mean_prior = mean_prior
        self.mean_precision_prior = mean_precision_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.weight_concentration_prior = weight_concentration_prior
        self.discount_prior = discount_prior
        self.n_components_prior = n_components_prior
        self.weight_prior = weight_prior
        self.max_components = max_components
        self.moves = moves
        self.n_chains = n_chains
        self.n_samples = n_samples
        self.n_warmup = n_warmup
        self.thin = thin
        self.random_state = random_state
        self.warm_start = warm_start
        self.progress_bar = progress_bar

    # --- the fit

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Sample the posterior.

        Parameters
        ----------
        X : array-like or DataFrame [N, D]
            Computed in float64 whatever its type.
        y : ignored
        sample_weight : array-like [N], optional
            The power of the likelihood of each row. A row of weight 2 counts as two rows, each
            with a label of its own; one of weight 0 as none. Fractions, for "nuts" alone, leave
            each row one label.

        Returns
        -------
        self
            An interrupt (KeyboardInterrupt) ends the sampling and keeps the draws there are, if
            there are ten a chain; else the estimator is as it was before.

        Raises
        ------
        ValueError
            If an argument is not as described, a value is missing or infinite, or a covariance
            became singular to rounding on the way.

        Warns
        -----
        UserWarning
            If the points or their clusters lie in a flat, where a hierarchical prior has no
            posterior: its scale is then held at its prior mean, and `component_prior_` is an
            `IndependentPrior`.
        ConvergenceWarning
            If the chains have not converged, what is wrong and what to do about it.
        """
        return self._fit_or_stay(X, sample_weight)

    def _fit(self, X: Any, sample_weight: Any) -> None:
        options = self._check_options()
        resume = self.warm_start and hasattr(self, "_chains")
        entered = self._enter(X, sample_weight)
        counted = self.sampler_ == "gibbs" or is_whole(entered.weight)
        rows = _repeated(entered) if counted else entered.kept(relative=False)
        rows = Entered(np.asarray(rows.X, np.float64), rows.weight)
        order = np.lexsort(rows.X.T)  # so that the draws do not depend on that of the rows
        kept = Entered(*(None if leaf is None else leaf[order] for leaf in rows))
        check_univariate(self.covariance_type, kept.X.shape[1])
        if resume and not _same(rows, self._kept):
            raise ValueError(OTHER)
        units = self._units(kept, self._family.scaling)
        seen = component_priors.Seen(kept, units, self._family, options.known)
        own = self._same_prior(seen, options) if resume else self._asked_prior(seen)
        self.truncation_, self.leftover_ = None, None
        self.thin_ = self._first_thin(resume)
        with float_scope("float64"):
            by = self._by_nuts if self.sampler_ == "nuts" else self._by_gibbs
            run = partial(by, kept, seen, options, resume)
            found = run(own, self._chains if resume else None)
            if self.thin == "auto" and not (resume or found.draws.interrupted):
                found = self._lengthened(found, run, own, options)
        labels = found.draws.labels[:, :, np.argsort(order)]
        found = found._replace(draws=found.draws._replace(labels=labels))
        self._leave(found, entered, rows, options, resume)
        self._rows = row_labels(X, entered, counted)

    def _first_thin(self, resume: bool) -> int:
        if self.thin != "auto":
            return self.thin
        return self.thin_ if resume else 1

    def _lengthened(
        self, found: Sampled, run: Callable, own: Any, options: WeightOptions
    ) -> Sampled:
        """Runs that go on from each other, of twice the sweeps a draw, until one has converged."""
        C, S, N = found.draws.labels.shape
        most = most_thin(self.sampler_, N * S) if C * S >= summary.ESS else 1
        while 2 * self.thin_ <= most and not self._has_converged(found, options):
            before, self.thin_ = self.thin_, 2 * self.thin_
            if self.sampler_ == "gibbs":  # which may have held its scale
                own = found.prior
            longer = run(own, (found.draws.state, found.config))
            if longer.draws.interrupted:
                self.thin_ = before
                sweeps = count(before, "sweep")
                kept = f"interrupted: the draws of {sweeps} are kept, and none of {2 * before}"
                return found._replace(said=[kept, *found.said])
            found = longer
        return found

    def _has_converged(self, found: Sampled, options: WeightOptions) -> bool:
        check_finite_draws(found.draws.log_likelihood)
        area = priors.area_of(found.units, self._family)
        sample = in_order(found.draws, found.units, found.draws.labels.shape[2], area)
        return summary.has_converged(summary.diagnostics(label_free(sample, options)))

    def _by_gibbs(
        self,
        kept: Entered,
        seen: component_priors.Seen,
        options: WeightOptions,
        resume: bool,
        own: Any,
        last: tuple | None,
    ) -> Sampled:
        """Chains that begin, or go on from the last ones."""
        data, N = standard_data(kept.X, None, seen.units), len(kept.X)
        draws, config = self._sample(data, N, seen.units, own, options, last)
        hierarchical = isinstance(own, component_priors.HierarchicalPrior)
        whole = not (resume or draws.interrupted)  # else there is nothing to begin again
        if hierarchical and whole and component_priors.has_shrunk(draws.scale):
            own = component_priors.held(own, self.component_prior, seen)
            draws, config = self._sample(data, N, seen.units, own, options, None)
        said = []
        if draws.crowded.any() and options.known is None:
            most = self.max_components or chains.SLOTS[-1]
            said = [
                f"{int(draws.crowded.sum())} sweeps needed more than the {most} components that "
                "max_components allows, so that the draws are not of the posterior: raise it"
            ]
        return Sampled(draws, config, seen.units, own, said, {})

    def _by_nuts(
        self,
        kept: Entered,
        seen: component_priors.Seen,
        options: WeightOptions,
        resume: bool,
        own: Any,
        last: tuple | None,
    ) -> Sampled:
        from bayesgmm.estimators import nuts  # with NumPyro, which takes a second

        found = nuts.sampled(self, kept, seen.units, own, options, last)
        if found is None:  # other chains than those of the last fit
            raise ValueError(OTHER)
        if options.known is None:
            self.truncation_ = found.config.model.n_components
            self.leftover_ = nuts.left_by(options, self.truncation_)
        return found

    def _check_options(self) -> WeightOptions:
        lookup(priors.CONJUGATE, self.covariance_type, "covariance_type")
        self.sampler_ = sampler_of(self.sampler, self.component_prior, self.n_components)
        component_priors.check_given(self.component_prior, self._given())
        options = weight_options(
            self.n_components,
            self.weight_prior,
            self.weight_concentration_prior,
            self.discount_prior,
            self.n_components_prior,
        )
        for name, low in (("n_chains", 1), ("n_samples", 4)):
            check_number(getattr(self, name), name, integer=True, low=low)
        check_thin(self.thin)
        if self.n_warmup is not None:
            check_number(self.n_warmup, "n_warmup", integer=True, low=0)
        check_most(self.max_components, options.known, "for an unknown number of components")
        for name in ("moves", "warm_start", "progress_bar"):
            check_flag(getattr(self, name), name)
        return options

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in component_priors.SKLEARN}

    @property
    def _family(self) -> Covariance:
        return priors.CONJUGATE[self.covariance_type]

    def specification(self, X: Any) -> Specification:
        """The prior that a fit of these points has, its defaults scaled by them; nothing is fitted.

        Parameters
        ----------
        X : array-like or DataFrame [N, D]

        Returns
        -------
        Specification
            The prior, in the user's units and the sampler's, and the sampler's configuration.

        Raises
        ------
        ValueError
            If an option is not as described.
        """
        options = self._check_options()
        kept = Entered(np.asarray(self._enter(X).X, np.float64), None)
        check_univariate(self.covariance_type, kept.X.shape[1])
        units = self._units(kept, self._family.scaling)
        seen = component_priors.Seen(kept, units, self._family, options.known)
        return self._specification_of(self._asked_prior(seen), seen, options)

    def _asked_prior(self, seen: component_priors.Seen) -> Any:
        """The prior of the components: with all of its numbers, unless it is NumPyro's."""
        if component_priors.is_numpyros(self.component_prior):
            return self.component_prior
        return component_priors.resolved(self.component_prior, self._given(), seen)

    def _specification_of(
        self, own: Any, seen: component_priors.Seen, options: WeightOptions
    ) -> Specification:
        units = seen.units
        if component_priors.is_numpyros(self.component_prior):
            from bayesgmm.estimators import nuts

            own, units = nuts.settled(own, units, self._family)
        return self._specified(own, units, options, len(seen.kept.X))

    def _same_prior(self, seen: component_priors.Seen, options: WeightOptions) -> Any:
        """The prior of the last fit, which is that of the options: draws that are joined have one.

        Raises
        ------
        ValueError
            If it is another.
        """
        own = self._asked_prior(seen)
        hierarchical = component_priors.HierarchicalPrior
        if isinstance(own, hierarchical) and not isinstance(self.component_prior_, hierarchical):
            own = component_priors.held(own, self.component_prior, seen)
        now, then = self._specification_of(own, seen, options), self._specification
        numbers = [jax.tree.flatten((one.prior, one.options.alpha)) for one in (now, then)]
        (new, kind), (old, kind_before) = numbers
        if kind != kind_before or not all(map(np.array_equal, new, old)):
            raise ValueError(OTHER)
        return own

    def _specified(
        self, own: Any, units: Standardizer, options: WeightOptions, n_rows: int
    ) -> Specification:
        if component_priors.is_numpyros(self.component_prior):
            from bayesgmm.estimators import nuts

            plain = own
            in_core = nuts.given_in_core(self.component_prior, units, self.covariance_type)
        else:
            plain, in_core = (
                component_priors.in_core(own, each, self._family)
                for each in (Standardizer.identity(len(units.scale)), units)
            )
        prior = gibbs.GibbsPrior(options.prior, options.concentration, plain)
        form = choose_form(len(units.scale), self._family.axis_aligned)
        config = self._configs(options, n_rows, form)[1]
        return Specification(prior, config, options, units, in_core)

    def _sample(
        self,
        data: Data,
        n_rows: int,
        units: Standardizer,
        own: Any,
        options: WeightOptions,
        last: tuple | None,
    ) -> tuple[chains.Draws, gibbs.GibbsConfig]:
        """The draws, and how chains that went on from them would sample."""
        components = component_priors.in_core(own, units, self._family)
        near = splitmerge.neighbours(data) if self._moving(options, n_rows) else None
        moves = None if near is None else splitmerge.Moves(near)
        prior = gibbs.GibbsPrior(options.prior, options.concentration, components, moves)
        form = choose_form(len(data.points), self._family.axis_aligned)
        warm, config = self._configs(options, n_rows, form)
        if last is None:
            states = self._begun(data, n_rows, warm, options, components)
        else:
            states = self._resumed(data, config, last)
        most = options.known or self.max_components or chains.SLOTS[-1]
        if last is None:
            sweeps = self.n_samples * self.thin_ if self.n_warmup is None else self.n_warmup
            asked = (0, 1, sweeps) if warm != config else (self.n_samples, self.thin_, sweeps)
            first = self._run(states, data, prior, warm, *asked, most)
            if warm == config or first.interrupted:
                return first, config
            states = first.state
        return self._run(states, data, prior, config, self.n_samples, self.thin_, 0, most), config

    def _run(self, *given: Any) -> chains.Draws:
        """`chains.run`, watched."""
        sweeps = "" if self.thin_ == 1 else f", {self.thin_} sweeps a draw"
        with Bar(self.progress_bar, f"sampling{sweeps}") as bar:
            return chains.run(*given, bar)

    def _moving(self, options: WeightOptions, n_rows: int) -> bool:
        """Whether there are moves: one point, or one component, has nowhere to go."""
        return bool(self.moves) and n_rows > 1 and options.known != 1

    def _configs(
        self, options: WeightOptions, n_rows: int, form: Form
    ) -> tuple[gibbs.GibbsConfig, gibbs.GibbsConfig]:
        """How the chains warm up, and how they go on."""
        learned = options.learned is not None
        plain = gibbs.GibbsConfig(self._family, form, options.kind.weights, learned)
        if not self._moving(options, n_rows):
            return plain, plain
        many = n_rows > MANY
        if options.known is None:
            moves = splitmerge.UNKNOWN if many else splitmerge.SEVERAL
            return (dataclasses.replace(plain, moves=moves),) * 2
        moving = dataclasses.replace(plain, moves=splitmerge.KNOWN)
        return moving, plain if many else moving

    def _begun(
        self,
        data: Data,
        n_rows: int,
        config: gibbs.GibbsConfig,
        options: WeightOptions,
        components: Any,
    ) -> gibbs.GibbsState:
        rng = check_random_state(self.random_state)
        T = options.known or chains.first_slots(data)
        T = min(T, self.max_components or T)
        most = min(T, options.most or T)
        labels = first_labels(data, n_rows, options.known, most, self.n_chains, rng)
        keys = rng.randint(2**32, size=(self.n_chains, 2), dtype=np.uint32)
        return begun(keys, data, labels, options.alpha, components, config, T)

    def _resumed(self, data: Data, config: gibbs.GibbsConfig, last: tuple) -> gibbs.GibbsState:
        state, before = last
        same = before == config and state.labels.shape == (self.n_chains, data.weight.size)
        if not same or state.mixture.means.shape[2] != len(data.points):
            raise ValueError(OTHER)
        return state

    # --- what it leaves

    def _leave(
        self,
        found: Sampled,
        entered: Entered,
        kept: Entered,
        options: WeightOptions,
        resume: bool,
    ) -> None:
        draws, units, S = found.draws, found.units, found.draws.labels.shape[1]
        if draws.interrupted and S < ENOUGH:
            raise KeyboardInterrupt(f"after {S} draws a chain: the last fit is kept, if any")
        check_finite_draws(draws.log_likelihood)
        self._chains = draws.state, found.config
        new = in_order(draws, units, kept.total, priors.area_of(units, self._family))
        self._draws = joined(self._draws if resume else None, new)
        self._stats = joined_stats(self._stats if resume else None, found.stats)
        self._kept, self._options = kept, options
        self._specification = self._specified(found.prior, units, options, len(kept.X))
        self.__dict__.pop("_tree", None)
        self.n_iter_ = int(draws.state.sweep.max())
        self.n_draws_ = self._draws.alpha.size
        self.component_prior_ = found.prior
        self._publish_hyperparameters()
        self._summarize(entered.X.dtype)
        self.labels_ = self._probabilities(entered.X).argmax(1)
        self._judge(draws, found.said)

    def _publish_hyperparameters(self) -> None:
        """Scikit-learn's names, where the prior has them."""
        for name in component_priors.SKLEARN:
            self.__dict__.pop(f"{name}_", None)
            if hasattr(self.component_prior_, name):
                setattr(self, f"{name}_", getattr(self.component_prior_, name))

    def _summarize(self, dtype: Any) -> None:
        """Means over the draws with the most frequent number of clusters, matched to one."""
        flat, D = self._draws.flat(), self._kept.X.shape[1]
        number = flat.n_clusters
        reference = matching.pivot(flat.labels, number)
        K = int(reference.max()) + 1
        alike = np.flatnonzero(number == K)
        places = matching.matched(flat.labels[alike], reference, K)
        rows = alike[:, None], places
        log_weights, means, scales = (leaf[rows] for leaf in flat.mixtures)
        self._clusters = Mixture(log_weights, means, scales)
        weights = np.exp(log_weights)
        weights = (weights / weights.sum(1, keepdims=True)).mean(0)
        covariances = np.einsum("skij,sklj->kil", scales, scales) / len(alike)
        root = np.linalg.cholesky(covariances)
        mixture = Mixture(np.log(weights), means.mean(0), root)
        self._publish(mixture, Standardizer.identity(D), dtype)
        self.n_components_ = K

    def _judge(self, draws: chains.Draws, wrong: list[str]) -> None:
        """`converged_`, and a warning that says what is wrong and what to do."""
        table = self.diagnose()
        self.converged_ = summary.has_converged(table)
        said = summary.advice(table, self._draws.log_likelihood)
        if said and self.thin == "auto":
            sweeps = count(self.thin_, "sweep")
            said.append(f"thin='auto' stopped at {sweeps} a draw: set a larger number")
        if wrong:
            said, self.converged_ = [*wrong, *said], False
        if draws.interrupted:
            said.insert(
                0,
                f"interrupted: {draws.labels.shape[1]} of {self.n_samples} draws a chain are kept; "
                "warm_start=True goes on",
            )
        if said:
            message = "The posterior sample cannot be relied on yet:\n- " + "\n- ".join(said)
            warn_not_converged(message)

    # --- the draws

    @property
    def posterior_(self) -> Any:
        """The draws as an xarray DataTree, made when first asked for.

        Its groups are posterior, sample_stats, log_likelihood (of each point, where that is not too
        large), log_prior, posterior_predictive, prior, prior_predictive and observed_data. The
        densities in log_prior are of the weights (`lp_weights`: their partition, where the number
        of components is not known) and of means and covariances (`lp_components`), where the prior
        is made of NumPyro's distributions in the parameters that these have. Of a process all that
        is said of the prior is of the process itself, not of its truncation.
        """
        check_is_fitted(self)
        if not hasattr(self, "_tree"):
            self._tree = self._make_tree()
        return self._tree

    def _make_tree(self) -> Any:
        draws, (N, D) = self._draws, self._kept.X.shape
        C, S = draws.alpha.shape
        groups = {
            "posterior": {
                **clusters(draws),
                "labels": draws.labels,
                **({"scale": draws.scale} if draws.hierarchical else {}),
                **self.quantities(),
            },
            **self._prior_groups(),
            "sample_stats": {"lp": draws.log_likelihood, **self._stats},
            "observed_data": {"x": self._kept.X},
        }
        if C * S * N <= POINTWISE:
            groups["log_likelihood"] = {"x": self._pointwise().reshape(C, S, N)}
        rng = check_random_state(0)
        some = max(1, min(S, PREDICTED // max(1, C * N * D)))
        replicas = [
            predictive.sample(self._flat_mixtures(slice(s, s + 1)), N, rng)[0]
            for s in np.linspace(0, C * S - 1, C * some).astype(int)
        ]
        groups["posterior_predictive"] = {"x": np.reshape(replicas, (C, some, N, D))}
        names = self._names(D)
        attrs = {"inference_library": "bayesgmm", "sampler": self.sampler_}
        if self.truncation_ is not None:
            attrs |= {"truncation": self.truncation_, "leftover": self.leftover_}
        return summary.tree(groups, names, np.asarray(self._rows), attrs)

    def _prior_groups(self) -> dict[str, dict[str, np.ndarray]]:
        """What the prior says."""
        spec = self._specification
        groups = prior_groups(spec, len(self._kept.X), PREDICTED)
        return {**groups, "log_prior": log_prior_group(spec, self._draws)}

    # --- points

    def _flat_mixtures(self, rows: slice = slice(None)) -> Mixture:
        return Mixture(*(leaf[rows] for leaf in self._draws.flat().mixtures))

    def _stack(self, mixtures: Mixture) -> Mixture:
        """Scales in the rank that the family's form takes."""
        if not self._family.axis_aligned:
            return mixtures
        return mixtures._replace(scales=np.diagonal(mixtures.scales, axis1=-2, axis2=-1))

    def _average(self, X: np.ndarray, read: Any, mixtures: Mixture) -> np.ndarray:
        """What `read` makes of float64 points and the draws."""
        stack = predictive.with_room(self._stack(mixtures))
        aligned = self._family.axis_aligned
        points = np.asarray(X, np.float64)
        return in_blocks(points, lambda data: read(data, stack, aligned), lambda found: found)[0]

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        mixtures, shares = predictive.with_shares(self._clusters, self.n_draws_)
        read = lambda *given: predictive.assignment(*given, shares)  # noqa: E731
        return self._average(X, read, mixtures)[:, : self.n_components_]

    def _pointwise(self) -> np.ndarray:
        read = lambda *given: predictive.pointwise(*given).T  # noqa: E731
        return self._average(self._kept.X, read, self._flat_mixtures()).T

    def _read(self, X: np.ndarray, *read: Any) -> tuple[np.ndarray, ...]:
        """What each of `read` makes of the log of the mean probabilities [N, K]."""
        check_is_fitted(self)
        with np.errstate(divide="ignore"):
            logs = np.log(self._probabilities(X)).astype(X.dtype)
        return tuple(make(logs) for make in read)

    def _log_density(self, X: np.ndarray) -> np.ndarray:
        found = self._average(X, predictive.log_predictive, self._flat_mixtures())
        return found.astype(X.dtype)

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Random points from the posterior predictive distribution.

        Parameters
        ----------
        n_samples : int, default 1

        Returns
        -------
        X : ndarray [n_samples, D]
            Each from a draw of the posterior of its own.
        y : ndarray [n_samples]
            Which component of that draw each is from. Labels of different draws are not the same
            clusters: ask `predict` for those of the point summary.

        Raises
        ------
        ValueError
            If `n_samples` is less than 1.
        """
        check_is_fitted(self)
        check_n_samples(n_samples)
        rng = check_random_state(self.random_state)
        found, labels = predictive.sample(self._flat_mixtures(), n_samples, rng)
        return found.astype(self.means_.dtype), labels


def _repeated(entered: Entered) -> Entered:
    """Each row as often as its weight says."""
    copies = check_counts(entered.weight)
    return Entered(entered.X if copies is None else np.repeat(entered.X, copies, axis=0), None)


def row_labels(X: Any, entered: Entered, counted: bool) -> Any:
    """Labels of the rows that are sampled, a pandas Index: of a DataFrame its own, else numbers.

    A row of weight 0 has none; where weights are counts a row has as many as its weight says.
    """
    import pandas as pd

    weight = entered.weight
    index = X.index if hasattr(X, "columns") else pd.RangeIndex(len(entered.X))
    if isinstance(index, pd.MultiIndex):  # no array has such labels
        index = index.map(str)
    if weight is None:
        return index
    return index.repeat(np.round(weight).astype(int)) if counted else index[weight > 0]


def _same(one: Entered, other: Entered) -> bool:
    """Whether two have the same points and weights."""
    pairs = zip(one, other, strict=True)
    return all(a is b or (a is not None and np.array_equal(a, b)) for a, b in pairs)
