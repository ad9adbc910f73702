r"""Simulation-based calibration of a sampler: it must find what was drawn from the prior.

Parameters are drawn from the prior and data given these; the posterior of the data is sampled, and
the rank of a true quantity among its posterior draws is noted. If prior, likelihood and sampler
belong together the rank is uniform, whatever the quantity, one that depends on the data too
(Modrak et al. 2023). Every quantity here is free of labels.

Ranks need draws that are nearly independent. The draws are thinned by the first lag at which the
autocorrelation of every quantity, pooled over a first batch of replicates, is below
`CORRELATION`. Ties, of which whole numbers have many, are broken at random. Each replicate is a
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
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.utils import check_random_state

from bayesgmm.core.arrays import Data, float_scope
from bayesgmm.core.independent import HierarchicalPrior
from bayesgmm.estimators.chains import BEGINNINGS, SEVERAL, Bar, Sample, in_order
from bayesgmm.estimators.checks import check_number
from bayesgmm.estimators.model import Specification, log_density, sample_of
from bayesgmm.estimators.points import standard_data
from bayesgmm.inference import chains, splitmerge
from bayesgmm.inference.gibbs import GibbsPrior, GibbsState
from bayesgmm.inference.simulate import Simulated
from bayesgmm.posterior import uniformity

CORRELATION = 0.05
"""Autocorrelation of two draws that are kept one after the other."""

BATCH = 128
"""Replicates that go on together."""

PILOT, LONGEST = 300, 50
"""Sweeps from which the thinning is found, and the longest there may be."""

SLOTS = 32
"""Slots of a chain where the number of components is not known."""

LEVEL = 0.05
"""Probability with which a calibrated sampler is called something else."""


# --- quantities -----------------------------------------------------------------------------------


class Replicates(NamedTuple):
    """Draws of several replicates: what a quantity is computed from.

    Attributes
    ----------
    weights : ndarray [R, S, T]
        0 where there is no component.
    means : ndarray [R, S, T, D]
    covariances : ndarray [R, S, T, D, D]
    labels : ndarray [R, S, N]
    X : ndarray [R, N, D]
        The points of each replicate.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    labels: np.ndarray
    X: np.ndarray


def mixture_mean(draws: Replicates) -> np.ndarray:
    """Mean of the mixture in the first feature, [R, S]."""
    return (draws.weights * draws.means[..., 0]).sum(-1)


def mixture_sd(draws: Replicates) -> np.ndarray:
    """Standard deviation of the mixture in the last feature, [R, S]."""
    means, variances = draws.means[..., -1], draws.covariances[..., -1, -1]
    second = (draws.weights * (variances + np.square(means))).sum(-1)
    return np.sqrt(second - np.square((draws.weights * means).sum(-1)))


def typical_size(draws: Replicates) -> np.ndarray:
    """Mean log determinant of the covariances, weighted, [R, S]."""
    return (draws.weights * np.linalg.slogdet(draws.covariances)[1]).sum(-1)


QUANTITIES: dict[str, Callable[[Replicates], np.ndarray]] = {
    "mixture_mean": mixture_mean,
    "mixture_sd": mixture_sd,
    "log_determinant": typical_size,
}
"""Quantities beside those that `diagnose` has."""


def quantities_of(
    sample: Sample, points: np.ndarray, spec: Specification, own: dict[str, Callable]
) -> dict[str, np.ndarray]:
    """Every quantity of draws [R, S], by name."""
    log_weights, means, scales = sample.mixtures
    found = {**sample.label_free(), "largest_cluster": sample.counts.max(-1)}
    if spec.options.kind.weights in ("static", "dynamic"):
        found["n_components"] = sample.n_components
    if spec.options.learned is not None:
        found["concentration"] = sample.alpha
    centre = np.asarray(spec.prior.components.mean, float)
    found["log_density"] = log_density(sample.mixtures, centre)[..., 0]
    covariances = scales @ np.swapaxes(scales, -1, -2)
    draws = Replicates(np.exp(log_weights), means, covariances, sample.labels, points)
    for name, quantity in (QUANTITIES | own).items():
        value = np.asarray(quantity(draws), float)
        if value.shape != sample.alpha.shape:
            raise ValueError(
                f"quantities[{name!r}] must return one number for each draw, an array of shape "
                f"{sample.alpha.shape}; got shape {value.shape}."
            )
        found[name] = value
    return found


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
        Share of the sweeps that needed more slots than there were.
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
            f"Simulation-based calibration, {R} replicates of {self.n_samples} draws, every "
            f"{self.thin}th of a chain after {self.n_warmup} sweeps: {said}.",
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
            lines += ["", f"{self.crowded:.1e} of the sweeps needed more slots than {SLOTS}."]
        return "\n".join(lines)

    def __str__(self) -> str:
        """`summary`."""
        return self.summary()

    def plot(self, *, prob: float = 0.95) -> Any:
        """Distribution functions of the PIT values less the diagonal, with simultaneous bands.

        Parameters
        ----------
        prob : float, default 0.95
            That a calibrated quantity stays within its band.

        Returns
        -------
        matplotlib Figure
        """
        from bayesgmm.plots import plot_calibration

        bands = {name: uniformity.band(v.to_numpy(), prob) for name, v in self.pit.items()}
        return plot_calibration(bands)


