"""The posterior of any functional of the mixture, from draws whatever their labels."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from bayesgmm.core.arrays import float_scope
from bayesgmm.core.mixture import Mixture
from bayesgmm.posterior.intervals import check_options, described

TOGETHER = 256
"""Mixtures that a functional is evaluated at together."""


def posterior_expectation(
    f: Callable[[Mixture], Any],
    mixtures: Mixture,
    *,
    level: float = 0.95,
    interval: str = "equal-tailed",
    vectorize: bool = True,
    relabelled: bool = False,
) -> Any:
    """Posterior of a functional of the mixture: mean, interval and Monte Carlo error.

    Parameters
    ----------
    f : callable
        From one `core.Mixture` to a number, an array, or a dict of such. A component of log weight
        -inf is absent.
    mixtures : Mixture
        Draws [C, S, ...], such as `MCMCGaussianMixture.mixtures()` returns, or [S, ...] of one
        chain.
    level, interval
        Probability of the credible interval; "equal-tailed", or "hdi" for the shortest.
    vectorize : bool, default True
        Whether `f` is written with jax.numpy, and compiled to run on many draws at once, in double
        precision. If not, it is called with NumPy arrays for one draw after the other.
    relabelled : bool, default False
        Whether a component is the same one in every draw, so that `f` may depend on their order.

    Returns
    -------
    DataFrame
        A row each number that `f` returns: `mean`, `sd`, `lower`, `upper`, `mcse`, `ess_bulk`,
        `ess_tail`, `r_hat`.

    Raises
    ------
    TypeError
        If `f` cannot be compiled, or is no function of a mixture.
    ValueError
        If `f` is not finite at some draw.

    Warns
    -----
    UserWarning
        If `f` changes with the order of the components, which means nothing: its posterior is that
        of no quantity.

    Examples
    --------
    The probability of a point above 2:

    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> from jax.scipy.stats import norm
    >>> from bayesgmm.core import Mixture
    >>> from bayesgmm.posterior.expectation import posterior_expectation
    >>> rng = np.random.default_rng(0)
    >>> draws = Mixture(
    ...     np.log(np.full((2, 100, 2), 0.5)),
    ...     np.array([[-4.0], [4.0]]) + rng.normal(0, 0.1, (2, 100, 2, 1)),
    ...     np.ones((2, 100, 2, 1, 1)),
    ... )
    >>> def above(mixture):
    ...     tails = norm.sf(2, mixture.means[:, 0], mixture.scales[:, 0, 0])
    ...     return jnp.exp(mixture.log_weights) @ tails
    >>> posterior_expectation(above, draws)["mean"].round(2)
    above    0.49
    Name: mean, dtype: float64
    """
    check_options(level, interval)
    if not callable(f):
        raise TypeError(f"f must be a function of a Mixture, got {f!r}.")
    flat, shape = _flat(mixtures)
    with float_scope("float64"):
        values, names = (_compiled if vectorize else _looped)(f, _with_turned(flat))
    *values, first, turned = values
    if not relabelled:
        _check_label_free(first, turned, names)
    values = np.array(values)
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise ValueError(
            f"f must be finite; it is not in {int(bad.sum())} of {len(bad)} draws. A component of "
            "log weight -inf is absent: multiply by exp(log_weights), or leave it out."
        )
    draws = [column.reshape(shape) for column in values.T]
    return described(draws, level, interval).set_axis(names)


def _flat(mixtures: Any) -> tuple[Mixture, tuple[int, int]]:
    """Draws [S, ...] and the numbers of chains and of draws of each."""
    try:
        leaves = [np.asarray(leaf) for leaf in mixtures]
        means, fits = leaves[1], len(leaves) == 3
    except (TypeError, IndexError):
        leaves, fits = [], False
    if not fits or leaves[0].ndim not in (2, 3) or means.shape[:-1] != leaves[0].shape:
        raise ValueError(
            "mixtures must be a Mixture of draws, log_weights [C, S, K], means [C, S, K, D] and "
            f"scales [C, S, K, D, D]; got {[leaf.shape for leaf in leaves] or mixtures!r}."
        )
    lead = leaves[0].shape[:-1]
    if leaves[2].shape[: len(lead)] != lead:
        raise ValueError(f"scales must begin with {lead}, as log_weights; got {leaves[2].shape}.")
    shape = lead if len(lead) == 2 else (1, *lead)
    return Mixture(*(leaf.reshape(-1, *leaf.shape[len(lead) :]) for leaf in leaves)), shape


def _compiled(f: Callable, flat: Mixture) -> tuple[np.ndarray, list[str]]:
    """Values [S, M] of `f` and their names."""
    together = min(TOGETHER, len(flat.means))
    try:
        found = jax.jit(lambda draws: jax.lax.map(f, draws, batch_size=together))(flat)
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError) as error:
        raise TypeError(
            "f cannot be compiled: it takes arrays out of JAX, or goes by their values. Write it "
            f"with jax.numpy, or set vectorize=False. JAX says: {str(error).splitlines()[0]}"
        ) from error
    return _columns(f, jax.tree.map(np.asarray, found), len(flat.means))


def _looped(f: Callable, flat: Mixture) -> tuple[np.ndarray, list[str]]:
    each = [f(Mixture(*leaves)) for leaves in zip(*flat, strict=True)]
    found = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *each)
    return _columns(f, found, len(each))


def _columns(f: Callable, found: Any, S: int) -> tuple[np.ndarray, list[str]]:
    """Leaves [S, ...] side by side, [S, M], each element under its name."""
    own = getattr(f, "__name__", "f")
    own = "f" if own == "<lambda>" else own
    columns, names = [], []
    for path, leaf in jax.tree_util.tree_flatten_with_path(found)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator=".") or own
        columns.append(np.asarray(leaf, float).reshape(S, -1))
        places = np.ndindex(leaf.shape[1:])
        names += [f"{name}[{', '.join(map(str, at))}]" if at else name for at in places]
    if not names:
        raise TypeError("f must return numbers; it returns none.")
    return np.concatenate(columns, axis=1), names


def _with_turned(flat: Mixture) -> Mixture:
    """The draws, and behind them the first again, and with its components the other way round."""
    first = [leaf[:1] for leaf in flat]
    turned = [leaf[:, ::-1] for leaf in first]
    return Mixture(*(np.concatenate(leaves) for leaves in zip(flat, first, turned, strict=True)))


def _check_label_free(first: np.ndarray, turned: np.ndarray, names: list[str]) -> None:
    """A warning where the values [M] of `f` are others with the components in another order."""
    with np.errstate(invalid="ignore"):
        away = np.abs(turned - first) > 1e-6 * np.abs(first) + 1e-9 * np.abs(first).max()
    if away.any():
        at = int(away.argmax())
        warnings.warn(
            "f depends on the order of the components, which changes from draw to draw: "
            f"{names[at]} is {first[at]:.4g}, and {turned[at]:.4g} with the components the other "
            "way round. Give mixtures whose clusters are matched, and relabelled=True.",
            UserWarning,
            stacklevel=3,
        )
