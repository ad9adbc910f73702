"""Credible balls: how far from a partition the posterior reaches, and its extremes there.

References
----------
Wade and Ghahramani (2018), *Bayesian Analysis* 13, 559-626, section 4.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayesgmm.arguments import check_level, check_number
from bayesgmm.posterior.draws import distinct, entered, label_vector
from bayesgmm.posterior.partitions import Loss, losses, partition_loss

Array = np.ndarray

TIE = 1e-9
"""Distances that differ by no more are equal."""


@dataclass(frozen=True, eq=False)
class CredibleBall:
    """The partitions around an estimate that hold a share of the posterior, and their extremes.

    Attributes
    ----------
    labels : ndarray [N]
        The estimate: its labels as given, where they are 0 to K - 1, or in order of appearance.
    radius : float
        The least distance within which at least `level` of the posterior lies.
    horizontal : ndarray [T, N]
        The partitions of the ball that are farthest from the estimate, labels in order of first
        appearance, as those of the other bounds.
    upper : ndarray [T, N]
        Of those with the fewest clusters, the farthest.
    lower : ndarray [T, N]
        Of those with the most clusters, the farthest.
    level : float
    coverage : float
        The share of the posterior in the ball, at least `level`.
    loss : str or (str, float)
    distances : dict
        Of ``"horizontal"``, ``"upper"`` and ``"lower"``: their distance from the estimate.
    ties : dict
        Likewise: how many partitions are equally extreme, those left out over `max_ties` as well.
    """

    labels: Array
    radius: float
    horizontal: Array = field(repr=False)
    upper: Array = field(repr=False)
    lower: Array = field(repr=False)
    level: float
    coverage: float
    loss: Loss
    distances: dict[str, float]
    ties: dict[str, int]

    def __repr__(self) -> str:
        """What was found, in a few lines."""
        unit = partition_loss(self.loss)[0].unit
        lines = [
            f"CredibleBall of {self.level:.4g} around {self.labels.max() + 1} clusters",
            f"radius {self.radius:.4g} {unit}".rstrip() + f" ({self.loss!r}), which holds "
            f"{self.coverage:.4g} of the posterior",
        ]
        for name in ("upper", "lower", "horizontal"):
            counts = np.unique(getattr(self, name).max(1) + 1)
            clusters = " or ".join(map(str, counts))
            more = f", {self.ties[name]} alike" if self.ties[name] > 1 else ""
            lines.append(f"{name}: {clusters} clusters at {self.distances[name]:.4g}{more}")
        return "\n  ".join(lines)


def credible_ball(
    draws: Any,
    labels: Any,
    level: float = 0.95,
    loss: Loss = "vi",
    weights: Any = None,
    max_ties: int = 100,
) -> CredibleBall:
    """The credible ball around a partition, with its horizontal, upper and lower bounds.

    The ball is that of least radius whose partitions have a posterior probability of at least
    `level`. Its bounds say what else the data allow: the upper vertical bound the fewest clusters,
    the lower the most, the horizontal one what is least like the estimate. Distances within 1e-9 of
    each other are equal: all draws at the radius are in the ball, whatever their order, and all
    that are equally extreme are bounds, the most probable first and equally probable ones in the
    order of their labels.

    Parameters
    ----------
    draws : array_like [S, N] or [C, S, N]
        Labels of each draw: of one sampler, or of C chains.
    labels : array_like [N]
        The estimate, such as that of `point_partition` with the same loss.
    level : float in (0, 1), default 0.95
    loss : str or (str, float), default "vi"
        As `expected_loss` has it. The distance of a draw is the loss of the estimate where the draw
        is the truth. With unequal costs the two do not change places, and neither that loss nor
        "omari" is a metric; the ball is then the set of partitions under which the estimate costs
        at most the radius.
    weights : array_like [S] or [C, S], optional
        Of the draws. An exact posterior is given as every partition with its probability. One that
        is given with weight 0 may be a bound like any other: leave out what cannot be.
    max_ties : int, default 100
        Partitions that each bound has at most.

    Returns
    -------
    CredibleBall
        With `radius`, `horizontal`, `upper` and `lower`, each [T, N].

    Raises
    ------
    TypeError, ValueError
        If labels are no whole numbers, shapes do not fit, there is no such loss, or the level is
        not between 0 and 1.

    Examples
    --------
    >>> from bayesgmm import credible_ball
    >>> draws = [[0, 0, 1, 1]] * 17 + [[0, 0, 0, 0], [0, 0, 1, 2], [0, 1, 2, 3]]
    >>> ball = credible_ball(draws, [0, 0, 1, 1], level=0.9)
    >>> ball.radius, ball.lower.tolist()
    (0.5, [[0, 0, 1, 2]])
    """
    row, cost = partition_loss(loss)
    known = entered(draws, weights)
    centre = label_vector(labels, known.labels.shape[1])
    check_level(level)
    check_number(max_ties, "max_ties", integer=True, low=1)
    parted, shares, _ = distinct(known)
    far = losses(centre[None], parted, row, cost)[0]
    radius = _radius(far, shares, level)
    within = np.flatnonzero(far <= radius + TIE)
    clusters = parted[within].max(1)
    extremes = {
        "horizontal": within,
        "upper": within[clusters == clusters.min()],
        "lower": within[clusters == clusters.max()],
    }
    farthest = {name: some[far[some] >= far[some].max() - TIE] for name, some in extremes.items()}
    ranked = {name: _ranked(some, parted, shares) for name, some in farthest.items()}
    return CredibleBall(
        labels=_named(labels, centre),
        radius=radius,
        **{name: parted[some[:max_ties]] for name, some in ranked.items()},
        level=float(level),
        coverage=float(min(shares[within].sum(), 1.0)),
        loss=loss,
        distances={name: float(far[some].max()) for name, some in farthest.items()},
        ties={name: len(some) for name, some in farthest.items()},
    )


def _named(labels: Any, centre: Array) -> Array:
    """The labels by which others know the clusters, if they can be an index of them."""
    given = np.asarray(labels)
    return given.astype(centre.dtype) if set(given.tolist()) == set(centre.tolist()) else centre


def _radius(far: Array, shares: Array, level: float) -> float:
    """The least distance within which this share lies; those that are equal count together."""
    order = np.argsort(far, kind="stable")
    far, held = far[order], np.cumsum(shares[order])
    return float(far[np.searchsorted(held, level * (1 - 1e-12)).clip(max=len(far) - 1)])


def _ranked(some: Array, parted: Array, shares: Array) -> Array:
    """The most probable first (to twelve digits), then in the order of labels."""
    keys = [*parted[some].T[::-1], -np.round(shares[some], 12)]
    return some[np.lexsort(keys)]
