"""log_evidence: the log marginal likelihood of a fitted mixture, in the user's units."""

import numbers
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from bayesgmm.arguments import check_flag, check_number
from bayesgmm.core.arrays import Data, float_scope
from bayesgmm.core.conjugate import NormalInverseWishart
from bayesgmm.core.independent import HierarchicalPrior
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.slots import SlotPrior
from bayesgmm.estimators.chains import Bar, begun, first_labels
from bayesgmm.estimators.checks import warn_not_converged
from bayesgmm.estimators.model import Specification
from bayesgmm.estimators.points import standard_data
from bayesgmm.estimators.priors import area_of
from bayesgmm.inference import chains, gibbs, splitmerge, tilting
from bayesgmm.messages import lookup
from bayesgmm.posterior import bridge, evidence
from bayesgmm.posterior.evidence import Evidence, EvidenceOverComponents

CHAINS, SWEEPS = 8, 20_000
"""Of a tilted run."""

FEWEST = 20
"""Draws of each chain that a bridge needs: the error is found from half of them."""

FIRST = 1000
"""Draws of each chain with one component, where its evidence has no closed form."""

RARE = 0.01
"""A tilted run that is with one component less often than this says little."""

LITTLE = 0.05
"""An overlap of the proposal with the posterior below this warns."""

MOST = 200
"""Components that a tilted run may reach."""


def log_evidence(
    model: Any,
    method: str = "bridge",
    *,
    n_components: Any = None,
    n_sweeps: int | None = None,
    random_state: Any = None,
    progress_bar: bool = True,
) -> Evidence | EvidenceOverComponents:
    """Log marginal likelihood of the data under a mixture of K components and its priors, in nats.

    The log density of the data in the units they were given in, the parameters, weights and labels
    integrated out: in units of half the size it is N D log 2 less.

    Parameters
    ----------
    model : MCMCGaussianMixture
        Fitted by Gibbs sampling with an integer `n_components`.
    method : {"bridge", "mfm"}, default "bridge"
        "bridge": bridge sampling between the draws of `model` and a proposal made of them, summed
        over all orders of the components; exact sums up to 10 components, under every prior of the
        components, with weights of a fixed concentration. "mfm": a run of its own in which the
        number of components is drawn, too, under a prior that is tilted until all numbers are
        visited alike; anchored at one component, whose evidence has a closed form under the
        conjugate prior and is found by "bridge" under others. It gives all numbers at once, and any
        of them.
    n_components : int or iterable of int, optional
        Of "mfm": the numbers wanted, all under the prior of a component that `model` has
        (`component_prior_`). That of `model` when not given.
    n_sweeps : int, optional
        Of "mfm": sweeps of each of eight chains, 20,000 when not given.
    random_state : int, RandomState or None
    progress_bar : bool, default True
        Of "mfm".

    Returns
    -------
    Evidence or EvidenceOverComponents
        With `log_evidence`, `standard_error`, `method` and `details`; the second, for several
        numbers, as arrays, and with the `covariance` of the errors and a `table()`. The details of
        "bridge" are `overlap`, 1 where the proposal is the posterior. Those of "mfm" say whether
        the tilted run was `flat`, and how often it was with one component, `p_one_component`.

    Raises
    ------
    ValueError, TypeError
        If the model or an option is not as described.
    NotFittedError
        If the model is not fitted.

    Warns
    -----
    ConvergenceWarning
        If a tilted run was hardly ever with one component, or the overlap is below 0.05.

    Notes
    -----
    The standard error is that of Monte Carlo, and knows of modes that some chains have found. With
    `sample_weight` the data are the rows, each as often as its weight says.

    References
    ----------
    Meng and Wong (1996), *Statistica Sinica* 6, 831-860.
    Fruhwirth-Schnatter (2004), *Econometrics Journal* 7, 143-167.
    Miller and Harrison (2018), *Journal of the American Statistical Association* 113, 340-356.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import MCMCGaussianMixture, log_evidence
    >>> X = np.random.default_rng(0).normal(size=(40, 1))
    >>> model = MCMCGaussianMixture(1, component_prior="conjugate", random_state=0).fit(X)
    >>> log_evidence(model).standard_error  # of one component it is known
    0.0
    """
    if not hasattr(type(model), "posterior_"):  # it is imported by that class
        raise TypeError(
            f"log_evidence takes a fitted MCMCGaussianMixture, got a {type(model).__name__}: it "
            "needs draws of the posterior. Variational fits have an estimate of their own, "
            "BayesianGaussianMixture.evidence; those of EM have bic and icl."
        )
    check_is_fitted(model)
    found = lookup(METHODS, method, "method")
    _check_model(model)
    check_flag(progress_bar, "progress_bar")
    task = Task.of(model, check_random_state(random_state), progress_bar)
    with float_scope("float64"):
        return found(task, n_components, n_sweeps)


