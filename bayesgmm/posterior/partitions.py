"""Partitions as label vectors: contingency tables, losses, their posterior expectation.

Every loss here is a function of three sums over the contingency table of an estimate (its rows) and
a draw (its columns): of phi over the shares of the rows, of the columns and of the cells.

References
----------
Binder (1978), *Biometrika* 65, 31-38: the loss of pairs.
Hubert and Arabie (1985), *Journal of Classification* 2, 193-218: the adjusted Rand index.
Meila (2007), *Journal of Multivariate Analysis* 98, 873-895: variation of information.
Vinh, Epps and Bailey (2010), *Journal of Machine Learning Research* 11, 2837-2854: normalised
variation of information, information distance and its normalised form.
Dahl, Johnson and Mueller (2022), *Journal of Computational and Graphical Statistics* 31,
1189-1201: unequal costs, and the adjusted Rand index as a loss.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import xlogy

from bayesgmm.messages import hint, listed
from bayesgmm.posterior.draws import distinct, entered, label_rows, mean_and_mcse

Array = np.ndarray
Loss = str | tuple[str, float]

BLOCK = 1 << 22
"""Labels, or cells of tables, that are worked on together."""

NOTHING = 1e-9
"""Entropies and shares of pairs below this are rounding: the least others are 1 / N^2."""

ROUNDING = 1e-13
"""A loss below this is 0."""


# --- the losses -----------------------------------------------------------------------------------


class Phi(NamedTuple):
    """A function whose sum over shares is had from its sum T over counts: (T - at(n)) / n^power."""

    of: Callable
    at: Callable
    power: int


def _xlog2x(x: Any) -> Any:
    return xlogy(x, x) / np.log(2)


ENTROPY = Phi(_xlog2x, _xlog2x, 1)
SQUARE = Phi(np.square, np.zeros_like, 2)


class PartitionLoss(NamedTuple):
    """A row of `LOSSES`.

    Attributes
    ----------
    phi : Phi
    combine : callable
        Loss from the sums of phi over the shares of rows, columns and cells, the number of points,
        and what it costs to part points that belong together. Operators alone, so that it takes
        arrays of NumPy and of JAX.
    costs : bool
        Whether that cost may differ from one, the cost of joining points that belong apart.
    unit : str
    """

    phi: Phi
    combine: Callable
    costs: bool = False
    unit: str = ""


def _difference(rows: Any, columns: Any, cells: Any, n: Any, cost: Any) -> Any:
    return rows + cost * columns - (1 + cost) * cells


def _ratio(top: Any, bottom: Any) -> Any:
    """The quotient, or 0 where the divisor is nothing: the two partitions are then the same."""
    none = abs(bottom) < NOTHING
    return top * ~none / (bottom + none)


def _larger(a: Any, b: Any) -> Any:
    return (a + b + abs(a - b)) / 2


def _normalised_variation(rows: Any, columns: Any, cells: Any, n: Any, cost: Any) -> Any:
    return _ratio(rows + columns - 2 * cells, -cells)


def _information_distance(rows: Any, columns: Any, cells: Any, n: Any, cost: Any) -> Any:
    return _larger(rows, columns) - cells


def _normalised_distance(rows: Any, columns: Any, cells: Any, n: Any, cost: Any) -> Any:
    return _ratio(_larger(rows, columns) - cells, _larger(-rows, -columns))


def _one_minus_adjusted_rand(rows: Any, columns: Any, cells: Any, n: Any, cost: Any) -> Any:
    others = n - 1 + (n == 1)
    a, b, both = ((n * share - 1) / others for share in (rows, columns, cells))  # of all pairs
    return _ratio((a + b) / 2 - both, (a + b) / 2 - a * b)


LOSSES = {
    "vi": PartitionLoss(ENTROPY, _difference, costs=True, unit="bits"),
    "binder": PartitionLoss(SQUARE, _difference, costs=True),
    "omari": PartitionLoss(SQUARE, _one_minus_adjusted_rand),
    "nvi": PartitionLoss(ENTROPY, _normalised_variation),
    "id": PartitionLoss(ENTROPY, _information_distance, unit="bits"),
    "nid": PartitionLoss(ENTROPY, _normalised_distance),
}
"""Losses of partitions, by name."""


def partition_loss(loss: Any) -> tuple[PartitionLoss, float]:
    """The row of a loss, and its cost of parting points: from its name, or (name, cost).

    Raises
    ------
    ValueError
        If there is no such loss, or it has no such cost.
    """
    name, *cost = (loss,) if isinstance(loss, str) else loss if _is_pair(loss) else (loss, None)
    if not isinstance(name, str) or name not in LOSSES:
        raise ValueError(
            f"loss must be one of {listed(LOSSES)}, or a pair such as ('vi', 0.5); got {loss!r}."
            f"{hint(LOSSES, name)}"
        )
    row = LOSSES[name]
    if not cost:
        return row, 1.0
    if not row.costs:
        able = " and ".join(repr(other) for other, its in LOSSES.items() if its.costs)
        raise ValueError(f"loss {name!r} has no costs; {able} have. Give {name!r} alone.")
    (number,) = cost
    if isinstance(number, bool) or not isinstance(number, int | float | np.number):
        raise ValueError(f"The cost of loss {name!r} must be a number above 0, got {number!r}.")
    if not 0 < number < np.inf:
        raise ValueError(f"The cost of loss {name!r} must be finite and above 0, got {number!r}.")
    return row, float(number)


def _is_pair(loss: Any) -> bool:
    return isinstance(loss, Sequence) and len(loss) == 2


# --- tables ---------------------------------------------------------------------------------------


def blocks(n: int, each: int) -> Iterator[slice]:
    """Slices of n things, of as many as come to `BLOCK` if one of them counts `each`."""
    step = max(1, BLOCK // max(each, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def overlaps(labels: Array, reference: Array, K: int, T: int) -> Array:
    """How many points cluster t of each draw shares with cluster k of the reference, [S, K, T].

    Parameters
    ----------
    labels : ndarray [S, N]
        Below T.
    reference : ndarray [N]
        Below K.
    """
    S, N = labels.shape
    found = np.empty((S, K, T), np.int64)
    first = reference.astype(np.int64) * T
    for rows in blocks(S, N):
        part = labels[rows]
        cells = first + np.arange(len(part))[:, None] * (K * T)
        counts = np.bincount((cells + part).ravel(), minlength=len(part) * K * T)
        found[rows] = counts.reshape(-1, K, T)
    return found


def contingency(a: Array, b: Array, K: int, L: int) -> Array:
    """How many points are in cluster k of `a` and l of `b`, [K, L]."""
    return overlaps(b[None], a, K, L)[0]


def losses(estimates: Array, labels: Array, row: PartitionLoss, cost: float = 1.0) -> Array:
    """Loss of each estimate [M, N] where each of the labels [S, N] is the truth, [M, S].

    Both in order of first appearance.
    """
    N = labels.shape[1]
    tally = row.phi.of(np.arange(N + 1.0))
    share = lambda total: (total - row.phi.at(float(N))) / float(N) ** row.phi.power  # noqa: E731
    one = np.zeros(N, np.int64)
    columns = share(_sums(one, labels, tally))
    found = np.empty((len(estimates), len(labels)))
    for estimate, out in zip(estimates, found, strict=True):
        rows = share(tally[np.bincount(estimate)].sum())
        cells = share(_sums(estimate.astype(np.int64), labels, tally))
        out[:] = row.combine(rows, columns, cells, float(N), cost)
    found[found < ROUNDING] = 0
    return found


def _sums(estimate: Array, labels: Array, tally: Array) -> Array:
    """Sums of phi over the cells of the tables of one estimate [N] with each of the labels, [S]."""
    S, N = labels.shape
    K = int(estimate.max()) + 1
    size = (int(labels.max()) + 1) * K
    add_up = _by_counting if size <= 4 * N else _by_sorting
    found = np.empty(S)
    for rows in blocks(S, max(N, min(size, 4 * N))):
        found[rows] = add_up(labels[rows] * np.int64(K) + estimate, size, tally)
    return found


def _by_counting(cell: Array, size: int, tally: Array) -> Array:
    S = len(cell)
    cell += size * np.arange(S)[:, None]
    return tally[np.bincount(cell.ravel(), minlength=S * size)].reshape(S, size).sum(1)


def _by_sorting(cell: Array, size: int, tally: Array) -> Array:
    """The same where most cells are empty."""
    S, N = cell.shape
    cell.sort(axis=1)
    heads = np.ones((S, N), bool)
    heads[:, 1:] = cell[:, 1:] != cell[:, :-1]
    starts = np.flatnonzero(heads)
    counts = np.diff(starts, append=S * N)
    return np.bincount(starts // N, tally[counts], minlength=S)


def expected_variation(candidates: Array, draws: Array) -> Array:
    """Mean variation of information of each candidate [M, N] from the draws [S, N], [M] bits."""
    return losses(candidates, draws, LOSSES["vi"]).mean(1)


# --- what they are expected to be -----------------------------------------------------------------


def expected_loss(
    labels: Any, draws: Any, loss: Loss = "vi", weights: Any = None, return_mcse: bool = False
) -> Any:
    """Posterior expectation of the loss of one partition, or of several.

    It is the mean over the draws of the loss itself, not of a bound.

    Parameters
    ----------
    labels : array_like [N] or [M, N]
        The partition, or partitions, that would be reported: whole numbers, equal where points are
        in one cluster.
    draws : array_like [S, N] or [C, S, N]
        Labels of each draw: of one sampler, or of C chains.
    loss : str or (str, float), default "vi"
        With a the estimate and b the draw, entropies H and mutual information I in bits:

        - ``"vi"``: variation of information H(a) + H(b) - 2 I(a, b);
        - ``"binder"``: pairs of points that are together in one and apart in the other, times
          2 / N^2 (the N-invariant form);
        - ``"omari"``: one minus the adjusted Rand index;
        - ``"nvi"``: variation of information over the joint entropy, 1 - I / H(a, b);
        - ``"id"``: information distance max(H(a), H(b)) - I;
        - ``"nid"``: 1 - I / max(H(a), H(b)).

        ``("vi", cost)`` and ``("binder", cost)``: to part two points that belong together costs so
        much, and to join two that belong apart costs one; the smaller, the more clusters. What is
        0 / 0 is 0: the partitions are the same.
    weights : array_like [S] or [C, S], optional
        Of the draws. An exact posterior is given as every partition with its probability.
    return_mcse : bool, default False
        Also the Monte Carlo standard error: between chains, or without them between about sqrt(S)
        batches of draws; NaN for weights without chains and for fewer than four draws.

    Returns
    -------
    float or ndarray [M]
        Or two of them.

    Raises
    ------
    TypeError, ValueError
        If labels are no whole numbers, shapes do not fit, or there is no such loss.

    Examples
    --------
    >>> from bayesgmm import expected_loss
    >>> draws = [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 2]]
    >>> f"{expected_loss([0, 0, 1, 1], draws, loss='binder'):.4f}"
    '0.1250'

    References
    ----------
    Those of this module, and Wade and Ghahramani (2018), *Bayesian Analysis* 13, 559-626.
    """
    row, cost = partition_loss(loss)
    known = entered(draws, weights)
    estimates, alone = label_rows(labels, known.labels.shape[1])
    parted, _, which = distinct(known)
    values = losses(estimates, parted, row, cost)[:, which]
    found = mean_and_mcse(values.T, known)
    mean, mcse = (part[0].item() if alone else part for part in found)
    return (mean, mcse) if return_mcse else mean
