r"""Simulation-based calibration of a sampler: it must find what was drawn from the prior.

Parameters are drawn from the prior and data given these; the posterior of the data is sampled, and
the rank of a true quantity among its posterior draws is noted. If prior, likelihood and sampler
belong together the rank is uniform, whatever the quantity, one that depends on the data too
(Modrak et al. 2023). Every quantity here is free of labels.

Ranks need draws that are nearly independent. The draws are thinned by the first lag at which the
autocorrelation of every quantity, pooled over a first batch of replicates, is below
0.05. Ties, of which whole numbers have many, are broken at random. Each replicate is a
chain, and all of a batch go on together in the program that a fit of one data set has.

References
----------
Talts, Betancourt, Simpson, Vehtari and Gelman (2018), *Validating Bayesian inference algorithms
with simulation-based calibration*, arXiv:1804.06788. Modrak, Moon, Kim, Burkner, Huurre,
Faltejskova, Gelman and Vehtari (2023), *Simulation-based calibration checking for Bayesian
computation: the choice of test quantities shapes sensitivity*, Bayesian Analysis.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri
from sklearn.base import clone
from sklearn.utils import check_random_state

from bayesgmm.arguments import check_level, check_number
from bayesgmm.estimators.chains import Bar
from bayesgmm.estimators.model import Specification
from bayesgmm.estimators.replicates import (
    CORRELATION,
    Asked,
    Batch,
    Engine,
    GibbsEngine,
    Run,
    correlations,
    randomised_ranks,
)
from bayesgmm.posterior import uniformity

LEVEL = 0.05
"""Probability with which a calibrated sampler is called something else."""


# --- the result -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` found.

    Attributes
    ----------
    ranks : DataFrame [R, quantities]
        Of the truth among the draws, 0 to `n_samples`, ties broken at random.
    pit : DataFrame [R, quantities]
        (rank + U) / (n_samples + 1) with U uniform: uniform between 0 and 1 if all is well.
    n_samples : int
        Draws of each replicate.
    thin, n_warmup : int
        Sweeps a draw, and before the first.
    correlation : Series
        Of successive draws of each quantity, pooled over the replicates.
    crowded : float
        Share of the sweeps that needed more slots than there were; of the draws of NUTS, those
        whose last component, which stands for all the others of a process, holds points.
    """

    ranks: Any
    pit: Any
    n_samples: int
    thin: int
    n_warmup: int
    correlation: Any
    crowded: float

    @property
    def table(self) -> Any:
        """A row for each quantity.

        Columns `p_value` (of uniform ranks), `adjusted` (Holm's, for all quantities together),
        `inside` (whether the distribution function stays in ArviZ's simultaneous 95 % band),
        `mean` and `sd` of the PIT values (1/2 and 0.289), the `correlation` of successive draws
        and `verdict`: "uniform", or "not uniform" if `adjusted` is below 0.05.
        """
        import pandas as pd

        columns = self.pit.items()
        found = pd.DataFrame(
            {
                name: {
                    "p_value": uniformity.p_value(values.to_numpy()),
                    "inside": uniformity.band(values.to_numpy()).inside,
                    "mean": values.mean(),
                    "sd": values.std(),
                    "correlation": self.correlation[name],
                }
                for name, values in columns
            }
        ).T.infer_objects()
        adjusted = uniformity.holm(found["p_value"].to_numpy(float))
        found.insert(1, "adjusted", adjusted)
        found["verdict"] = np.where(adjusted < LEVEL, "not uniform", "uniform")
        return found.rename_axis("quantity")

    def coverage(self, level: float = 0.9) -> Any:
        """How often the truth lies in the central credible interval, a row for each quantity.

        Whole numbers, of which many draws are equal to the truth, count as in by chance where an
        end of the interval falls among them, so that a calibrated quantity is covered with
        probability `level` exactly.

        Parameters
        ----------
        level : float, default 0.9
            Of the interval from the quantile (1 - level) / 2 of the draws to (1 + level) / 2.

        Returns
        -------
        DataFrame
            Columns `coverage`, its `standard_error` (binomial, at `level`) and `z`, by how many of
            these it is off.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        import pandas as pd

        check_level(level)
        share = (np.abs(self.pit - 0.5) < level / 2).mean()
        error = np.sqrt(level * (1 - level) / len(self.pit))
        columns = {"coverage": share, "standard_error": error, "z": (share - level) / error}
        return pd.DataFrame(columns).rename_axis("quantity")

    @property
    def calibrated(self) -> bool:
        """Whether no quantity's ranks are other than uniform."""
        return bool((self.table["verdict"] == "uniform").all())

    def summary(self) -> str:
        """What was found, in words and a table."""
        table, R = self.table, len(self.ranks)
        bad = list(table.index[table["verdict"] != "uniform"])
        said = (
            f"not calibrated: the ranks of {', '.join(bad)} are not uniform"
            if bad
            else "no sign that the sampler is not calibrated"
        )
        lines = [
            f"Simulation-based calibration, {R} replicates of {self.n_samples} draws, "
            f"one in {self.thin} sweeps after a warm-up of {self.n_warmup}: {said}.",
            "",
            table.to_string(float_format=lambda value: f"{value:.3f}"),
        ]
        if self.correlation.max() > 4 * CORRELATION:
            name = self.correlation.idxmax()
            lines += [
                "",
                f"Successive draws of {name} have correlation {self.correlation[name]:.2f}, which "
                "by itself makes ranks other than uniform: raise thin.",
            ]
        if self.crowded > 0:
            lines += ["", f"{self.crowded:.1e} of the sweeps had no room for another component."]
        return "\n".join(lines)

    def __str__(self) -> str:
        """`summary`."""
        return self.summary()

    def plot(self, *, prob: float = 0.95, figure: Any = None) -> Any:
        """Distribution functions of the PIT values less the diagonal, with simultaneous bands.

        Parameters
        ----------
        prob : float, default 0.95
            That a calibrated quantity stays within its band.
        figure : matplotlib Figure, optional
            An empty one to draw on; a new one when not given.

        Returns
        -------
        matplotlib Figure
        """
        from bayesgmm.plots import plot_calibration

        bands = {name: uniformity.band(v.to_numpy(), prob) for name, v in self.pit.items()}
        return plot_calibration(bands, figure=figure)


