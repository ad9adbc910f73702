"""Chains: where they begin, how they are watched, and their draws in the units of the user."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np

from bayesgmm.arguments import check_number
from bayesgmm.bars import bar
from bayesgmm.core.arrays import Data, Standardizer
from bayesgmm.core.independent import HierarchicalPrior
from bayesgmm.core.mixture import Mixture
from bayesgmm.inference.calls import Progress
from bayesgmm.inference.chains import Draws, label_free, start_all
from bayesgmm.inference.gibbs import GibbsConfig, GibbsState
from bayesgmm.inference.starts import starts

# --- where they begin -----------------------------------------------------------------------------

SEVERAL = 10
"""The most clusters that a chain begins with where their number is not known."""


def first_labels(
    data: Data,
    n_rows: int,
    known: int | None,
    most: int,
    n_chains: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Dispersed starts, [C, N] with N the padded size.

    In turn k-means, random labels, all points in one cluster, and the nearest of some points drawn
    at random; where the number of clusters is not known it is drawn anew for each chain, from 2 to
    `SEVERAL`, and no more than `most`.
    """
    return np.stack([labels_of(c, data, n_rows, known, most, rng) for c in range(n_chains)])


def labels_of(
    c: int, data: Data, n_rows: int, known: int | None, most: int, rng: np.random.RandomState
) -> np.ndarray:
    """Where the chain of this number begins, [N]."""
    found = np.zeros(data.weight.size, np.int32)
    K = min(known or rng.randint(2, SEVERAL + 1), most, n_rows)
    found[:n_rows] = BEGINNINGS[c % len(BEGINNINGS)](data, n_rows, K, rng)
    return found


def begun(
    keys: np.ndarray,
    data: Data,
    labels: np.ndarray,
    alpha: float,
    components: Any,
    config: GibbsConfig,
    T: int,
) -> GibbsState:
    """Chains of T slots that begin with these labels [C, N], under this prior of a component."""
    T += bool(config.weights == "finite" and config.moves)  # on its way a path needs one more
    hierarchical = isinstance(components, HierarchicalPrior)
    scale = components.start(config.family) if hierarchical else None
    return start_all(keys, data, labels, np.float64(alpha), config, T, scale)


def _by(name: str) -> Callable:
    def start(data: Data, n_rows: int, K: int, rng: np.random.RandomState) -> np.ndarray:
        found = starts(name, [data], n_rows, K, 1, rng)[0]
        return found if found.ndim == 1 else found.argmax(0)

    return start


def _random(data: Data, n_rows: int, K: int, rng: np.random.RandomState) -> np.ndarray:
    return rng.randint(K, size=n_rows)


def _together(data: Data, n_rows: int, K: int, rng: np.random.RandomState) -> np.ndarray:
    return np.zeros(n_rows, int)


def _nearest(data: Data, n_rows: int, K: int, rng: np.random.RandomState) -> np.ndarray:
    points = np.asarray(data.points)[:, :n_rows]
    centres = points[:, rng.choice(n_rows, K, replace=False)]
    distances = [np.square(points - centre[:, None]).sum(0) for centre in centres.T]
    return np.argmin(distances, axis=0)


BEGINNINGS = (_by("kmeans"), _random, _together, _nearest)


# --- how long they are ----------------------------------------------------------------------------

MOST_THIN = 64
"""Sweeps a draw that `thin="auto"` comes to at the most."""

LONGEST = {"gibbs": 1e8, "nuts": 3e6}
"""Points x sweeps of a chain to which it goes: about a minute or two."""


def check_thin(value: Any) -> None:
    """`thin`: an integer of at least 1, or "auto".

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"thin must be an integer of at least 1 or 'auto', got {value!r}.")
        return
    check_number(value, "thin", integer=True, low=1)


def most_thin(sampler: str, looks: int) -> int:
    """The most sweeps a draw, of so many points x draws of a chain."""
    return min(MOST_THIN, int(LONGEST[sampler] // looks))


# --- how they are watched -------------------------------------------------------------------------


PATIENCE = 1.0
"""Seconds before a bar is shown."""


class Bar:
    """A progress bar on standard error, which a run shorter than a second does not show."""

    def __init__(self, shown: bool, name: str = "sampling"):
        self.shown, self.name, self.bar = shown, name, None

    def __call__(self, progress: Progress) -> None:
        """Show how far the run is."""
        if not self.shown:
            return
        if self.bar is None:
            self.bar = bar(total=progress.total, desc=self.name, unit="sweep", delay=PATIENCE)
        self.bar.update(progress.done - self.bar.n)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the line as it is."""
        if self.bar is not None:
            self.bar.close()


# --- their draws ----------------------------------------------------------------------------------


class Sample(NamedTuple):
    """Draws in the user's units; of each, the clusters come first, from the largest down.

    Attributes
    ----------
    labels : ndarray [C, S, N]
    mixtures : Mixture
        [C, S, T, ...] with scales [C, S, T, D, D]; the components without points come after the
        clusters, and log weights are -inf where there is no component.
    counts : ndarray [C, S, T]
    n_components : ndarray [C, S]
        0 where it is infinite.
    alpha : ndarray [C, S]
    log_likelihood : ndarray [C, S]
        Labels summed out.
    scale : ndarray [C, S, ...]
        C0 of a hierarchical prior: [D, D], [D] or []; otherwise 0.
    """

    labels: np.ndarray
    mixtures: Mixture
    counts: np.ndarray
    n_components: np.ndarray
    alpha: np.ndarray
    log_likelihood: np.ndarray
    scale: np.ndarray

    @property
    def n_clusters(self) -> np.ndarray:
        """Clusters with points, [C, S]."""
        return (self.counts > 0).sum(-1)

    @property
    def hierarchical(self) -> bool:
        """Whether there is a C0."""
        return bool(np.any(self.scale))

    def label_free(self) -> dict[str, np.ndarray]:
        """Quantities [C, S] that do not depend on which label is which."""
        return label_free(self.counts, self.mixtures.log_weights, self.log_likelihood)

    def flat(self) -> "Sample":
        """All chains one after the other: C x S draws."""
        merge = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])  # noqa: E731
        mixtures = Mixture(*map(merge, self.mixtures))
        return Sample(merge(self.labels), mixtures, *map(merge, self[2:]))


