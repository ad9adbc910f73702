"""A second fit of the same shape compiles nothing, whatever the values that it is asked for."""

import warnings

import jax.monitoring
import numpy as np
import pytest

from bayesgmm import MCMCGaussianMixture

X = np.random.default_rng(0).normal(size=(60, 1)) * 2
COMPILED = []


@pytest.fixture(scope="module", autouse=True)
def counted():
    """Every program that is compiled, or fetched from the cache on disk, is noted."""

    def note(event, duration, **others):
        if event.endswith("backend_compile_duration"):
            COMPILED.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield
    jax.monitoring.unregister_event_duration_listener(note)


def programs(**options):
    """How many a fit and its number of clusters compile."""
    before = len(COMPILED)
    given = {"component_prior": "conjugate", "n_samples": 40, "n_warmup": 20, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # forty draws do not converge
        model = MCMCGaussianMixture(progress_bar=False, **given | options).fit(X)
    model.n_clusters_posterior()
    return len(COMPILED) - before


def test_second_fit_compiles_nothing():
    assert programs() > 0
    for changed in (
        {},
        {"random_state": 1},
        {"n_warmup": 30},
        {"mean_precision_prior": 0.3},
        {"n_components_prior": ("bnb", 2, 4, 3)},
        {"weight_concentration_prior": ("f", 5, 3)},
    ):
        assert programs(**changed) == 0, changed
