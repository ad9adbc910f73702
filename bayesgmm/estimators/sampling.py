"""The options of a posterior sample: checked, and as the sampler takes them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import special

from bayesgmm.arguments import check_number
from bayesgmm.core.arrays import Array, float_scope
from bayesgmm.core.concentration import ConcentrationPrior
from bayesgmm.core.partitions import (
    N_COMPONENTS_PRIORS,
    PitmanYor,
    n_components_prior,
    prior_n_clusters,
)
from bayesgmm.core.slots import SlotPrior
from bayesgmm.core.weights import FiniteMixture
from bayesgmm.estimators.component_priors import OWN_TYPES, is_numpyros
from bayesgmm.estimators.priors import DISCOUNT
from bayesgmm.inference import SAMPLERS
from bayesgmm.messages import hint, listed, lookup

KMAX = 200
"""Components that a prior over their number may reach."""

BNB = ("bnb", 1.0, 4.0, 3.0)
"""Prior of the number of components when not given (Fruhwirth-Schnatter, Malsiner-Walli and Grun
2021, section 2.3)."""


class Kind(NamedTuple):
    """One way to say how many components there are.

    Attributes
    ----------
    weights : str
        As `core.slots` names it.
    concentration : float or tuple
        When not given: a number, or the name and parameters of a prior.
    partitions : callable
        From concentration, discount, log p(K) and K to the prior over partitions.
    """

    weights: str
    concentration: Any
    partitions: Callable


KINDS = {
    "finite": Kind("finite", 1.0, lambda alpha, d, log_p, K: FiniteMixture.fixed(alpha, K)),
    "static": Kind("static", 1.0, lambda a, d, log_p, K: FiniteMixture.static(a, log_p, KMAX)),
    "dynamic": Kind(
        "dynamic", ("f", 6.0, 3.0), lambda a, d, log_p, K: FiniteMixture.dynamic(a, log_p, KMAX)
    ),
    "dp": Kind("process", ("gamma", 2.0, 4.0), lambda alpha, d, log_p, K: PitmanYor(alpha, d)),
    "py": Kind("process", ("gamma", 2.0, 4.0), lambda alpha, d, log_p, K: PitmanYor(alpha, d)),
}
"""The priors of the number of components. The Gamma is that of Escobar and West (1995), the F that
of Fruhwirth-Schnatter, Malsiner-Walli and Grun (2021)."""

CONCENTRATIONS = {"gamma": ConcentrationPrior.gamma, "f": ConcentrationPrior.f}
"""Priors of a concentration that is learned, each of two positive parameters."""

UNBOUNDED = ("mfm", "dp", "py")


class WeightOptions(NamedTuple):
    """What the options say of the weights.

    Attributes
    ----------
    name : str
        Of a row of `KINDS`.
    prior : SlotPrior
    concentration : ConcentrationPrior
    alpha : float
        The concentration, or where it begins.
    learned : tuple or None
        Name and parameters of the prior of the concentration.
    known : int or None
        The number of components.
    """

    name: str
    prior: SlotPrior
    concentration: ConcentrationPrior
    alpha: float
    learned: tuple[Any, ...] | None
    known: int | None

    @property
    def kind(self) -> Kind:
        """The row."""
        return KINDS[self.name]

    @property
    def most(self) -> int | None:
        """The largest number of components that the prior allows, if it says one."""
        if self.kind.weights == "process" or self.known:
            return self.known
        return int(np.flatnonzero(np.isfinite(self.prior.log_n_components))[-1]) + 1


def weight_options(
    n_components: Any,
    weight_prior: Any,
    concentration: Any,
    discount: Any,
    number_prior: Any,
) -> WeightOptions:
    """What the options say of the weights.

    Raises
    ------
    ValueError
        If one is not as it must be, or is given where it has no meaning.
    """
    name, known = _named(n_components, weight_prior)
    kind = KINDS[name]
    if number_prior is not None and name not in ("static", "dynamic"):
        raise ValueError(
            "n_components_prior is the prior of n_components='mfm', and has no meaning with "
            f"n_components={n_components!r}: leave it None."
        )
    if discount is not None and name != "py":
        raise ValueError(
            "discount_prior is that of n_components='py', and has no meaning with "
            f"n_components={n_components!r}: leave it None."
        )
    d = (DISCOUNT if discount is None else _discount(discount)) if name == "py" else 0.0
    alpha, learned = _concentration(kind.concentration if concentration is None else concentration)
    family, *numbers = learned or ("gamma", 1.0, 1.0)
    log_p = number_log_prior(BNB if number_prior is None else number_prior)
    prior = SlotPrior(log_p, np.float64(known or 1), np.float64(d))
    return WeightOptions(name, prior, CONCENTRATIONS[family](*numbers), alpha, learned, known)


def _named(n_components: Any, weight_prior: Any) -> tuple[str, int | None]:
    """The row of `KINDS`, and the number of components if it is known."""
    if weight_prior not in (None, "dynamic", "static"):
        raise ValueError(
            "weight_prior must be 'dynamic', 'static' or None, got "
            f"{weight_prior!r}.{hint(['dynamic', 'static'], weight_prior)}"
        )
    if n_components == "mfm":
        return weight_prior or "dynamic", None
    if weight_prior is not None:
        raise ValueError(
            "weight_prior is that of n_components='mfm', and has no meaning with "
            f"n_components={n_components!r}: leave it None."
        )
    if isinstance(n_components, str):
        if n_components not in UNBOUNDED:
            raise ValueError(
                f"n_components must be an integer, or one of {listed(UNBOUNDED)}; got "
                f"{n_components!r}.{hint(UNBOUNDED, n_components)}"
            )
        return n_components, None
    return "finite", int(check_number(n_components, "n_components", integer=True, low=1))


def _discount(value: Any) -> float:
    found = float(check_number(value, "discount_prior", low=0))
    if found >= 1:
        raise ValueError(f"discount_prior must be at least 0 and less than 1, got {value!r}.")
    return found


def _concentration(value: Any) -> tuple[float, tuple | None]:
    """Where it begins, and the name and parameters of its prior if it is learned."""
    if not isinstance(value, tuple):
        return float(check_number(value, "weight_concentration_prior", low=0, strict=True)), None
    if len(value) != 3 or value[0] not in CONCENTRATIONS:
        raise ValueError(
            "weight_concentration_prior must be a number, None, ('gamma', shape, rate) or "
            f"('f', d1, d2), got {value!r}."
        )
    name, *numbers = value
    checked = [
        float(check_number(n, f"weight_concentration_prior[{i}]", low=0, strict=True))
        for i, n in enumerate(numbers, 1)
    ]
    return 1.0, (name, *checked)


PARAMETERS = {"poisson": 1, "geometric": 1, "uniform": 1, "bnb": 3}


def number_log_prior(prior: Any) -> np.ndarray:
    """Log p(K) of K = 1, 2, ..., `KMAX`.

    Raises
    ------
    ValueError
        If the prior is not one.
    """
    if isinstance(prior, str):
        prior = (prior,)
    if isinstance(prior, tuple) and prior and isinstance(prior[0], str):
        name, *numbers = prior
        if name not in N_COMPONENTS_PRIORS or len(numbers) != PARAMETERS[name]:
            raise ValueError(
                "n_components_prior must be ('poisson', rate), ('geometric', p), "
                "('uniform', largest), ('bnb', size, a, b) or a vector of probabilities; got "
                f"{prior!r}.{hint(N_COMPONENTS_PRIORS, name)}"
            )
        numbers = [
            float(check_number(n, f"n_components_prior[{i}]", low=0, strict=True))
            for i, n in enumerate(numbers, 1)
        ]
        if name == "geometric" and numbers[0] >= 1:
            raise ValueError(f"n_components_prior: p must be less than 1, got {numbers[0]:g}.")
        return _log_prior((name, *numbers))
    found = np.asarray(prior, float)
    if found.ndim != 1 or not 1 <= len(found) <= KMAX or not np.isfinite(found).all():
        raise ValueError(
            f"n_components_prior must be a vector of up to {KMAX} probabilities, of 1, 2, ... "
            f"components; got an array of shape {found.shape}."
        )
    if (found < 0).any() or not np.isclose(found.sum(), 1.0, atol=1e-6):
        raise ValueError(
            "n_components_prior must hold probabilities that sum to one; the smallest is "
            f"{found.min():g} and the sum {found.sum():g}."
        )
    return _log_prior(found / found.sum())


def _log_prior(prior: Any) -> np.ndarray:
    named = isinstance(prior, tuple)
    name, numbers = (
        (prior[0], prior[1:]) if named else (None, np.pad(prior, (0, KMAX - len(prior))))
    )
    with float_scope("float64"), jax.ensure_compile_time_eval():  # in a model that is traced, too
        return np.asarray(_log_number_prior(np.asarray(numbers, float), name))


@partial(jax.jit, static_argnames=("name",))
def _log_number_prior(numbers: Array, name: str | None) -> Array:
    """Of the parameters of a named prior, or of probabilities: a program for all their values."""
    return n_components_prior(numbers if name is None else (name, *numbers), KMAX)


QUANTILES = 16
"""Values of a learned concentration over which the prior of the number of clusters is averaged."""


def prior_of_clusters(options: WeightOptions, n: int, most: int) -> np.ndarray:
    """Prior probability of 1, 2, ..., `most` clusters among n points, [most]."""
    kind, prior, room = options.kind, options.prior, 32
    while room < most:
        room *= 2
    given = values_of_concentration(options), prior.discount, prior.log_n_components
    with float_scope("float64"):
        found = _mean_prior(*given, kind.partitions, options.known, n, room)
    return np.asarray(found)[:most]


@partial(jax.jit, static_argnames=("partitions", "known", "n", "most"))
def _mean_prior(
    alphas: Array,
    discount: Array,
    log_p: Array,
    partitions: Callable,
    known: int | None,
    n: int,
    most: int,
) -> Array:
    """`prior_n_clusters`, the mean over concentrations [J]."""
    own = lambda alpha: prior_n_clusters(partitions(alpha, discount, log_p, known), n, most)  # noqa: E731
    return jax.lax.map(own, alphas).mean(0)


def values_of_concentration(options: WeightOptions) -> np.ndarray:
    """The concentration, or values of it in the middle of as many equal parts of its prior."""
    if options.learned is None:
        return np.array([options.alpha])
    name, a, b = options.learned
    middle = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return QUANTILE[name](middle, a, b)


QUANTILE = {
    "gamma": lambda p, shape, rate: special.gammaincinv(shape, p) / rate,
    "f": lambda p, d1, d2: special.fdtri(d1, d2, p),
}


def sampler_of(sampler: Any, component_prior: Any, n_components: Any) -> str:
    """The name of the sampler, a key of `SAMPLERS`: "auto" is the one that suits the prior.

    Raises
    ------
    ValueError
        If there is none of this name, or it cannot sample this model.
    """
    lookup({"auto": None, **SAMPLERS}, sampler, "sampler")
    own = is_numpyros(component_prior)
    if sampler == "auto":
        sampler = "nuts" if own else "gibbs"
    if sampler == "gibbs" and own:
        raise ValueError(
            f"sampler='gibbs' cannot sample component_prior={component_prior!r}: it needs a prior "
            f"whose conditionals are known. {OWN_TYPES} are for sampler='nuts', or 'auto'."
        )
    if sampler == "nuts" and isinstance(n_components, str) and n_components == "mfm":
        raise ValueError(
            "n_components='mfm' cannot be sampled by sampler='nuts': K, a whole number on which "
            "the number of parameters depends, has no gradient. Give a number, 'dp' or 'py', or "
            "use sampler='gibbs' with another component_prior."
        )
    return sampler


def is_whole(sample_weight: np.ndarray | None) -> bool:
    """Whether weights are whole numbers, so that rows may be repeated."""
    return sample_weight is None or np.allclose(
        sample_weight, np.rint(sample_weight), rtol=0, atol=1e-8
    )


def check_most(max_components: Any, known: int | None, what: str) -> None:
    """`max_components` is None, or a number where that of the components is not known.

    Raises
    ------
    ValueError
        If it is not; `what` it is, as a message says.
    """
    if max_components is None:
        return
    check_number(max_components, "max_components", integer=True, low=2)
    if known is not None:
        raise ValueError(
            f"max_components is {what}, and has no meaning with n_components={known!r}: leave it "
            "None."
        )


def check_counts(sample_weight: np.ndarray | None) -> np.ndarray | None:
    """Weights as whole numbers [N].

    Raises
    ------
    ValueError
        If one is not a whole number, or all rows together are more than can be.
    """
    if sample_weight is None:
        return None
    counts = np.rint(sample_weight).astype(np.int64)
    if not is_whole(sample_weight):
        bad = int(np.flatnonzero(~np.isclose(counts, sample_weight, rtol=0, atol=1e-8))[0])
        raise ValueError(
            "sample_weight must hold whole numbers: a Gibbs sampler gives every copy of a row a "
            f"label of its own. Row {bad} has weight {sample_weight[bad]:g}. Use sampler='nuts', "
            "GaussianMixture or BayesianGaussianMixture for fractional weights."
        )
    return counts
