"""Gibbs sampling against the exact posterior over all partitions of a few points."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from bayesgmm.core import (
    FAMILIES,
    Data,
    NormalInverseWishart,
    choose_form,
    n_components_prior,
    random,
)
from bayesgmm.core.concentration import ConcentrationPrior
from bayesgmm.core.slots import SlotPrior
from bayesgmm.inference import gibbs

pytestmark = pytest.mark.usefixtures("x64")

REFERENCE = Path(__file__).parent.parent / "reference"
CHAINS, SIZE, KMAX = 64, 32, 100
ANY = ConcentrationPrior.gamma(1.0, 1.0)
"""A prior of a concentration that is not learned."""


def reference(name):
    return json.loads((REFERENCE / f"exact_{name}.json").read_text(encoding="utf-8"))


def components_of(given):
    """One component's prior of the reference in ours (see the README there)."""
    if given["family"] == "niw":
        dof, scale = given["nu0"], np.array(given["S0"])
    else:
        dof, scale = 2 * given["a0"], 2 * np.atleast_1d(given["b0"])
        scale = scale[:, None] if given["family"] == "nig" else scale
    mean = np.atleast_1d(given["m0"])[None].astype(float)
    return NormalInverseWishart(
        mean, np.array([given["k0"]], float), np.array([dof], float), scale[None]
    )


def weights_of(prior):
    """Kind of the weights, prior, concentration and slots to begin with."""
    if prior["type"] != "mfm":
        alpha = prior.get("alpha", prior.get("concentration"))
        return "process", SlotPrior(np.zeros(1), 1, prior.get("discount", 0.0)), alpha, 16
    name, parameters = prior["K_prior"]
    if name == "fixed":
        return "finite", SlotPrior(np.zeros(1), parameters), prior["gamma"], parameters
    name = {"poisson1": "poisson"}.get(name, name)
    log_prior = np.asarray(n_components_prior((name, *np.atleast_1d(parameters).tolist()), KMAX))
    kind = "static" if "gamma" in prior else "dynamic"
    return kind, SlotPrior(log_prior), prior.get("gamma", prior.get("alpha")), 16


def data_of(x):
    x = np.array(x, float).reshape(len(x), -1)
    fill = SIZE - len(x)
    return Data(np.pad(x.T, ((0, 0), (0, fill))), np.pad(np.ones(len(x)), (0, fill)))


def keys_of(seed, n=CHAINS):
    return jax.vmap(random.words)(jr.split(jr.key(seed), n))


def begun(data, alpha, config, T, seed=0, chains=CHAINS):
    """Chains of which half begin with all points together and half with random labels."""
    labels = np.random.default_rng(seed).integers(0, T, (chains, SIZE))
    labels[::2] = 0
    return gibbs.start_all(keys_of(seed, chains), data, labels, float(alpha), config, T)


def sampled(x, prior, family, weights, alpha, T, n_draws, **options):
    data, family = data_of(x), FAMILIES[family]
    form = choose_form(len(data.points), family.axis_aligned)
    config = gibbs.GibbsConfig(family, form, weights, **options)
    states = begun(data, alpha, config, T)
    return gibbs.run(states, data, prior, config, n_draws, n_warmup=n_draws // 20)


def of_case(name, case, n_draws):
    """Draws of one case of the reference."""
    found = reference(name)
    given = found["component_priors"][case["component_prior"]]
    kind, weights, alpha, T = weights_of(found["partition_priors"][case["prior"]])
    prior = gibbs.GibbsPrior(weights, ANY, components_of(given))
    family = "diag" if given["family"] == "nig_diag" else "full"
    return sampled(found["x"], prior, family, kind, alpha, T, n_draws)


# --- means of chains against exact values ---------------------------------------------------------


def together(labels):
    """How often each pair i < j is together in each chain, from labels [C, S, N]."""
    i, j = np.triu_indices(labels.shape[-1], 1)
    return (labels[..., i] == labels[..., j]).mean(1)


def frequencies(numbers, most):
    """How often each number 1 to `most` came in each chain, from numbers [C, S]."""
    return (numbers[..., None] == np.arange(1, most + 1)).mean(1)


def errors(found, exact):
    """Largest absolute error of means of chains [C, ...], and largest z of those that are rare."""
    exact = np.asarray(exact)
    gap = found.mean(0) - exact
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    often = (exact > 0.002) & (exact < 0.998)
    z = np.abs(gap[often]) / np.maximum(error[often], 1e-5)
    return float(np.abs(gap).max()), float(z.max(initial=0.0))


def compared(draws, case):
    """Errors of p(K+), of the similarities and, where K is random, of p(K)."""
    n = draws.labels.shape[-1]
    p = [case["p_Kplus"].get(str(t), 0.0) for t in range(1, n + 1)]
    found = {
        "p(K+)": errors(frequencies(draws.label_free()["n_clusters"], n), p),
        "similarity": errors(together(draws.labels), case["psm_pairs"]),
    }
    if "p_K" in case:
        found["p(K)"] = errors(frequencies(draws.n_components, 10), case["p_K"])
    return found
