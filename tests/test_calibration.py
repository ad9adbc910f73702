"""Simulation-based calibration: of the sampler, and of what is meant to find that it is wrong.

512 replicates of every kind of prior, some minutes each:
``pytest -m slow -k every_prior tests/test_calibration.py``. ``python benchmarks/calibration.py``
makes the figures of the same.
"""

import runpy
from pathlib import Path

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

from bayesgmm import GaussianMixture, MCMCGaussianMixture, calibrate
from bayesgmm.estimators import replicates
from bayesgmm.estimators.model import log_density, sample_of
from bayesgmm.estimators.replicates import CORRELATION, correlations, randomised_ranks, thinning

STATED = dict(means=[0.0, 5.0], sds=[1.0, 2.0], n_points=10, progress_bar=False)
SHORT = dict(**STATED, n_replicates=60, n_samples=49, thin=8, n_warmup=150)
"""One program: no test of this file compiles another, but for those that are slow."""

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def model(**options):
    return MCMCGaussianMixture(2, component_prior="conjugate", **options)


@pytest.fixture(scope="module")
def found():
    own = {
        "largest_mean": lambda draws: np.where(draws.weights > 0, draws.means[..., 0], -9).max(-1)
    }
    return calibrate(model(), **SHORT, quantities=own, random_state=0)


def test_the_sampler_is_calibrated(found):
    assert found.calibrated, found.summary()
    assert found.ranks.shape == (60, 11)
    for name in ("n_clusters", "largest_cluster", "log_likelihood", "entropy", "largest_mean"):
        assert name in found.ranks
    assert found.ranks.min().min() >= 0 and found.ranks.max().max() <= 49
    assert ((found.pit >= found.ranks / 50) & (found.pit <= (found.ranks + 1) / 50)).all(axis=None)


@pytest.mark.slow
def test_nuts_is_calibrated():
    """A process, the last component of which stands for what is cut off."""
    short = dict(n_replicates=32, n_samples=19, thin=3, n_warmup=150, progress_bar=False)
    short |= dict(means=[0.0], sds=[1.0], n_points=8, random_state=0)
    prior = dict(n_components="dp", weight_concentration_prior=0.5, component_prior="conjugate")
    estimator = MCMCGaussianMixture(**prior, sampler="nuts", max_components=3)
    found = calibrate(estimator, **short)
    assert found.calibrated, found.summary()
    assert 0 < found.crowded < 0.5 and "had no room for another component" in found.summary()
    wrong = MCMCGaussianMixture(**prior, covariance_prior=[[30.0]])
    assert not calibrate(estimator, **short, truth=wrong).calibrated


def test_intervals_cover_as_often_as_they_say(found):
    """The same share of ranks counted by hand, and binomial errors."""
    for level, half in ((0.9, 22.5), (0.5, 12.5)):
        table = found.coverage(level)
        assert (table["z"].abs() < 3.5).all(), table
        inside = (found.pit * 50 > 25 - half) & (found.pit * 50 < 25 + half)
        np.testing.assert_allclose(table["coverage"], inside.mean())
        np.testing.assert_allclose(table["standard_error"], np.sqrt(level * (1 - level) / 60))
    with pytest.raises(ValueError, match="level must be a number between 0 and 1, got 90"):
        found.coverage(90)


@pytest.mark.slow
def test_coverage_of_quantities_of_single_clusters_and_points():
    """200 data sets; ``python benchmarks/credible_coverage.py`` takes a thousand of each prior."""
    coverage = runpy.run_path(str(BENCHMARKS / "credible_coverage.py"))
    table = coverage["covered"]("finite", n_replicates=200, n_samples=49)
    assert (table["z"].abs() < 3.5).all(), table
    assert {"mean_1", "mean_3", "together", "log_likelihood"} <= set(table.index)


@pytest.mark.slow
def test_distributions_of_ones_own_are_calibrated():
    """The truth of `wrong` alone is drawn otherwise, so that one program serves both."""
    short = dict(n_replicates=48, n_samples=19, thin=3, n_warmup=150, progress_bar=False)
    short |= dict(means=[0.0], sds=[1.0], n_points=8, random_state=0)
    estimator = MCMCGaussianMixture(2, component_prior="lkj")
    found = calibrate(estimator, **short)
    assert found.calibrated, found.summary()
    own = {"means": dist.Normal(np.zeros(1), 1.0), "scales": dist.LogNormal(np.full(1, 2.0), 0.5)}
    wrong = MCMCGaussianMixture(2, component_prior=own)
    assert not calibrate(estimator, **short, truth=wrong).calibrated


def test_what_is_said(found):
    said = str(found)
    assert "60 replicates of 49 draws, one in 8 sweeps" in said and "no sign" in said
    figure = found.plot()
    assert [ax.get_title() for ax in figure.axes[:2]] == ["n clusters", "log likelihood"]


def test_another_prior_of_the_truth_is_found():
    wrong = calibrate(model(), **SHORT, truth=model(degrees_of_freedom_prior=10.0), random_state=0)
    table = wrong.table
    assert not wrong.calibrated
    assert table.loc["log_determinant", "adjusted"] < 0.01
    assert "not calibrated: the ranks of" in wrong.summary()


def test_a_posterior_that_is_too_narrow_is_found():
    """The sampler believes that the clusters are far nearer to the middle than they are."""
    wrong = calibrate(
        model(mean_precision_prior=30.0),
        **SHORT,
        truth=model(mean_precision_prior=0.1),
        random_state=0,
    )
    sd = wrong.table["sd"]["mixture_mean"]
    assert not wrong.calibrated and sd > np.sqrt(1 / 12)


