"""The prior in the DataTree: its draws against what is known of it, and power scaling by ArviZ."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from bayesgmm import MCMCGaussianMixture
from bayesgmm.estimators.model import log_prior_group, prior_groups, sample_of
from tests.conftest import assert_mean

N = 24


def fitted(n_components, component_prior="conjugate", **options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 2)) + 8 * (np.arange(N) % 3 == 0)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        given = {"n_chains": 2, "n_samples": 100, "progress_bar": False, "random_state": 0}
        given |= {"component_prior": component_prior, "moves": False}
        return MCMCGaussianMixture(n_components, **given, **options).fit(X)


@pytest.fixture(scope="module")
def known():
    return fitted(2, weight_concentration_prior=0.4)


@pytest.fixture(scope="module")
def unknown():
    return fitted("mfm")


def test_log_prior_of_a_known_number_is_scipys(known):
    tree = known.posterior_
    draws, lp = tree["posterior"], tree["log_prior"]
    assert (draws["n_clusters"] == 2).all()  # so that the tree holds all components
    for c, s in ((0, 0), (1, 57)):
        w = draws["weights"].values[c, s]
        expected = stats.dirichlet.logpdf(w / w.sum(), [0.4, 0.4])
        assert float(lp["lp_weights"][c, s]) == pytest.approx(expected, rel=1e-8)
        expected = 0.0
        for mean, covariance in zip(
            draws["means"].values[c, s], draws["covariances"].values[c, s], strict=True
        ):
            expected += stats.invwishart.logpdf(
                covariance, known.degrees_of_freedom_prior_, known.covariance_prior_
            )
            spread = covariance / known.mean_precision_prior_
            expected += stats.multivariate_normal.logpdf(mean, known.mean_prior_, spread)
        assert float(lp["lp_components"][c, s]) == pytest.approx(expected, rel=1e-8)


def test_log_prior_of_a_random_scale_is_scipys():
    model = fitted(2, component_prior="hierarchical")
    tree, own = model.posterior_, model.component_prior_
    draws, lp = tree["posterior"], tree["log_prior"]["lp_components"]
    assert (draws["n_clusters"] == 2).all()
    assert tree["prior"]["scale"].shape == (1, 500, 2, 2)
    for c, s in ((0, 3), (1, 99)):
        C0 = draws["scale"].values[c, s]
        shape, rate = own.scale_shape_prior, own.scale_rate_prior
        expected = stats.wishart.logpdf(C0, 2 * shape, np.linalg.inv(2 * rate))
        for mean, covariance in zip(
            draws["means"].values[c, s], draws["covariances"].values[c, s], strict=True
        ):
            dof = 2 * own.covariance_shape_prior
            expected += stats.invwishart.logpdf(covariance, dof, 2 * C0)
            spread = own.mean_covariance_prior
            expected += stats.multivariate_normal.logpdf(mean, own.mean_prior, spread)
        assert float(lp[c, s]) == pytest.approx(expected, rel=1e-8)


def test_draws_from_the_prior_are_those_of_the_exact_prior(unknown):
    tree = unknown.posterior_
    prior, points = tree["prior"], tree["prior_predictive"]["x"].values[0]
    assert points.shape == (500, N, 2) and prior["labels"].shape == (1, 500, N)
    names = set(tree["posterior"].data_vars) - {"log_likelihood"}
    assert set(prior.data_vars) == names
    table = unknown.n_clusters_posterior()
    for k in table.index:
        assert_mean(prior["n_clusters"].values[0] == k, table["prior"][k])
    assert_mean(points[:, 0], unknown.mean_prior_)
    labels, held = prior["labels"].values[0], prior["weights"].values[0] > 0
    assert (held.sum(1) == prior["n_clusters"].values[0]).all()
    counts = (labels[:, :, None] == np.arange(held.shape[1])).sum(1)
    assert (np.diff(counts, axis=1) <= 0).all()  # the largest cluster first, as in the posterior


# --- distributions of NumPyro ---------------------------------------------------------------------

WIDE = np.random.default_rng(3).normal([100.0, 5.0], [20.0, 1.0], size=(N, 2))


def specified(n_components=2, component_prior="lkj", **options):
    """The model alone: nothing is sampled, and nothing of the sampler compiled."""
    return MCMCGaussianMixture(
        n_components, component_prior=component_prior, **options
    ).specification(WIDE)


def test_draws_from_a_prior_of_distributions():
    for n_components in (2, "dp"):
        groups = prior_groups(specified(n_components), N, 10**6)
        found = {name: values[0] for name, values in groups["prior"].items()}
        held = found["weights"] > 0
        assert (held.sum(1) == found["n_clusters"]).all()
        means, covariances = found["means"][held], found["covariances"][held]
        law = stats.norm(WIDE[:, 0].mean(), WIDE[:, 0].std())
        assert stats.kstest(means[:, 0], law.cdf).pvalue > 1e-3
        sd = np.sqrt(covariances[:, 1, 1])
        law = stats.lognorm(1.0, scale=WIDE[:, 1].std() / 2)
        assert stats.kstest(sd, law.cdf).pvalue > 1e-3
        r = covariances[:, 0, 1] / np.sqrt(covariances[:, 0, 0]) / sd
        assert stats.kstest((r + 1) / 2, stats.uniform.cdf).pvalue > 1e-3
        points = groups["prior_predictive"]["x"][0]
        assert points.shape == (500, N, 2)
        assert_mean(points[:, 0], WIDE.mean(0))


def test_log_prior_of_distributions_is_scipys():
    """In the user's units, whether the distributions are given or made of the data."""
    spec = specified(weight_concentration_prior=0.4)
    sample = sample_of(spec.simulate(np.random.default_rng(0), N, 20), spec.family)
    found = log_prior_group(spec, sample)
    log_w, means, scales = (leaf[:, 0] for leaf in sample.mixtures)
    sd = np.sqrt(np.square(scales).sum(-1))
    expected = stats.norm.logpdf(means, WIDE.mean(0), WIDE.std(0)).sum((1, 2))
    expected += stats.lognorm.logpdf(sd, 1.0, scale=WIDE.std(0) / 2).sum((1, 2)) - 2 * np.log(2)
    np.testing.assert_allclose(found["lp_components"][:, 0], expected, rtol=1e-8)
    expected = [stats.dirichlet.logpdf(w / w.sum(), [0.4, 0.4]) for w in np.exp(log_w)]
    np.testing.assert_allclose(found["lp_weights"][:, 0], expected, rtol=1e-8)
    given = specified(component_prior=spec.prior.components, weight_concentration_prior=0.4)
    again = log_prior_group(given, sample)
    np.testing.assert_array_equal(again["lp_components"], found["lp_components"])
    np.testing.assert_array_equal(given.units.scale, 1.0)  # those that distributions are given in
    assert (given.centre == spec.centre).all()
    assert (np.abs(spec.centre - WIDE.mean(0)) < 0.2 * WIDE.std(0)).all()