# --- the whole ------------------------------------------------------------------------------------


def calibrate(
    estimator: Any,
    X: Any = None,
    *,
    n_replicates: int = 500,
    n_samples: int = 99,
    thin: int | None = None,
    n_warmup: int | None = None,
    quantities: dict[str, Callable[..., Any]] | None = None,
    means: Any = None,
    sds: Any = None,
    n_points: int | None = None,
    truth: Any = None,
    random_state: Any = None,
    progress_bar: bool = True,
) -> Calibration:
    """Simulation-based calibration of a sampler under a prior, at one size of data.

    Parameters
    ----------
    estimator : MCMCGaussianMixture
        Its prior and sampler. It need not be fitted, and is not changed. Hyperparameters that are
        not given are scaled by `X`, or by the means and deviations stated, once: the prior is the
        same in all replicates.
    X : array-like or DataFrame [N, D], optional
        Points that say how many there are in each replicate, and scale the prior. Without them
        state `means`, `sds` and `n_points`.
    n_replicates : int, default 500
    n_samples : int, default 99
        Draws of each replicate, among which the truth has its rank.
    thin : int, optional
        Sweeps a draw. When not given, as many as make the autocorrelation of all quantities less
        than 0.05, at most 50: found on the first replicates.
    n_warmup : int, optional
        Sweeps of each chain before the first draw; 20 times `thin`, and at least 200 (500 of
        NUTS, which adapts to each replicate), when not given. Chains begin at k-means, at random
        labels, with all points in one cluster, and at the nearest of random points, in turn.
    quantities : dict of callables, optional
        More quantities by name: functions of an object with the arrays `weights` [R, S, T] (0
        where there is no component), `means` [R, S, T, D], `covariances` [R, S, T, D, D],
        `labels` [R, S, N] and `X` [R, N, D], of R replicates with S draws each, to an array [R, S].
        They must not depend on which component is which.
    means, sds : array [D], optional
        Of the features, instead of `X`: the defaults are then those of points at normal quantiles,
        the features uncorrelated.
    n_points : int, optional
        Points of each replicate; those of `X` when not given.
    truth : MCMCGaussianMixture, optional
        Whose prior the truth is drawn from, if not `estimator`'s: to see what a wrong prior does.
    random_state : int, RandomState or None
    progress_bar : bool, default True

    Returns
    -------
    Calibration
        `table`, `summary()` and `plot()`. An interrupt keeps the batches of replicates that are
        complete, if there is one.

    Raises
    ------
    ValueError
        If an argument is not as described.

    References
    ----------
    Talts et al. (2018), arXiv:1804.06788. Modrak et al. (2023), *Bayesian Analysis*.
    Sailynoja, Burkner and Vehtari (2022), *Statistics and Computing* 32, 32.

    Examples
    --------
    >>> from bayesgmm import MCMCGaussianMixture, calibrate
    >>> model = MCMCGaussianMixture(2)
    >>> found = calibrate(model, means=[0.0], sds=[1.0], n_points=8, n_replicates=20,
    ...                   n_samples=19, thin=2, random_state=0, progress_bar=False)
    >>> found.ranks.shape[0], bool(found.ranks.max().max() <= 19)
    (20, True)
    """
    own = _checked(quantities, n_replicates, n_samples, thin, n_warmup)
    points = _scaling_points(X, means, sds, n_points)
    N = len(points) if n_points is None else n_points
    estimator, spec = _specified(estimator, points, "estimator")
    origin = spec if truth is None else _specified(truth, points, "truth")[1]
    rng = np.random.default_rng(check_random_state(random_state).randint(2**32, dtype=np.uint32))
    engine = ENGINES[estimator.sampler_](spec, estimator)
    with Bar(progress_bar) as bar:
        run = Run(engine, origin, rng, N, Asked(n_samples, thin, n_warmup), own, bar)
        found = run.batches(n_replicates)
    return _result(found, n_replicates, rng)