def _check_model(model: Any) -> None:
    if model.sampler_ != "gibbs":
        raise ValueError(
            "log_evidence needs draws of labels and a prior whose conditionals are known, as "
            f"sampler='gibbs' has them; the model was fitted with sampler={model.sampler_!r}, "
            f"component_prior={model.component_prior!r}. Fit it with sampler='gibbs'."
        )
    if model._options.known is None:
        raise ValueError(
            "log_evidence needs a model fitted with a number for n_components, got "
            f"n_components={model.n_components!r}: its evidence is a mean over K. Fit "
            "n_components=3, say, with the same priors; method='mfm' then takes any other numbers."
        )


class Task(NamedTuple):
    """A fitted model, and what it needs in the core's units.

    Attributes
    ----------
    model : MCMCGaussianMixture
    spec : Specification
    data : Data
    n_points : int
    rng : RandomState
    progress_bar : bool
    """

    model: Any
    spec: Specification
    data: Data
    n_points: int
    rng: np.random.RandomState
    progress_bar: bool

    @classmethod
    def of(cls, model: Any, rng: Any, progress_bar: bool) -> "Task":
        """Of a fitted model."""
        spec, X = model._specification, model._kept.X
        return cls(model, spec, standard_data(X, None, spec.units), len(X), rng, progress_bar)

    @property
    def known(self) -> int:
        """K of the model."""
        return self.spec.options.known

    @property
    def offset(self) -> float:
        """What a log density of the data has less in the user's units."""
        return self.n_points * self.spec.units.log_volume

    def generator(self) -> np.random.Generator:
        """Random numbers of NumPy's newer kind."""
        return np.random.default_rng(self.rng.randint(2**31))


# --- bridge ---------------------------------------------------------------------------------------


def _by_bridge(task: Task, n_components: Any, n_sweeps: Any) -> Evidence:
    K = task.known
    if n_sweeps is not None:
        raise ValueError(
            f"n_sweeps={n_sweeps!r} is for method='mfm'; method='bridge' takes the draws of the "
            "model: leave it None, and raise n_samples or thin of the model."
        )
    if n_components is not None and n_components != K:
        raise ValueError(
            f"n_components must be that of the model, {K}, with method='bridge', got "
            f"{n_components!r}. Fit a model for each number, or use method='mfm'."
        )
    if K == 1 and isinstance(task.spec.components, NormalInverseWishart):
        return _of_one(task)
    if task.spec.options.learned is not None:
        raise ValueError(
            "method='bridge' needs a fixed weight_concentration_prior, got "
            f"{task.model.weight_concentration_prior!r}: use method='mfm', or fit with a number."
        )
    if K > bridge.LARGEST:
        raise ValueError(
            f"method='bridge' sums over all orders of up to {bridge.LARGEST} components, got "
            f"n_components={K}: use method='mfm'."
        )
    draws = _chains_of(task)
    S = draws.log_likelihood.shape[1]
    if S < FEWEST:
        raise ValueError(
            f"method='bridge' needs at least {FEWEST} draws of each chain, and some hundreds to be "
            f"accurate; the model has {S}. Raise its n_samples."
        )
    return _bridged(task, draws, task.spec.options.alpha, K)


def _bridged(task: Task, draws: bridge.Chains, alpha: float, K: int) -> Evidence:
    spec = task.spec
    found = bridge.bridge(draws, task.data, spec.components, alpha, spec.family, task.generator())
    if found.overlap < LITTLE:
        warn_not_converged(
            f"The proposal of method='bridge' overlaps the posterior by {found.overlap:.2g} only, "
            "so that the standard error cannot be relied on. Raise n_samples and thin of the model."
        )
    total = found.log_evidence - task.offset
    return Evidence(total, found.standard_error, "bridge", K, {"overlap": float(found.overlap)})


def _chains_of(task: Task) -> bridge.Chains:
    """The draws of the model in the core's units."""
    spec, draws, K = task.spec, task.model._draws, task.known
    units, family = spec.units, spec.family
    log_weights, means, scales = (leaf[:, :, :K] for leaf in draws.mixtures)
    scales = scales / units.scale[:, None]
    if family.axis_aligned:
        scales = np.diagonal(scales, axis1=-2, axis2=-1)
    elif family.pooled:
        scales = scales[:, :, :1]
    scale = draws.scale
    if isinstance(spec.components, HierarchicalPrior):
        own = spec.components.rate.shape
        scale = scale.reshape(*scale.shape[:2], *own) / area_of(units, family)
    mixtures = Mixture(log_weights, (means - units.centre) / units.scale, scales)
    return bridge.Chains(
        _padded(draws.labels, task.data), mixtures, scale, draws.log_likelihood + task.offset
    )


