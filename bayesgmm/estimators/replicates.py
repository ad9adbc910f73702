"""The replicates of a calibration: run as chains, their quantities, and the ranks of the truth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.stats import rankdata

from bayesgmm.core.arrays import Data, float_scope
from bayesgmm.estimators.chains import Sample, begun, in_order, labels_of
from bayesgmm.estimators.model import Specification, label_free, log_density, sample_of
from bayesgmm.estimators.points import standard_data
from bayesgmm.estimators.priors import area_of
from bayesgmm.inference import calls, chains, splitmerge
from bayesgmm.inference.calls import Lane
from bayesgmm.inference.simulate import Simulated

CORRELATION = 0.05
"""Autocorrelation of two draws that are kept one after the other."""

BATCH = 128
"""Replicates that go on together."""

PILOT, LONGEST = 300, 50
"""Sweeps from which the thinning is found, and the longest there may be."""

SLOTS = 32
"""Slots of a chain where the number of components is not known."""


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
    found = {**label_free(sample, spec.options), "largest_cluster": sample.counts.max(-1)}
    found["log_density"] = log_density(sample.mixtures, spec.centre[None])[..., 0]
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


class Engine(Protocol):
    """A sampler with a chain for each replicate, all of them on their way together.

    `inference.calls.Lane` holds the chains, their points [R, D, N], and the prior.
    """

    spec: Specification
    warmup: int
    """The least number of sweeps before the first draw, where it is not given."""

    def begun(self, each: list[Data], n_points: int, rng: np.random.Generator) -> Lane:
        """Chains at the beginning, for points [D, N] of each in the sampler's units."""
        ...

    def run(self, begin: Lane, asked: calls.Asked, watch: Callable | None) -> chains.Draws:
        """So many draws of each chain."""
        ...

    def crowded(self, draws: chains.Draws) -> float:
        """Share of what was drawn that had no room for another component."""
        ...


@dataclass(frozen=True)
class GibbsEngine:
    """Gibbs sampling; `most` is the estimator's `max_components`."""

    spec: Specification
    most: int | None
    warmup: int = 200

    def begun(self, each: list[Data], n_points: int, rng: np.random.Generator) -> Lane:
        """See `Engine`."""
        spec, options, moves = self.spec, self.spec.options, None
        if spec.config.moves:
            moves = splitmerge.Moves(np.stack([splitmerge.neighbours(one) for one in each]))
        prior = spec.prior._replace(components=spec.components, moves=moves)
        T = options.known or min(SLOTS, self.most or SLOTS)
        if options.most and not options.known:  # no K beyond it: nothing is lost
            T = min(T, options.most + 1)
            numbers = prior.weights.log_n_components[: options.most]
            prior = prior._replace(weights=prior.weights._replace(log_n_components=numbers))
        labels = dispersed(each, n_points, options.known, min(T, options.most or T), rng)
        keys, data = keys_of(each, rng), stacked(each)
        with float_scope("float64"):
            states = begun(keys, data, labels, options.alpha, spec.components, spec.config, T)
        return Lane(states, data, prior)

    def run(self, begin: Lane, asked: calls.Asked, watch: Callable | None) -> chains.Draws:
        """See `Engine`."""
        T = begin.states.mixture.log_weights.shape[1]
        with float_scope("float64"):
            return chains.run(*begin, self.spec.config, *asked, T, watch)

    def crowded(self, draws: chains.Draws) -> float:
        """See `Engine`: sweeps."""
        return float(draws.crowded.sum() / max(draws.state.sweep.sum(), 1))


def stacked(each: list[Data]) -> Data:
    """Points of all replicates, [R, D, N]."""
    return Data(*(np.stack(leaves) for leaves in zip(*each, strict=True)))


def keys_of(each: list[Data], rng: np.random.Generator) -> np.ndarray:
    """Of the chains, [R, 2]."""
    return rng.integers(2**32, size=(len(each), 2), dtype=np.uint32)


def dispersed(
    each: list[Data], n_points: int, known: int | None, most: int, rng: np.random.Generator
) -> np.ndarray:
    """Where the chains begin, [R, N]: each in one of the ways that the chains of a fit do."""
    seeds = rng.integers(2**32, size=len(each), dtype=np.uint32)
    return np.stack(
        [
            labels_of(r, one, n_points, known, most, np.random.RandomState(seed))
            for r, (one, seed) in enumerate(zip(each, seeds, strict=True))
        ]
    )


@dataclass
class Run:
    """What the batches of a calibration have in common."""

    engine: Engine
    origin: Specification
    rng: np.random.Generator
    n_points: int
    asked: Asked
    own: dict[str, Callable]
    watch: Callable

    @property
    def spec(self) -> Specification:
        """Of the model that is sampled."""
        return self.engine.spec

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
        each = [standard_data(points, None, self.spec.units) for points in drawn.points]
        begin = self.engine.begun(each, self.n_points, self.rng)
        if self.asked.thin is None:
            pilot = self.advanced(begin, calls.Asked(PILOT, 1, PILOT))
            values = self.quantities(pilot, drawn.points)
            self.asked = self.asked._replace(thin=thinning(values.values()))
        if self.asked.n_warmup is None:
            warmup = max(self.engine.warmup, 20 * self.asked.thin)
            self.asked = self.asked._replace(n_warmup=warmup)

        def watch(progress: calls.Progress) -> None:
            total = progress.total
            self.watch(progress._replace(done=b * total + progress.done, total=number * total))

        draws = self.advanced(begin, calls.Asked(*self.asked), watch)
        crowded = self.engine.crowded(draws)
        return Batch(self.true(drawn), self.quantities(draws, drawn.points), self.asked, crowded)

    def advanced(
        self, begin: Lane, asked: calls.Asked, watch: Callable | None = None
    ) -> chains.Draws:
        """The draws of a batch; KeyboardInterrupt if it was interrupted."""
        draws = self.engine.run(begin, asked, watch)
        if draws.interrupted:
            raise KeyboardInterrupt("before the first batch of replicates was complete")
        return draws

    def quantities(self, draws: chains.Draws, points: np.ndarray) -> dict[str, np.ndarray]:
        """Of the draws of a batch, [R, S]."""
        sample = in_order(
            draws, self.spec.units, self.n_points, area_of(self.spec.units, self.spec.family)
        )
        return quantities_of(sample, points, self.spec, self.own)

    def true(self, drawn: Simulated) -> dict[str, np.ndarray]:
        """Of the truth, [R, 1]."""
        return quantities_of(sample_of(drawn, self.spec.family), drawn.points, self.spec, self.own)


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