# --- the whole ------------------------------------------------------------------------------------


def calibrate(
    estimator: Any,
    X: Any = None,
    *,
    n_replicates: int = 500,
    n_samples: int = 99,
    thin: int | None = None,
    n_warmup: int | None = None,
    quantities: dict[str, Callable] | None = None,
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
        Sweeps of each chain before the first draw; 20 times `thin`, and at least 200, when not
        given. Chains begin at k-means, at random labels, with all points in one cluster, and at
        the nearest of random points, in turn.
    quantities : dict of callables, optional
        More quantities by name: from `Replicates` (weights [R, S, T], means, covariances, labels,
        X) to an array [R, S]. They must not depend on which component is which.
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
    spec = _specification(estimator, points, "estimator")
    origin = spec if truth is None else _specification(truth, points, "truth")
    rng = np.random.default_rng(check_random_state(random_state).randint(2**32, dtype=np.uint32))
    most = estimator.max_components
    with Bar(progress_bar) as bar:
        run = Run(spec, origin, rng, N, Asked(n_samples, thin, n_warmup), most, own, bar)
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


def _specification(estimator: Any, points: Any, name: str) -> Specification:
    if not hasattr(estimator, "specification"):
        raise ValueError(
            f"{name} must be an MCMCGaussianMixture, whose sampler can be calibrated; got "
            f"{type(estimator).__name__}."
        )
    return clone(estimator).specification(points)


# --- one batch after the other --------------------------------------------------------------------


class Asked(NamedTuple):
    """How the chains of a batch run; None for what is to be found."""

    n_samples: int
    thin: int | None
    n_warmup: int | None


class Batch(NamedTuple):
    """Quantities of the truth [R, 1] and of the draws [R, S] of a batch, and how it was run."""

    truth: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]
    asked: Asked
    crowded: float


