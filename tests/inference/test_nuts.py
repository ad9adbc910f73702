"""The no-U-turn sampler against the exact posterior over partitions, and against Gibbs sampling.

All cases, with a table of their errors: ``pytest -m slow -s -k every_exact_nuts tests/inference``.
"""

import numpy as np
import pytest

from bayesgmm.inference import nuts
from bayesgmm.inference.model import ModelConfig, ModelPrior, leftover
from tests.inference.test_gibbs import (
    CHAINS,
    SIZE,
    components_of,
    data_of,
    keys_of,
    reference,
)

pytestmark = pytest.mark.usefixtures("x64")

ENDS = 1e-3
"""Prior mean of the stick that a truncation leaves, in the comparisons."""


def model_of(prior, components, kind):
    """Model and prior of a case of the reference: a truncation where it is a process."""
    if prior["type"] == "mfm":
        K = prior["K_prior"][1]
        return ModelConfig(kind, K), ModelPrior(components, float(prior["gamma"]))
    alpha = float(prior.get("alpha", prior.get("concentration")))
    discount = float(prior.get("discount", 0.0))
    T = next(t for t in range(2, 1000) if leftover(alpha, discount, t) < ENDS)
    return ModelConfig(kind, T, "process"), ModelPrior(components, alpha, discount=discount)


def sampled(data, prior, model, n_draws, n_chains=CHAINS, n_warmup=300, thin=1, **options):
    labels = np.random.default_rng(0).integers(0, model.n_components, (n_chains, SIZE))
    labels[::2] = 0
    config = nuts.NutsConfig(model, **options)
    states = nuts.start_all(keys_of(1, n_chains), data, labels, prior, config)
    return nuts.run(states, data, prior, config, n_draws, thin, n_warmup)


def of_case(name, case, n_draws, **options):
    found = reference(name)
    given = found["component_priors"][case["component_prior"]]
    kind = "diag" if given["family"] == "nig_diag" else "full"
    model, prior = model_of(found["partition_priors"][case["prior"]], components_of(given), kind)
    return sampled(data_of(found["x"]), prior, model, n_draws, **options)