def test_log_prior_of_a_process_of_distributions_is_relative():
    """What clusters add has mean 0 under the prior, so that their number is left alone."""
    spec = specified("dp", weight_concentration_prior=1.0)
    sample = sample_of(spec.simulate(np.random.default_rng(0), 6, 2_000), spec.family)
    found = log_prior_group(spec, sample)
    values, number = found["lp_components"][:, 0], sample.n_clusters[:, 0]
    for k in (1, 2, 3):
        own = values[number == k]
        error = np.hypot(1 / np.sqrt(len(own)), np.sqrt(k) / np.sqrt(10_000)) * own.std()
        assert abs(own.mean()) < 4.5 * error
    alone = number == 1  # Ewens: 5! / (1 2 ... 6) of one cluster among six points
    np.testing.assert_allclose(found["lp_weights"][alone], np.log(1 / 6))


# --- power scaling --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["known", "unknown"])
def test_power_scaling_by_arviz(name, request):
    from arviz_stats import psense_summary

    tree = request.getfixturevalue(name).posterior_
    names = ["log_likelihood", "largest_weight", "sum_of_squared_weights"]
    for scaled in (None, ["lp_weights"], ["lp_components"]):
        table = psense_summary(tree, var_names=names, prior_var_names=scaled)
        assert np.isfinite(table["prior"]).all() and (table["prior"] >= 0).all()
        assert np.isfinite(table["likelihood"]).all()


def test_a_prior_of_the_components_that_says_more_is_felt_more():
    from arviz_stats import psense_summary

    felt = []
    for dof in (5.0, 60.0):
        tree = fitted(2, degrees_of_freedom_prior=dof, covariance_prior=dof * np.eye(2)).posterior_
        table = psense_summary(tree, var_names=["log_likelihood"])
        felt.append(table["prior"].iloc[0])
    assert felt[1] > felt[0]


def test_units_do_not_change_how_an_unknown_number_is_felt():
    """Densities of different numbers of components are in different units, relative ones not."""
    found = []
    for factor in (1.0, 100.0):
        rng = np.random.default_rng(0)
        X = factor * rng.normal(size=(N, 2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = MCMCGaussianMixture(
                "mfm",
                component_prior="conjugate",
                n_components_prior=("uniform", 5),
                n_chains=2,
                n_samples=100,
                moves=False,
                progress_bar=False,
                random_state=0,
            ).fit(X)
        assert np.ptp(model.posterior_["posterior"]["n_clusters"].values) > 0
        found.append(model.posterior_["log_prior"]["lp_components"].values)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=1e-6)