@dataclass
class Run:
    """What the batches of a calibration have in common."""

    spec: Specification
    origin: Specification
    rng: np.random.Generator
    n_points: int
    asked: Asked
    most: int | None
    own: dict[str, Callable]
    watch: Callable

    def batches(self, n_replicates: int) -> list[Batch]:
        """All of them, or those before an interrupt."""
        number = -(-n_replicates // BATCH)
        found: list[Batch] = []
        try:
            for b in range(number):
                found.append(self.batch(-(-n_replicates // number), b, number))
        except KeyboardInterrupt:
            if not found:
                raise
        return found

    def batch(self, size: int, b: int, number: int) -> Batch:
        """So many replicates."""
        drawn = self.origin.simulate(self.rng, self.n_points, size)
        data, prior, states = self.begun(drawn)
        given = data, prior, self.spec.config
        if self.asked.thin is None:
            pilot = self.advanced(states, *given, PILOT, 1, PILOT)
            values = self.quantities(pilot, drawn.points)
            self.asked = self.asked._replace(thin=thinning(values.values()))
        if self.asked.n_warmup is None:
            self.asked = self.asked._replace(n_warmup=max(200, 20 * self.asked.thin))
        L, thin, warmup = self.asked

        def watch(progress: chains.Progress) -> None:
            total = progress.total
            self.watch(progress._replace(done=b * total + progress.done, total=number * total))

        draws = self.advanced(states, *given, L, thin, warmup, watch)
        crowded = float(draws.crowded.sum() / max(draws.state.sweep.sum(), 1))
        return Batch(self.true(drawn), self.quantities(draws, drawn.points), self.asked, crowded)

    def advanced(
        self,
        states: GibbsState,
        data: Data,
        prior: GibbsPrior,
        config: Any,
        n_draws: int,
        thin: int,
        n_warmup: int,
        watch: Callable | None = None,
    ) -> chains.Draws:
        """The chains of a batch some sweeps further; KeyboardInterrupt if they were interrupted."""
        with float_scope("float64"):
            T = states.mixture.log_weights.shape[1]
            draws = chains.run(states, data, prior, config, n_draws, thin, n_warmup, T, watch)
        if draws.interrupted:
            raise KeyboardInterrupt("before the first batch of replicates was complete")
        return draws

    def begun(self, drawn: Simulated) -> tuple[Data, GibbsPrior, GibbsState]:
        """Data, prior and states, in the sampler's units, of chains with points of their own."""
        spec, options = self.spec, self.spec.options
        each = [standard_data(points, None, spec.units) for points in drawn.points]
        data = Data(*(np.stack(leaves) for leaves in zip(*each, strict=True)))
        moves = None
        if spec.config.moves:
            moves = splitmerge.Moves(np.stack([splitmerge.neighbours(one) for one in each]))
        prior = spec.prior._replace(components=spec.components, moves=moves)
        T = options.known or min(SLOTS, self.most or SLOTS)
        if options.most and not options.known:  # no K beyond it: nothing is lost
            T = min(T, options.most + 1)
            numbers = prior.weights.log_n_components[: options.most]
            prior = prior._replace(weights=prior.weights._replace(log_n_components=numbers))
        labels = np.stack(
            [self.labels(one, r, min(T, options.most or T)) for r, one in enumerate(each)]
        )
        T += bool(options.known and spec.config.moves)
        keys = self.rng.integers(2**32, size=(len(each), 2), dtype=np.uint32)
        hierarchical = isinstance(spec.components, HierarchicalPrior)
        scale = spec.components.start(spec.family) if hierarchical else None
        with float_scope("float64"):
            states = chains.start_all(
                keys, data, labels, np.float64(options.alpha), spec.config, T, scale
            )
        return data, prior, states

    def labels(self, data: Data, r: int, most: int) -> np.ndarray:
        """Where the chain of a replicate begins, [N] padded."""
        rng = np.random.RandomState(self.rng.integers(2**32, dtype=np.uint32))
        n = self.n_points
        K = min(self.spec.options.known or rng.randint(2, SEVERAL + 1), most, n)
        found = np.zeros(data.weight.size, np.int32)
        found[:n] = BEGINNINGS[r % len(BEGINNINGS)](data, n, K, rng)
        return found

    def quantities(self, draws: chains.Draws, points: np.ndarray) -> dict[str, np.ndarray]:
        """Of the draws of a batch, [R, S]."""
        sample = in_order(draws, self.spec.units, self.n_points)
        return quantities_of(sample, points, self.spec, self.own)

    def true(self, drawn: Simulated) -> dict[str, np.ndarray]:
        """Of the truth, [R, 1]."""
        return quantities_of(sample_of(drawn), drawn.points, self.spec, self.own)


# --- ranks ----------------------------------------------------------------------------------------


def correlations(values: np.ndarray) -> np.ndarray:
    """Autocorrelation of the ranks within each of R chains [R, S], pooled, at each lag [S]."""
    ranks = rankdata(values, axis=1)
    ranks -= ranks.mean(1, keepdims=True)
    spectrum = np.fft.rfft(ranks, 2 * values.shape[1], axis=1)
    found = np.fft.irfft(np.square(np.abs(spectrum)).sum(0))[: values.shape[1]]
    return found / found[0] if found[0] > 0 else np.zeros(len(found))


def thinning(quantities: Any) -> int:
    """The first lag at which every quantity [R, S] has little autocorrelation, or `LONGEST`."""
    large = [correlations(values)[1:LONGEST] > CORRELATION for values in quantities]
    return 1 + max(int(np.argmin(np.append(over, False))) for over in large)


def randomised_ranks(truth: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ranks [R], 0 to S, of the truth [R, 1] among draws [R, S]; equal ones in random order."""
    near = np.abs(draws - truth) <= TIE * (1.0 + np.abs(truth))
    less = ((draws < truth) & ~near).sum(1)
    return less + rng.integers(0, near.sum(1) + 1)


TIE = 1e-9
"""Numbers this near are equal but for rounding."""


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
