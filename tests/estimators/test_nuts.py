"""MCMCGaussianMixture with NumPyro's sampler, and numpyro_model in the user's units."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer.util import log_density

from bayesgmm import IndependentPrior, MCMCGaussianMixture, numpyro_model
from bayesgmm.core import FAMILIES
from bayesgmm.estimators import nuts
from bayesgmm.inference.chains import Draws
from bayesgmm.inference.model import ModelConfig, lkj_prior
from bayesgmm.inference.nuts import Info, NutsDraws

rng = np.random.default_rng(0)
X = np.concatenate([rng.normal(-4, 1, 19), rng.normal(5, 1.5, 12)])[:, None] * 20 + 1000
OPTIONS = {"sampler": "nuts", "n_chains": 4, "n_samples": 200, "random_state": 0}
OPTIONS |= {"progress_bar": False}


def fitted(n_components=2, sample_weight=None, points=X, **options):
    model = MCMCGaussianMixture(n_components, **{**OPTIONS, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(points, sample_weight=sample_weight)


def agree(one, other, names=("log_likelihood", "largest_weight", "entropy")):
    """Means over chains within four standard errors, from the effective numbers of draws."""
    tables = one.diagnose(), other.diagnose()
    for name in names:
        a, b = (table.loc[name] for table in tables)
        error = np.hypot(*(max(t["mcse_mean"], 1e-12) for t in (a, b)))
        assert abs(a["mean"] - b["mean"]) < 4 * error + 1e-9, name


@pytest.fixture(scope="module")
def model():
    return fitted()


def test_what_a_fit_leaves(model):
    assert model.sampler_ == "nuts" and model.n_components_ == 2 and model.truncation_ is None
    order = np.argsort(model.means_[:, 0])
    np.testing.assert_allclose(model.means_[order, 0], [X[:19].mean(), X[19:].mean()], atol=8)
    np.testing.assert_allclose(model.weights_[order], [20 / 33, 13 / 33], atol=0.02)
    labels = model.predict(X)
    assert len(set(labels[:19])) == len(set(labels[19:])) == 1 and labels[0] != labels[-1]
    assert np.isfinite(model.score_samples(X)).all()
    assert model.sample(5)[0].shape == (5, 1)
    tree = model.posterior_
    stats = tree["sample_stats"]
    for name in Info._fields + ("lp",):
        assert stats[name].shape == (4, 200), name
    assert tree.attrs["sampler"] == "nuts" and (stats["n_steps"] >= 1).all()
    assert tree["posterior"]["means"].dims == ("chain", "draw", "cluster", "feature")
    assert tree["log_likelihood"]["x"].shape == (4, 200, 31)


def test_it_agrees_with_gibbs(model):
    agree(model, fitted(sampler="gibbs", n_samples=1000))


def test_fractions_are_powers(model):
    """Every row twice with half the weight is the row; whole weights are rows."""
    twice = np.repeat(X[:16], 2, axis=0)
    halves = fitted(points=twice[:31], sample_weight=np.full(31, 0.5))
    assert halves._kept.weight.sum() == 15.5 and halves.similarity_matrix().shape == (31, 31)
    weight = np.r_[np.full(30, 1.0), 0.5]
    one, two = fitted(sample_weight=weight), fitted(sample_weight=np.r_[weight[:30], 0.5 + 1e-12])
    agree(one, two)
    whole = fitted(points=X[:30], sample_weight=np.r_[2.0, np.ones(28), 0.0])
    assert len(whole._kept.X) == 30 and whole._kept.weight is None
    with pytest.raises(ValueError, match="Row 30 has weight 0.5. Use sampler='nuts'"):
        fitted(sampler="gibbs", sample_weight=weight)


def test_the_same_seed_gives_the_same_draws_and_warm_starts_go_on(model):
    again = fitted()
    np.testing.assert_array_equal(again.mixtures().means, model.mixtures().means)
    again.set_params(warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again.fit(X)
    assert again.mixtures().means.shape[:2] == (4, 400) and again.n_iter_ == 600
    np.testing.assert_array_equal(again.mixtures().means[:, :200], model.mixtures().means)
    assert again.posterior_["sample_stats"]["diverging"].shape == (4, 400)
    with pytest.raises(ValueError, match="warm_start=True goes on"):
        again.set_params(sampler="gibbs").fit(X)


def test_thin_auto_goes_on_with_the_chains(monkeypatch):
    """Without another warm-up."""
    monkeypatch.setattr("bayesgmm.estimators.chains.MOST_THIN", 2)
    monkeypatch.setattr(MCMCGaussianMixture, "_has_converged", lambda *given: False)
    model = fitted(thin="auto", n_samples=100)
    assert model.thin_ == 2 and model.n_iter_ == 100 + 100 + 200
    assert model.posterior_["sample_stats"]["diverging"].shape == (4, 100)


def test_lkj_is_for_nuts_and_auto_picks_it():
    model = fitted(component_prior="lkj", sampler="auto", n_samples=100)
    assert model.sampler_ == "nuts" and set(model.component_prior_) == {"means", "scales"}
    np.testing.assert_allclose(model.component_prior_["means"].loc, X.mean(0))
    np.testing.assert_allclose(model.component_prior_["scales"].loc, np.log(X.std(0) / 2))
    assert model.n_components_ == 2 and not hasattr(model, "mean_prior_")
    lp = model.posterior_["log_prior"]["lp_components"]
    draws = model.mixtures()
    one = model.component_prior_["means"].log_prob(draws.means).sum((2, 3))
    one += model.component_prior_["scales"].log_prob(draws.scales[..., 0]).sum((2, 3))
    np.testing.assert_allclose(lp, one, rtol=1e-4)  # that one is in single precision


@pytest.mark.slow
def test_distributions_in_the_users_units_are_those_of_lkj():
    given = lkj_prior(X.mean(0), X.std(0), FAMILIES["full"])
    options = {"n_samples": 1000, "n_chains": 8}
    one = fitted(component_prior=given, **options)
    agree(one, fitted(component_prior="lkj", **options))


@pytest.mark.slow
def test_a_truncated_process_agrees_with_gibbs():
    options = {"n_components": "dp", "weight_concentration_prior": 0.5, "n_samples": 2000}
    one = fitted(**options)
    assert one.truncation_ == 8 and one.leftover_ < 1e-3  # 3^-7
    assert one.posterior_.attrs["truncation"] == 8
    agree(
        one, fitted(**options | {"sampler": "gibbs"}), ("log_likelihood", "n_clusters", "entropy")
    )


def test_what_is_refused():
    cases = [
        ({"component_prior": "lkj", "sampler": "gibbs"}, "sampler='gibbs' cannot sample"),
        ({"n_components": "mfm"}, "n_components='mfm' cannot be sampled by sampler='nuts'"),
        ({"sampler": "nut"}, "Did you mean 'nuts'"),
        ({"component_prior": "lkj", "mean_prior": [0.0]}, "mean_prior.* belong to"),
        ({"component_prior": "lkjj"}, "component_prior must be one of .*'lkj'.*a dict"),
        ({"component_prior": {"means": dist.Normal(0, 1)}}, "must have the keys 'means', 'scales'"),
        (
            {"component_prior": {"means": 3.0, "scales": dist.Gamma(1)}},
            r"'means'\] must be a NumPyro distribution of one component, got 3.0",
        ),
        (
            {"component_prior": {"means": dist.ImproperUniform(dist.constraints.real, (1,), ())}},
            r"'means'\] must be .* drawn from, got ImproperUniform.*Give a proper one",
        ),
        (
            {"component_prior": {"means": dist.Normal(0, 1).expand([2]), "scales": dist.Gamma(1)}},
            r"'means'\] must be .* of shape \(1,\), got shape \(2,\)",
        ),
        (
            {"component_prior": {"means": dist.Normal(0, 1).expand([1]), "scales": dist.Gamma(1)}},
            r"'scales'\] must be .* of shape \(1,\), got shape \(\)",
        ),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            fitted(**options)


def test_what_is_said_of_a_run():
    """Divergences, and a last component that holds points."""
    stats = Info(*np.zeros((5, 2, 50)), np.arange(100).reshape(2, 50) < 3)
    draws = Draws(*[None] * 10, crowded=np.array([4, 1]), state=None, interrupted=False)
    said = nuts.said_of(NutsDraws(draws, stats), ModelConfig("full", 7, "process"))
    assert "3 of 100 draws diverged" in said[0] and "raise n_warmup" in said[0]
    assert "the last of 7 components" in said[1] and "5% of the draws" in said[1]
    quiet = Info(*np.zeros((6, 2, 50)))
    none = draws._replace(crowded=np.zeros(2))
    assert nuts.said_of(NutsDraws(none, quiet), ModelConfig("full", 7, "process")) == []


def test_numpyro_model_is_the_same_density_in_other_units():
    """A constant apart, whatever the parameters, by the data-scaled prior."""
    options = {"component_prior": IndependentPrior(), "sample_weight": np.linspace(0, 2, 31)}
    draws = np.random.default_rng(1)
    values = {
        "weights": draws.dirichlet([2.0, 2.0], 4),
        "means": 1000 + 100 * draws.normal(size=(4, 2, 1)),
        "inverse_scales": draws.uniform(0.01, 0.1, (4, 2, 1, 1)),
    }

    def density(value):
        moved = {**value, "means": value["means"] / 7 - 3}
        moved["inverse_scales"] = 7 * value["inverse_scales"]
        pairs = ((X, value), (X / 7 - 3, moved))
        return [log_density(numpyro_model, (x, 2), options, v)[0] for x, v in pairs]

    with jax.enable_x64(True):
        one, other = jax.jit(jax.vmap(density))(values)
    assert np.ptp(one) > 1
    np.testing.assert_allclose(one - other, (one - other)[0], rtol=1e-9)


def test_numpyro_model_returns_the_mixture_of_the_points():
    seeded = handlers.seed(numpyro_model, jax.random.key(0))
    with handlers.trace() as sites:
        mixture = seeded(X, 2)
    weights, means = (sites[name]["value"] for name in ("weights", "means"))
    np.testing.assert_allclose(np.exp(mixture.log_weights), weights, rtol=1e-6)
    np.testing.assert_array_equal(mixture.means, means)
    density = mixture.log_prob(jnp.asarray(X)).sum()
    np.testing.assert_allclose(density, sites["x"]["fn"].log_prob(sites["x"]["value"]), rtol=1e-5)


def test_numpyro_model_refuses():
    with pytest.raises(ValueError, match="like must be given, .* where X is not given"):
        numpyro_model()
    with pytest.raises(ValueError, match="where X is traced by JAX"):
        jax.jit(lambda x: numpyro_model(x))(X)
    with pytest.raises(ValueError, match="max_components is the truncation"):
        numpyro_model(X, 3, max_components=4)
