r"""Log marginal likelihoods of mixtures, with their errors: the results, and those over K.

`posterior.bridge` finds the one of a fitted number of components, a tilted run over 1 to M
components (`inference.tilting`) those of all, relative to one component's.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np
from scipy.special import logsumexp

from bayesgmm.core.arrays import Array, Data
from bayesgmm.core.conjugate import NormalInverseWishart, log_evidence
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.sweep import gathered
from bayesgmm.inference.gibbs import posterior_of
from bayesgmm.inference.tilting import Tilted
from bayesgmm.posterior.summary import error_of_mean
from bayesgmm.shown import Shown

BATCHES = 5
"""Parts of each chain whose means tell how errors of different K go together."""


@dataclass(frozen=True)
class Evidence:
    """Log marginal likelihood of the data under a mixture with a known number of components.

    Attributes
    ----------
    log_evidence : float
        Nats, of the data in the units given.
    standard_error : float
        Monte Carlo standard error; 0 if it is exact.
    method : str
    n_components : int
    details : dict
        What the method has to say of itself.
    """

    log_evidence: float
    standard_error: float
    method: str
    n_components: int
    details: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """In one line."""
        return (
            f"Evidence(log_evidence={self.log_evidence:.4f}, "
            f"standard_error={self.standard_error:.2g}, n_components={self.n_components}, "
            f"method={self.method!r})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class EvidenceOverComponents(Shown):
    """Log marginal likelihoods for several numbers of components, whose errors go together.

    Attributes
    ----------
    n_components : tuple of int
    log_evidence : ndarray [R]
    standard_error : ndarray [R]
    covariance : ndarray [R, R]
        Of the errors: those of neighbours are much alike.
    method : str
    details : dict
    """

    n_components: tuple[int, ...]
    log_evidence: np.ndarray
    standard_error: np.ndarray
    covariance: np.ndarray
    method: str
    details: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, n_components: int) -> Evidence:
        """That of one number of components; KeyError if it is not among them."""
        if n_components not in self.n_components:
            raise KeyError(n_components)
        i = self.n_components.index(n_components)
        found = float(self.log_evidence[i]), float(self.standard_error[i])
        return Evidence(*found, self.method, int(n_components), self.details)

    def table(self) -> Any:
        """A DataFrame indexed by the number: `log_evidence` and `standard_error`."""
        import pandas as pd

        columns = {"log_evidence": self.log_evidence, "standard_error": self.standard_error}
        return pd.DataFrame(columns, index=pd.Index(self.n_components, name="n_components"))

    def _headline(self) -> str:
        return f"EvidenceOverComponents, method={self.method!r}"

    def _shown(self) -> Any:
        return self.table().round(4)


# --- one component --------------------------------------------------------------------------------


def of_one_component(data: Data, prior: NormalInverseWishart, family: Covariance) -> float:
    """Log marginal likelihood of all points in one component, in closed form."""
    return float(_of_one(data, prior, family)[0])


@partial(jax.jit, static_argnames=("family",))
def _of_one(data: Data, prior: NormalInverseWishart, family: Covariance) -> Array:
    about = jax.numpy.zeros_like(data.points[:, :1].T)
    labels = jax.numpy.zeros(data.weight.shape, jax.numpy.int32)
    found = gathered(data, labels, about, family.axis_aligned)
    return log_evidence(prior, posterior_of(prior, found, about, family), family)


# --- over K ---------------------------------------------------------------------------------------


def over_components(
    tilted: Tilted, first: Evidence, numbers: tuple[int, ...]
) -> EvidenceOverComponents:
    """The evidence of some numbers of components, from a tilted run and the one of K = 1.

    Parameters
    ----------
    tilted : Tilted
        At least two draws a chain.
    first : Evidence
        Of one component.
    numbers : tuple of int
    """
    probability = np.exp(tilted.log_probability)  # [C, S, M]
    log_mean = logsumexp(tilted.log_probability, axis=(0, 1)) - np.log(probability[..., 0].size)
    with np.errstate(invalid="ignore"):  # where K = 1 was never met
        log_ratio = log_mean - log_mean[0] - (tilted.tilt - tilted.tilt[0])
    never = np.isneginf(log_mean)
    slopes = probability / np.exp(np.where(never, 0, log_mean))  # the error of a log, first order
    covariance = _covariance_of_means(slopes - slopes[..., :1])
    covariance = covariance + first.standard_error**2
    rows = np.array(numbers) - 1
    exact = rows == 0  # K = 1 is known from elsewhere
    log_z = first.log_evidence + np.where(exact, 0.0, log_ratio[rows])
    covariance = covariance[np.ix_(rows, rows)]
    details = {
        "anchor": first.log_evidence,
        "anchor_error": first.standard_error,
        "p_one_component": float(np.exp(log_mean[0])),
        "flat": tilted.even,
    }
    lost = ~exact & (never[rows] | never[0])
    errors = np.where(lost, np.inf, np.sqrt(np.diag(covariance)))
    return EvidenceOverComponents(numbers, log_z, errors, covariance, "mfm", details)


def _covariance_of_means(values: np.ndarray) -> np.ndarray:
    """Covariance [M, M] of the means of values [C, S, M] over chains and draws.

    Correlations are those of batch means, variances the largest of theirs, of ArviZ's, and of that
    of the means of the chains: each by itself is too small now and then.
    """
    C, S, M = values.shape
    size = max(S // BATCHES, 1)
    batches = values[:, : S // size * size].reshape(C * (S // size), size, M).mean(1)
    plain = np.atleast_2d(np.cov(batches.T)) / len(batches)
    errors = [error_of_mean(values[..., m]) for m in range(M)]
    deviations, of_chains = np.sqrt(np.diag(plain)), values.mean(1).std(0, ddof=1) / np.sqrt(C)
    largest = np.fmax(np.fmax(errors, deviations), of_chains)
    factor = np.divide(largest, deviations, out=np.ones(M), where=deviations > 0)
    return plain * np.outer(factor, factor)