def check_finite_draws(log_likelihood: np.ndarray) -> None:
    """Every draw of the chains, [C, S], has a likelihood.

    Raises
    ------
    ValueError
        If a covariance became singular to rounding on the way.
    """
    lost = np.argwhere(np.isnan(log_likelihood))
    if len(lost):
        c, s = lost[0]
        raise ValueError(
            f"chain {c} was lost at draw {s}: a covariance became singular to rounding, and what "
            "follows are not numbers. Leave out columns that nearly are combinations of others, "
            "or set component_prior='conjugate', which holds every covariance above a floor."
        )


def in_order(draws: Draws, units: Standardizer, n_points: float, area: np.ndarray) -> Sample:
    """Draws of the sampler as a `Sample`; `area` takes the scale to the user's units."""
    absent = np.isneginf(draws.log_weights) & (draws.counts == 0)
    order = np.argsort(np.where(absent, 1, -draws.counts), axis=-1, kind="stable")
    T = int((~absent).sum(-1).max())
    order = order[..., :T]
    counts = np.take_along_axis(draws.counts, order, -1)
    log_weights = np.take_along_axis(draws.log_weights, order, -1)
    means = np.take_along_axis(draws.means, order[..., None], 2)
    scales = _square(draws.scales)
    if scales.shape[2] == 1:
        scales = np.broadcast_to(scales, (*scales.shape[:2], T, *scales.shape[3:]))
    else:
        scales = np.take_along_axis(scales, order[..., None, None], 2)
    mixtures = Mixture(
        log_weights, units.centre + units.scale * means, units.scale[:, None] * scales
    )
    return Sample(
        _renamed(draws.labels, order),
        mixtures,
        counts,
        draws.n_components,
        draws.alpha,
        draws.log_likelihood - n_points * units.log_volume,
        _scale(draws.scale, area),
    )


def _scale(scale: np.ndarray, area: np.ndarray) -> np.ndarray:
    """C0 in the user's units, without the core's axis [1] that stands for the component."""
    if scale.ndim == 3:  # there is none
        return scale
    found = scale[:, :, 0] * area
    return found[..., 0] if area.shape == (1,) else found


def _square(scales: np.ndarray) -> np.ndarray:
    """Lower triangular scales, whatever the rank they are stored with."""
    return scales[..., None] * np.eye(scales.shape[-1]) if scales.ndim == 4 else scales


def _renamed(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Labels [C, S, N] of slots as the places that these have in `order` [C, S, T]."""
    C, S, T = order.shape
    places = np.zeros((C, S, max(int(order.max()), int(labels.max(initial=0))) + 1), labels.dtype)
    np.put_along_axis(places, order, np.arange(T, dtype=labels.dtype)[None, None], -1)
    return np.take_along_axis(places, labels.astype(np.intp), -1)


def joined(before: Sample | None, after: Sample) -> Sample:
    """Draws of the same chains, one after the other."""
    if before is None:
        return after
    T = max(before.counts.shape[2], after.counts.shape[2])
    pairs = zip(_wide(before, T), _wide(after, T), strict=True)
    leaves = [
        Mixture(*(np.concatenate(own, 1) for own in zip(a, b, strict=True)))
        if isinstance(a, Mixture)
        else np.concatenate([a, b], 1)
        for a, b in pairs
    ]
    return Sample(*leaves)


def _wide(sample: Sample, T: int) -> Sample:
    """With absent components up to T."""
    more = T - sample.counts.shape[2]
    log_weights, means, scales = sample.mixtures
    pad = lambda leaf, **how: np.pad(  # noqa: E731
        leaf, [(0, 0), (0, 0), (0, more), *[(0, 0)] * (leaf.ndim - 3)], **how
    )
    unit = np.repeat(scales[:, :, :1], more, axis=2)
    mixtures = Mixture(
        pad(log_weights, constant_values=-np.inf), pad(means), np.concatenate([scales, unit], 2)
    )
    return sample._replace(mixtures=mixtures, counts=pad(sample.counts))


class Sampled(NamedTuple):
    """What a sampler leaves to the estimator.

    Attributes
    ----------
    draws : inference.chains.Draws
    config : object
        That of the chains, with which they go on.
    units : Standardizer
        Those of the draws.
    prior : object
        Of the components, with all of its numbers, in the user's units.
    said : list of str
        What is wrong with the draws, in sentences, with what to do about it.
    stats : dict from name to ndarray [C, S]
        Of the sampler.
    """

    draws: Draws
    config: Any
    units: Standardizer
    prior: Any
    said: list[str]
    stats: dict[str, np.ndarray]


def joined_stats(
    before: dict[str, np.ndarray] | None, after: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Statistics of the same chains, one after the other."""
    if before is None:
        return after
    return {name: np.concatenate([before[name], after[name]], 1) for name in after}
