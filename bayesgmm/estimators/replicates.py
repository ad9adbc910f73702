"""The replicates of a calibration: run as chains, their quantities, and the ranks of the truth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from bayesgmm.core.arrays import Data, float_scope
from bayesgmm.estimators.chains import Sample, begun, in_order, labels_of
from bayesgmm.estimators.model import Specification, label_free, log_density, sample_of
from bayesgmm.estimators.points import standard_data
from bayesgmm.estimators.priors import area_of
from bayesgmm.inference import chains, splitmerge
from bayesgmm.inference.calls import Progress
from bayesgmm.inference.gibbs import GibbsPrior, GibbsState
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

        def watch(progress: Progress) -> None:
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
        keys = self.rng.integers(2**32, size=(len(each), 2), dtype=np.uint32)
        with float_scope("float64"):
            states = begun(keys, data, labels, options.alpha, spec.components, spec.config, T)
        return data, prior, states

    def labels(self, data: Data, r: int, most: int) -> np.ndarray:
        """Where the chain of a replicate begins, [N] padded."""
        rng = np.random.RandomState(self.rng.integers(2**32, dtype=np.uint32))
        return labels_of(r, data, self.n_points, self.spec.options.known, most, rng)

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