def test_a_sampler_that_ignores_the_data_fails_on_the_log_likelihood_alone(monkeypatch):
    """Modrak et al. (2023): draws from the prior have uniform ranks but for what sees the data."""

    def quantities(self, draws, points):
        R, S = draws.alpha.shape
        drawn = self.spec.simulate(np.random.default_rng(5), self.n_points, R * S)
        fold = lambda leaf: leaf.reshape(R, S, *leaf.shape[2:])  # noqa: E731
        sample = jax.tree.map(fold, sample_of(drawn, self.spec.family))
        likelihood = log_density(sample.mixtures, points[:, None]).sum(-1)
        sample = sample._replace(log_likelihood=likelihood)
        return replicates.quantities_of(sample, points, self.spec, self.own)

    monkeypatch.setattr(replicates.Run, "quantities", quantities)
    table = calibrate(model(), **SHORT, random_state=3).table
    assert table.loc["log_likelihood", "adjusted"] < 0.01
    assert (table["adjusted"].drop("log_likelihood") > 0.05).all()


def test_scale_and_place_of_the_data_do_not_matter():
    """Defaults are scaled by what is stated: in other units the ranks are the same."""
    other = {**SHORT, "means": [100.0, 0.0], "sds": [1.0, 2.0]}
    one = calibrate(model(), **SHORT, random_state=4).ranks
    two = calibrate(model(), **other, random_state=4).ranks
    assert (one == two).mean(axis=None) > 0.97  # rounding moves a label now and then


def test_points_scale_the_prior_as_a_fit_does():
    rng = np.random.default_rng(0)
    X = rng.normal([0.0, 5.0], [1.0, 2.0], size=(10, 2))
    estimator = model()
    spec = estimator.specification(X)
    assert not hasattr(estimator, "means_")
    np.testing.assert_allclose(np.asarray(spec.prior.components.mean)[0], X.mean(0))
    expected = np.cov(X.T) / 2  # K^(2 / D) is 2
    np.testing.assert_allclose(np.asarray(spec.prior.components.scale)[0], expected, rtol=1e-8)


def test_autocorrelation_and_thinning_of_a_known_process():
    """An AR(1) process of coefficient r has autocorrelation r^k."""
    rng = np.random.default_rng(0)
    R, S, r = 200, 400, 0.7
    x = np.empty((R, S))
    x[:, 0] = rng.normal(size=R)
    for s in range(1, S):
        x[:, s] = r * x[:, s - 1] + np.sqrt(1 - r * r) * rng.normal(size=R)
    lags = correlations(x)[:6]
    np.testing.assert_allclose(lags, r ** np.arange(6), atol=0.03)
    assert abs(thinning([x, x[:, ::9]]) - np.log(CORRELATION) / np.log(r)) <= 1.5
    assert thinning([np.ones((3, 50))]) == 1


def test_ties_are_broken_at_random():
    rng = np.random.default_rng(0)
    draws = np.repeat([[0.1 + 0.2, 0.3, 1.0, 2.0]], 4000, axis=0)
    found = randomised_ranks(np.full((4000, 1), 0.3), draws, rng)
    share = np.bincount(found, minlength=5) / 4000
    np.testing.assert_allclose(share, [1 / 3, 1 / 3, 1 / 3, 0, 0], atol=0.03)


BAD = [
    (dict(X=np.zeros((5, 2)), means=[0.0]), "either by X or by means, sds and n_points"),
    (dict(means=[0.0], sds=[1.0]), "n_points=None"),
    (dict(means=[0.0], sds=[0.0], n_points=9), "sds above 0"),
    (dict(means=[0.0, 1.0], sds=[1.0], n_points=9), "as many numbers"),
    (dict(means=[0.0, 0.0], sds=[1.0, 1.0], n_points=2), "above the number of features"),
    (dict(means=[0.0], sds=[1.0], n_points=9, n_replicates=1), "n_replicates must be"),
    (dict(means=[0.0], sds=[1.0], n_points=9, n_samples=2), "n_samples must be"),
    (dict(means=[0.0], sds=[1.0], n_points=9, thin=0), "thin must be"),
    (dict(means=[0.0], sds=[1.0], n_points=9, n_warmup=-1), "n_warmup must be"),
    (dict(means=[0.0], sds=[1.0], n_points=9, quantities=[max]), "quantities must be a dict"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_bad_input_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        calibrate(model(), **given)


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(ValueError, match="must be an MCMCGaussianMixture.*got GaussianMixture"):
        calibrate(GaussianMixture(2), np.zeros((5, 1)))
    flat = dist.ImproperUniform(dist.constraints.real_vector, (), (1,))
    own = {"means": flat, "scales": dist.LogNormal(np.zeros(1), 1.0)}
    with pytest.raises(ValueError, match=r"component_prior\['means'\] must be .* drawn from"):
        calibrate(MCMCGaussianMixture(2, component_prior=own), np.zeros((5, 1)))


def test_a_quantity_of_another_shape_is_refused():
    own = {"sum": lambda draws: draws.weights.sum()}
    with pytest.raises(ValueError, match=r"quantities\['sum'\].*\(60, 1\)|\(60, 300\)"):
        calibrate(model(), **SHORT, quantities=own, random_state=0)


# --- long -----------------------------------------------------------------------------------------

STUDY = runpy.run_path(str(BENCHMARKS / "calibration.py"))
"""Of which the documentation has figures: the cases, and what is stated of the data."""


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDY["CASES"])
def test_every_prior_is_calibrated(name):
    model = MCMCGaussianMixture(**STUDY["CASES"][name])
    options = dict(**STUDY["STATED"], progress_bar=False, random_state=1)
    found = calibrate(model, **options, n_replicates=512)
    print(f"\n{name}\n{found}")
    assert found.calibrated
    assert found.crowded < 1e-3