def _padded(labels: np.ndarray, data: Data) -> np.ndarray:
    more = data.weight.size - labels.shape[-1]
    return np.pad(labels, [(0, 0), (0, 0), (0, more)]).astype(np.int32)


# --- over the number of components ----------------------------------------------------------------


def _by_tilting(task: Task, n_components: Any, n_sweeps: Any) -> Evidence | EvidenceOverComponents:
    wanted = task.known if n_components is None else n_components
    numbers_wanted = _numbers(wanted)
    sweeps = SWEEPS if n_sweeps is None else n_sweeps
    check_number(sweeps, "n_sweeps", integer=True, low=100)
    first = _of_one(task)
    if isinstance(wanted, numbers.Integral) and wanted == 1:
        return first
    tilted = _tilted(task, max(2, *numbers_wanted), sweeps)
    if tilted.interrupted:
        raise KeyboardInterrupt("before the evidence was known")
    found = evidence.over_components(tilted, first, numbers_wanted)
    share = found.details["p_one_component"]
    if not share * tilted.log_probability.shape[-1] > RARE:
        warn_not_converged(
            f"The run of method='mfm' was with one component with probability {share:.2g}, by "
            "which all numbers are anchored, so that neither they nor their errors can be relied "
            "on. Raise n_sweeps, or use method='bridge'."
        )
    return found[numbers_wanted[0]] if isinstance(wanted, numbers.Integral) else found


def _numbers(wanted: Any) -> tuple[int, ...]:
    """Numbers of components, checked."""
    several = isinstance(wanted, Iterable) and not isinstance(wanted, str)
    found = tuple(wanted) if several else (wanted,)
    fits = [isinstance(k, numbers.Integral) and not isinstance(k, bool) for k in found]
    if not found or not all(fits) or not 1 <= min(found) <= max(found) <= MOST:
        raise ValueError(
            "n_components must be an integer, or several as range(1, 8) gives them, from 1 to "
            f"{MOST}; got {wanted!r}."
        )
    if len(set(found)) < len(found):
        raise ValueError(f"n_components must not name a number twice, got {wanted!r}.")
    return tuple(int(k) for k in found)


def _of_one(task: Task) -> Evidence:
    """Of one component: in closed form, or by a bridge between draws of its own."""
    spec = task.spec
    if isinstance(spec.components, NormalInverseWishart):
        found = evidence.of_one_component(task.data, spec.components, spec.family)
        return Evidence(found - task.offset, 0.0, "closed form", 1)
    draws = _with_one(task)
    own = bridge.Chains(
        _padded(draws.labels, task.data),
        Mixture(draws.log_weights, draws.means, draws.scales),
        draws.scale,
        draws.log_likelihood,
    )
    return _bridged(task, own, 1.0, 1)


def _with_one(task: Task) -> chains.Draws:
    """Draws with one component."""
    spec = task.spec
    config = gibbs.GibbsConfig(spec.family, spec.config.form)
    prior = gibbs.GibbsPrior(SlotPrior(np.zeros(1)), spec.options.concentration, spec.components)
    labels = np.zeros((4, task.data.weight.size), np.int32)
    states = _begun(task, labels, config, 1)
    return chains.run(states, task.data, prior, config, FIRST, 1, FIRST // 5, 1)


def _begun(task: Task, labels: np.ndarray, config: gibbs.GibbsConfig, T: int) -> Any:
    keys = task.rng.randint(2**32, size=(len(labels), 2), dtype=np.uint32)
    spec = task.spec
    return begun(keys, task.data, labels, spec.options.alpha, spec.components, config, T)


def _tilted(task: Task, most: int, n_sweeps: int) -> tilting.Tilted:
    """The run whose K is drawn, from 1 to `most`."""
    spec, N = task.spec, task.n_points
    moving = N > 1
    config = gibbs.GibbsConfig(
        spec.family,
        spec.config.form,
        "static",
        spec.options.learned is not None,
        splitmerge.SEVERAL if moving else (),
    )
    moves = splitmerge.Moves(splitmerge.neighbours(task.data)) if moving else None
    prior = gibbs.GibbsPrior(None, spec.options.concentration, spec.components, moves)
    labels = first_labels(task.data, N, None, most, CHAINS, task.rng)
    states = _begun(task, labels, config, tilting.slots_for(most))
    with Bar(task.progress_bar) as bar:
        return tilting.run(states, task.data, prior, config, most, n_sweeps, bar)


METHODS: dict[str, Callable] = {"bridge": _by_bridge, "mfm": _by_tilting}
"""Estimators by name."""