def _checked(quantities: Any, *numbers: Any) -> dict[str, Callable]:
    lows = {"n_replicates": 2, "n_samples": 4, "thin": 1, "n_warmup": 0}
    for (name, low), value in zip(lows.items(), numbers, strict=True):
        if value is not None or low > 1:
            check_number(value, name, integer=True, low=low)
    own = {} if quantities is None else quantities
    if not isinstance(own, dict) or not all(map(callable, own.values())):
        raise ValueError(
            f"quantities must be a dict from names to functions of the draws, got {quantities!r}."
        )
    return own


def _scaling_points(X: Any, means: Any, sds: Any, n_points: Any) -> Any:
    """X, or points with the means and standard deviations stated."""
    if n_points is not None:
        check_number(n_points, "n_points", integer=True, low=2)
    stated = means is not None or sds is not None
    if X is not None and not stated:
        return X
    if X is not None or means is None or sds is None or n_points is None:
        raise ValueError(
            "the prior must be scaled either by X or by means, sds and n_points: got "
            + ", ".join(
                f"{name}{'=None' if value is None else ' given'}"
                for name, value in dict(X=X, means=means, sds=sds, n_points=n_points).items()
            )
            + "."
        )
    centre, scale = (np.atleast_1d(np.asarray(value, float)) for value in (means, sds))
    if centre.shape != scale.shape or centre.ndim != 1 or not (scale > 0).all():
        raise ValueError(
            "means and sds must be as many numbers as there are features, sds above 0; got "
            f"means={means!r} and sds={sds!r}."
        )
    return centre + scale * _standard_points(n_points, len(centre))


def _standard_points(n: int, D: int) -> np.ndarray:
    """Points [n, D] about normal quantiles whose covariance is the identity."""
    if n <= D:
        raise ValueError(f"n_points must be above the number of features ({D}), got {n}.")
    quantiles = ndtri((np.arange(n) + 0.5) / n)
    rng = np.random.default_rng(0)
    columns = np.stack([quantiles, *(rng.permutation(quantiles) for _ in range(D - 1))], 1)
    q, r = np.linalg.qr(columns - columns.mean(0))
    return q * np.sign(np.diagonal(r)) * np.sqrt(n - 1.0)


def _specified(estimator: Any, points: Any, name: str) -> tuple[Any, Specification]:
    """A copy of the estimator, its options checked, and its model."""
    if not hasattr(estimator, "specification"):
        raise ValueError(
            f"{name} must be an MCMCGaussianMixture, whose sampler can be calibrated; got "
            f"{type(estimator).__name__}."
        )
    copy = clone(estimator)
    return copy, copy.specification(points)


def _gibbs(spec: Specification, estimator: Any) -> Engine:
    return GibbsEngine(spec, estimator.max_components)


def _nuts(spec: Specification, estimator: Any) -> Engine:
    from bayesgmm.estimators.nuts import NutsEngine  # NumPyro takes a second

    return NutsEngine.of(spec, estimator.covariance_type, estimator.max_components)


ENGINES = {"gibbs": _gibbs, "nuts": _nuts}
"""Samplers by name."""


# --- ranks ----------------------------------------------------------------------------------------


def _result(found: list[Batch], n_replicates: int, rng: np.random.Generator) -> Calibration:
    import pandas as pd

    ranks, correlation = {}, {}
    for name in found[0].truth:
        truth, draws = (
            np.concatenate([part[name] for part in parts])[:n_replicates]
            for parts in ([batch.truth for batch in found], [batch.draws for batch in found])
        )
        ranks[name] = randomised_ranks(truth, draws, rng)
        correlation[name] = correlations(draws)[1]
    asked = found[0].asked
    table = pd.DataFrame(ranks).rename_axis("replicate")
    pit = (table + rng.uniform(size=table.shape)) / (asked.n_samples + 1)
    crowded = float(np.mean([batch.crowded for batch in found]))
    return Calibration(table, pit, *asked, pd.Series(correlation), crowded)
