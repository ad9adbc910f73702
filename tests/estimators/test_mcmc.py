"""MCMCGaussianMixture: exact posteriors, what is published, what is refused."""

import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from bayesgmm import (
    BayesianGaussianMixture,
    ConjugatePrior,
    HierarchicalPrior,
    IndependentPrior,
    MCMCGaussianMixture,
)
from bayesgmm.datasets import load_galaxies
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.chains import LONGEST, check_finite_draws
from bayesgmm.estimators.mcmc import row_labels
from tests.conftest import slow

REFERENCE = Path(__file__).parents[1] / "reference"
QUIET = {"progress_bar": False, "random_state": 0}


def two_clusters(n=24, D=1):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, D)) + 8 * (np.arange(n) % 3 == 0)[:, None]


@pytest.fixture(scope="module")
def X():
    index = [f"row {i}" for i in range(24)]
    return pd.DataFrame(two_clusters(D=2), columns=["height", "weight"], index=index)


def sampled(X, n_components=2, **options):
    """A short fit, whose warnings are not of interest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        options = {"n_chains": 2, "n_samples": 100, **QUIET, **options}
        weight = options.pop("sample_weight", None)
        return MCMCGaussianMixture(n_components, **options).fit(X, sample_weight=weight)


@pytest.fixture(scope="module")
def model(X):
    return sampled(X)


# --- the exact posterior ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prior, options",
    [
        slow("dp_alpha1", {"n_components": "dp", "weight_concentration_prior": 1.0}),
        slow("mfm_bnb143_gamma1", {"n_components": "mfm", "weight_prior": "static"}),
    ],
)
def test_the_exact_posterior_in_the_users_units(prior, options):
    """p(K+) and the similarities of enumeration, with points far from 0 and units far from 1."""
    exact = json.loads((REFERENCE / "exact_u6.json").read_text())
    case = next(c for c in exact["cases"] if c["prior"] == prior)
    given, x = exact["component_priors"][case["component_prior"]], np.array(exact["x"], float)
    size, shift = 1000.0, 5e4
    model = sampled(
        (shift + size * x)[:, None],
        component_prior="conjugate",
        mean_prior=[shift + size * given["m0"]],
        mean_precision_prior=given["k0"],
        degrees_of_freedom_prior=2 * given["a0"],
        covariance_prior=[[2 * given["b0"] * size**2]],
        n_chains=4,
        n_samples=1000,
        thin=2,
        **options,
    )
    found = model.n_clusters_posterior()
    for t, probability in case["p_Kplus"].items():
        if probability > 0.002:
            row = found.loc[int(t)]
            assert abs(row["probability"] - probability) < 4 * row["mcse"] + 1e-3
    together, mcse = model.similarity_matrix(return_mcse=True)
    assert (abs(together[0] - case["psm_first_row"]) < 4 * mcse[0] + 1e-3).all()
    assert mcse.max() < 0.02


@pytest.mark.parametrize(
    "covariance_type",
    [
        "full",
        *(slow(name) for name in ("tied", "diag", "spherical")),
    ],
)
def test_one_component_is_the_conjugate_posterior(covariance_type, X):
    """Of one component variational Bayes is exact: the same predictive density, means, weights."""
    given = {
        "covariance_type": covariance_type,
        "mean_precision_prior": 0.5,
        "degrees_of_freedom_prior": 4.0,
    }
    exact = BayesianGaussianMixture(1, moves=False, prune=False, reg_covar=0.0, **given).fit(X)
    given |= {"component_prior": "conjugate", "covariance_prior": exact.covariance_prior_}
    model = sampled(X, 1, n_chains=4, n_samples=1000, **given)
    assert model.converged_ and model.weights_.tolist() == [1.0]
    points = X.iloc[:8]
    np.testing.assert_allclose(model.score_samples(points), exact.score_samples(points), atol=0.03)
    spread = np.sqrt(np.diag(np.cov(X.T))) / np.sqrt(len(X))
    assert (abs(model.means_[0] - exact.means_[0]) < 5 * spread / np.sqrt(4000)).all()


# --- the prior of the components ----------------------------------------------------------------


@pytest.mark.slow
def test_a_mean_independent_of_its_covariance_in_the_users_units():
    """As the exact posterior above, each number of the prior in units far from 1."""
    exact = json.loads((REFERENCE / "exact_u6_indep.json").read_text())
    case = next(c for c in exact["cases"] if c["prior"] == "dp_alpha1")
    given, x = exact["component_priors"]["indep"], np.array(exact["x"], float)
    size, shift = 1000.0, 5e4
    prior = IndependentPrior(
        [shift + size * given["b0"]],
        [[given["B0"] * size**2]],
        2 * given["c0"],
        [[2 * given["C0"] * size**2]],
    )
    model = sampled(
        (shift + size * x)[:, None],
        "dp",
        component_prior=prior,
        weight_concentration_prior=1.0,
        n_chains=4,
        n_samples=5000,
    )
    found = model.n_clusters_posterior()
    for t, probability in case["p_Kplus"].items():
        if probability > 0.002:
            row = found.loc[int(t)]
            assert abs(row["probability"] - probability) < 4 * row["mcse"] + 1e-3
    pairs = np.triu_indices(len(x), 1)
    np.testing.assert_allclose(model.similarity_matrix()[pairs], case["psm_pairs"], atol=0.03)


@pytest.mark.slow
def test_the_galaxies_of_richardson_and_green():
    """Their table 1 (reproduced since by others): p(K | data) of 3 to 12 components."""
    published = [0.061, 0.128, 0.182, 0.199, 0.160, 0.109, 0.071, 0.040, 0.023, 0.013]
    X, _ = load_galaxies()
    model = sampled(
        X,
        "mfm",
        component_prior="richardson-green",
        weight_prior="static",
        n_components_prior=("uniform", 30),
        n_chains=4,
        n_samples=2000,
        thin=40,
        n_warmup=2000,
    )
    found = model.n_components_posterior().loc[3:12]
    assert (found["mcse"] < 0.006).all() and model.converged_
    np.testing.assert_allclose(found["probability"], published, rtol=0, atol=0.015)


FEW = {"n_chains": 2, "n_samples": 20, "n_warmup": 20, "moves": False}


def test_the_numbers_of_the_hierarchical_prior(X):
    """As Fruhwirth-Schnatter, Malsiner-Walli and Grun (2021) have them for Gaussians."""
    prior = sampled(X, component_prior="hierarchical", **FEW).component_prior_
    x = X.to_numpy()
    R, c0, g0 = x.max(0) - x.min(0), 2.5 + 0.5, 0.5 + 0.5
    np.testing.assert_allclose(prior.mean_prior, np.median(x, axis=0))
    np.testing.assert_allclose(prior.mean_covariance_prior, np.diag(R**2))
    assert (prior.covariance_shape_prior, prior.scale_shape_prior) == (c0, g0)
    np.testing.assert_allclose(prior.scale_rate_prior, np.diag(100 * g0 / c0 / R**2))


def test_the_numbers_of_richardson_and_green(X):
    """Their section 2.2 for one feature: xi, kappa = 1 / R^2, alpha = 2, g = 0.2, h = 10 / R^2."""
    x = X[["height"]]
    prior = sampled(x, component_prior="richardson-green", **FEW).component_prior_
    low, high = x.to_numpy().min(), x.to_numpy().max()
    assert prior.mean_prior == pytest.approx([(low + high) / 2])
    assert prior.mean_covariance_prior == pytest.approx((high - low) ** 2)
    assert (prior.covariance_shape_prior, prior.scale_shape_prior) == (2.0, 0.2)
    assert prior.scale_rate_prior == pytest.approx(10 / (high - low) ** 2)


AGAIN = [
    ("hierarchical", "spherical"),
    slow("conjugate", "full"),
    slow("independent", "full"),
    slow("conjugate", "spherical"),
    slow("independent", "spherical"),
    slow("hierarchical", "full"),
]


@pytest.mark.parametrize("name, covariance_type", AGAIN)
def test_a_prior_as_used_can_be_given_again(name, covariance_type, X):
    options = {"covariance_type": covariance_type, **FEW}
    model = sampled(X, component_prior=name, **options)
    again = sampled(X, component_prior=model.component_prior_, **options)
    np.testing.assert_array_equal(model.mixtures().means, again.mixtures().means)
    scale = model.posterior_["posterior"].get("scale")
    assert (scale is None) == (name != "hierarchical")
    if name == "hierarchical":
        assert (
            scale.dims[2:] == {"full": ("feature", "feature_bis"), "spherical": ()}[covariance_type]
        )
        assert (
            "log_det_scale" in model.diagnose().index
            and (model.quantities()["log_det_scale"]).std() > 0
        )
    assert hasattr(model, "mean_precision_prior_") == (name == "conjugate")


def test_units_do_not_matter(X):
    """The same draws of data in other units, the prior scaled by the data."""
    model = sampled(X, component_prior="hierarchical", **FEW)
    scaled = sampled(1000 * X + 7, component_prior="hierarchical", **FEW)
    np.testing.assert_array_equal(model._draws.labels, scaled._draws.labels)
    before, after = model.posterior_["posterior"]["scale"], scaled.posterior_["posterior"]["scale"]
    np.testing.assert_allclose(after, 1e6 * before, rtol=1e-6)


def in_a_flat(case):
    """Points that do not fill their space, and the covariance types for which that matters."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-3, 1, (20, 2)), rng.normal(3, 1, (20, 2))])
    return {
        "constant": np.c_[X, np.ones(40)],
        "combination": np.c_[X, X[:, 0] - 2 * X[:, 1]],
        "repeated": np.repeat(rng.normal(size=(6, 8)), 5, axis=0),
        "equal": np.full((40, 2), 3.0),
    }[case]


FLATS = [
    ("combination", "full"),
    ("equal", "spherical"),
    *(
        slow(*pair)
        for pair in (
            ("constant", "full"),
            ("constant", "tied"),
            ("constant", "diag"),
            ("combination", "tied"),
            ("repeated", "full"),
            ("repeated", "tied"),
            ("equal", "full"),
            ("equal", "tied"),
            ("equal", "diag"),
        )
    ),
]


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("case, kind", FLATS)
def test_points_in_a_flat_have_no_random_scale(case, kind):
    """Its posterior has no integral there: chains would go to covariances of 0, and NaN."""
    X = in_a_flat(case)
    with pytest.warns(UserWarning, match="held at its prior mean"):
        model = sampled(X, covariance_type=kind, **FEW)
    assert type(model.component_prior_) is IndependentPrior
    free = HierarchicalPrior()
    with pytest.raises(ValueError, match="use an IndependentPrior"):
        sampled(X, covariance_type=kind, component_prior=free, **FEW)


def test_rows_that_come_many_times_may_shrink_the_scale():
    """Two clusters of two points each, four times, have parallel flats: seen in the draws."""
    X = np.repeat([[1.0, 3.0], [2.0, 1.0], [3.0, 3.0], [4.0, 1.0]], 4, axis=0)
    with pytest.warns(UserWarning, match="held at its prior mean"):
        model = sampled(X, moves=False, n_samples=400)
    assert type(model.component_prior_) is IndependentPrior
    assert np.isfinite(model.posterior_["sample_stats"]["lp"]).all()
    held = vars(model.component_prior_)
    with pytest.warns(UserWarning, match="held at its prior mean"):
        model.set_params(warm_start=True, n_samples=50).fit(X)
    assert type(model.component_prior_) is IndependentPrior and model.n_draws_ == 900
    assert all(map(np.array_equal, held.values(), vars(model.component_prior_).values()))


def test_an_interrupted_fit_does_not_begin_again(X, monkeypatch):
    """Not even where its scale went to that of a flat."""
    monkeypatch.setattr("bayesgmm.estimators.component_priors.has_shrunk", lambda scales: True)
    fits = []

    def interrupt(self, progress):
        fits.append(progress.done)
        if progress.done > 30:
            raise KeyboardInterrupt

    monkeypatch.setattr("bayesgmm.estimators.chains.Bar.__call__", interrupt)
    model = sampled(X, moves=False, n_samples=100_000, n_warmup=0)
    assert type(model.component_prior_) is HierarchicalPrior and fits == sorted(fits)


@pytest.mark.parametrize(
    "X, kind",
    [
        slow(in_a_flat("constant"), "spherical"),
        slow(in_a_flat("combination"), "diag"),
        (in_a_flat("repeated")[::5], "full"),  # 6 points in 8 dimensions: too few to shrink it
    ],
)
def test_a_random_scale_where_its_posterior_exists(X, kind):
    model = sampled(X, covariance_type=kind, **{**FEW, "n_samples": 400})
    assert type(model.component_prior_) is HierarchicalPrior
    assert np.isfinite(model.posterior_["posterior"]["scale"]).all()


def test_draws_that_are_lost_are_no_fit():
    found = np.zeros((2, 5))
    check_finite_draws(found)
    found[1, 3:] = np.nan
    with pytest.raises(ValueError, match="chain 1 was lost at draw 3"):
        check_finite_draws(found)


# --- what is published --------------------------------------------------------------------------


def test_shapes(model, X):
    assert model.n_components_ == 2 and model.means_.shape == (2, 2)
    assert model.covariances_.shape == (2, 2, 2) and model.labels_.shape == (24,)
    assert model.weights_.sum() == pytest.approx(1.0) and model.weights_[0] > model.weights_[1]
    assert model.n_draws_ == 200 and model.n_iter_ == 200
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    np.testing.assert_array_equal(model.labels_ == model.labels_[0], np.arange(24) % 3 == 0)
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1.0)
    drawn, labels = model.sample(50)
    assert drawn.shape == (50, 2) and set(labels) == {0, 1}
    assert model.mixtures().means.shape == (2, 100, 2, 2)
    assert model.summary().columns.tolist()[:2] == ["weight", "mean(height)"]
    assert model.uncertainty(X).index.tolist() == X.index.tolist()


@pytest.mark.parametrize(
    "covariance_type, shape",
    [
        ("tied", (2, 2)),
        slow("diag", (2, 2)),
        slow("spherical", (2,)),
    ],
)
def test_other_covariances(covariance_type, shape, X):
    model = sampled(X, covariance_type=covariance_type, moves=False)
    assert model.covariances_.shape == shape
    assert np.isfinite(model.score_samples(X)).all()
    assert abs(model.means_ - sampled(X).means_).max() < 1


def test_draws_have_the_largest_cluster_first(model):
    draws = model._draws
    assert (np.diff(draws.counts, axis=-1) <= 0).all()
    for labels, counts in zip(draws.flat().labels, draws.flat().counts, strict=True):
        np.testing.assert_array_equal(np.bincount(labels, minlength=len(counts)), counts)


def test_the_same_seed_gives_the_same_draws(X, model):
    again = sampled(X)
    np.testing.assert_array_equal(model._draws.labels, again._draws.labels)
    np.testing.assert_array_equal(model.mixtures().means, again.mixtures().means)
    other = sampled(X, random_state=1)
    assert (model.mixtures().means != other.mixtures().means).any()


def test_the_order_of_rows_is_of_no_account(X, model):
    order = np.random.default_rng(0).permutation(len(X))
    other = sampled(X.iloc[order])
    np.testing.assert_array_equal(other._draws.labels, model._draws.labels[:, :, order])
    np.testing.assert_array_equal(other.mixtures().means, model.mixtures().means)


def test_weights_are_copies_of_rows(X):
    weight = np.arange(24) % 3
    model = sampled(X, sample_weight=weight)
    copied = sampled(X.loc[X.index.repeat(weight)])
    np.testing.assert_array_equal(model.mixtures().means, copied.mixtures().means)
    assert model.labels_.shape == (24,) and model.similarity_matrix().shape == (24, 24)


def test_warm_start_goes_on_bit_for_bit(X):
    whole = sampled(X, n_samples=100, n_warmup=20)
    parts = sampled(X, n_samples=50, n_warmup=20, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        parts.fit(X)
    assert parts.n_draws_ == 200
    np.testing.assert_array_equal(whole._draws.labels, parts._draws.labels)
    np.testing.assert_array_equal(whole.mixtures().scales, parts.mixtures().scales)
    with pytest.raises(ValueError, match="warm_start=True goes on"):
        parts.set_params(n_chains=3).fit(X)
    parts.set_params(n_chains=2)
    with pytest.raises(ValueError, match="needs the same points and options"):
        parts.fit(X + 1.0)
    changed = (
        {"component_prior": HierarchicalPrior(scale_shape_prior=4.0)},
        {"component_prior": "independent"},
        {"weight_concentration_prior": 2.0},
    )
    for options in changed:  # the draws would be of two posteriors
        before = {name: getattr(parts, name) for name in options}
        with pytest.raises(ValueError, match="needs the same points and options"):
            parts.set_params(**options).fit(X)
        parts.set_params(**before)
    assert parts.n_draws_ == 200


def test_rows_keep_their_labels(model, X):
    assert model.posterior_["posterior"].coords["obs_id"].values.tolist() == X.index.tolist()
    weight = np.arange(24) % 3
    pairs = pd.MultiIndex.from_product([["a", "b"], range(12)])
    cases = [
        (X, None, X.index),
        (X.to_numpy(), None, pd.RangeIndex(24)),
        (X, weight, X.index.repeat(weight)),
        (X.set_axis(pairs), None, pairs.map(str)),
    ]
    for points, w, expected in cases:
        assert row_labels(points, Entered(X.to_numpy(), w), True).equals(expected)
    fractions = Entered(X.to_numpy(), weight / 4)
    assert row_labels(X, fractions, False).equals(X.index[weight > 0])


def test_it_can_be_pickled(model, X):
    back = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(back.score_samples(X), model.score_samples(X))


# --- the number of clusters and of components ---------------------------------------------------


@pytest.mark.parametrize("n_components", ["mfm", *(slow(name) for name in ("dp", "py"))])
def test_the_number_of_clusters_is_found(n_components, X):
    model = sampled(X, n_components, n_samples=500, moves=False)
    table = model.n_clusters_posterior()
    assert table["probability"].sum() == pytest.approx(1.0)
    assert int(table["probability"].idxmax()) == model.n_components_
    assert (table["prior"] > 0).all() and table["prior"].sum() <= 1 + 1e-9
    quantities = model.diagnose().index
    assert "concentration" in quantities
    if n_components == "mfm":
        numbers = model.n_components_posterior()
        assert numbers["probability"].sum() == pytest.approx(1.0)
        assert (model._draws.n_components >= model._draws.n_clusters).all()
    else:
        with pytest.raises(ValueError, match="number of components is infinite"):
            model.n_components_posterior()


def test_a_prior_over_their_number_is_kept(X):
    model = sampled(X, "mfm", n_components_prior=[0.0, 0.0, 0.5, 0.5], moves=False)
    assert set(np.unique(model._draws.n_components)) <= {3, 4}
    with pytest.raises(ValueError, match="number of components is known"):
        sampled(X).n_components_posterior()


# --- warnings -----------------------------------------------------------------------------------


def test_chains_that_disagree_are_reported(X):
    with pytest.warns(ConvergenceWarning, match="cannot be relied on yet") as caught:
        model = MCMCGaussianMixture(2, n_chains=2, n_samples=20, **QUIET).fit(X)
    assert "warm_start=True" in str(caught[0].message) or "n_warmup" in str(caught[0].message)
    assert not model.converged_


def test_too_few_components_are_reported(X):
    options = {"n_chains": 2, "n_samples": 100, "moves": False, **QUIET}
    with pytest.warns(ConvergenceWarning, match="more than the 4 components that max_components"):
        model = MCMCGaussianMixture(
            "dp", max_components=4, weight_concentration_prior=20.0, **options
        )
        model.fit(X)


def test_an_interrupt_keeps_the_draws_there_are(X, monkeypatch):
    seen = []

    def interrupt(self, progress):
        seen.append(progress)
        if progress.done >= 150:
            raise KeyboardInterrupt

    monkeypatch.setattr("bayesgmm.estimators.chains.Bar.__call__", interrupt)
    with pytest.warns(ConvergenceWarning, match="interrupted: "):
        model = MCMCGaussianMixture(2, n_chains=2, n_samples=10_000, n_warmup=50, **QUIET).fit(X)
    assert 20 <= model.n_draws_ < 20_000 and np.isfinite(model.score_samples(X)).all()


def test_many_points_move_in_the_warm_up_only(X, monkeypatch):
    """Two runs: the first with moves and without draws, the second the other way round."""
    from bayesgmm.estimators import mcmc
    from bayesgmm.inference import chains

    asked, run = [], chains.run

    def watched(states, data, prior, config, *given):
        asked.append((config.moves, given[:3]))
        return run(states, data, prior, config, *given)

    monkeypatch.setattr(mcmc, "MANY", 20)
    monkeypatch.setattr(chains, "run", watched)
    model = sampled(X, n_samples=50, n_warmup=30, thin=2)
    assert asked == [((0, 1), (0, 1, 30)), ((), (50, 2, 0))]
    assert model.n_iter_ == 130 and model.n_draws_ == 100

    def interrupt(self, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr("bayesgmm.estimators.chains.Bar.__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sampled(X)
    assert len(asked) == 3  # none after the warm-up


# --- thin="auto" --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def overlapping():
    rng = np.random.default_rng(1)
    return np.concatenate([rng.normal(size=40), rng.normal(2.6, 1, size=40)])[:, None]


SLOW = {"n_samples": 250, "n_chains": 4, "moves": False}
"""Of overlapping clusters: chains that need several sweeps a draw."""


@pytest.fixture(scope="module")
def auto(overlapping):
    return sampled(overlapping, thin="auto", **SLOW)


def same_draws(a, b):
    pairs = zip(a._draws.mixtures, b._draws.mixtures, strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


def test_auto_gives_the_draws_of_the_thin_it_comes_to(auto, overlapping):
    assert auto.converged_ and auto.thin_ > 1
    assert auto.n_iter_ == 2 * 250 * auto.thin_ and auto.n_draws_ == 1000
    assert same_draws(auto, sampled(overlapping, thin=auto.thin_, **SLOW))
    assert not sampled(overlapping, thin=auto.thin_ // 2, **SLOW).converged_


def test_auto_goes_on_at_the_thin_it_came_to(overlapping, monkeypatch):
    monkeypatch.setattr("bayesgmm.estimators.chains.MOST_THIN", 2)
    with pytest.warns(ConvergenceWarning, match="thin='auto' stopped at 2 sweeps a draw"):
        model = MCMCGaussianMixture(2, thin="auto", **QUIET, **SLOW).fit(overlapping)
    assert model.thin_ == 2 and not model.converged_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.set_params(warm_start=True, n_samples=50).fit(overlapping)
    assert model.thin_ == 2 and model.n_draws_ == 1200 and model.n_iter_ == 1000 + 100


def test_auto_takes_one_sweep_a_draw_where_that_will_do(X, monkeypatch):
    """Or where more will not: of few draws, or of many points."""
    model = sampled(X, thin="auto", n_samples=1000)
    assert model.converged_ and model.thin_ == 1
    few, enough = sampled(X, thin="auto", n_samples=199), {"thin": "auto", "n_samples": 200}
    assert few.thin_ == 1 and sampled(X, **enough).thin_ > 1
    monkeypatch.setitem(LONGEST, "gibbs", 2 * 200 * 24 - 1)
    assert sampled(X, **enough).thin_ == 1


def test_an_interrupt_of_a_longer_run_keeps_the_shorter_one(overlapping, monkeypatch):
    def interrupt(self, progress):
        if progress.total == 2 * 250:  # the second run, which has no warm-up
            raise KeyboardInterrupt

    options = {**SLOW, "n_warmup": 100}
    monkeypatch.setattr("bayesgmm.estimators.chains.Bar.__call__", interrupt)
    with pytest.warns(ConvergenceWarning, match="interrupted: the draws of 1 sweep are kept"):
        model = MCMCGaussianMixture(2, thin="auto", **QUIET, **options).fit(overlapping)
    assert model.thin_ == 1 and model.n_draws_ == 1000
    assert same_draws(model, sampled(overlapping, **options))


def test_an_early_interrupt_leaves_the_last_fit(X, model, monkeypatch):
    before, score = model.n_draws_, model.score(X)

    def interrupt(self, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr("bayesgmm.estimators.chains.Bar.__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.n_draws_ == before and model.score(X) == score


def test_the_bar_is_shown_and_can_be_turned_off(X, capsys, monkeypatch):
    from bayesgmm.estimators import chains

    monkeypatch.setattr(chains, "PATIENCE", 0.0)
    sampled(X, progress_bar=True)
    assert "sampling" in capsys.readouterr().err
    sampled(X)
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


# --- what is refused ----------------------------------------------------------------------------

REFUSED = [
    ({"n_components": 0}, "n_components must be an integer"),
    ({"n_components": "mfn"}, "Did you mean 'mfm'"),
    ({"n_components": 2.5}, "n_components must be an integer"),
    ({"covariance_type": "VEE"}, "covariance_type must be one of"),
    ({"weight_prior": "dynamic"}, "weight_prior is that of n_components='mfm'"),
    ({"n_components": "mfm", "weight_prior": "dynamik"}, "Did you mean 'dynamic'"),
    (
        {"n_components_prior": ("poisson", 1)},
        "n_components_prior is the prior of n_components='mfm'",
    ),
    ({"n_components": "mfm", "n_components_prior": ("poison", 1)}, "Did you mean 'poisson'"),
    ({"n_components": "mfm", "n_components_prior": ("bnb", 1)}, r"\('bnb', size, a, b\)"),
    ({"n_components": "mfm", "n_components_prior": ("geometric", 1.5)}, "less than 1, got 1.5"),
    ({"n_components": "mfm", "n_components_prior": [0.5, 0.4]}, "sum to one"),
    ({"n_components": "mfm", "n_components_prior": [[1.0]]}, "vector of up to 200"),
    ({"n_components": "dp", "discount_prior": 0.1}, "discount_prior is that of n_components='py'"),
    ({"n_components": "py", "discount_prior": 1.0}, "at least 0 and less than 1"),
    (
        {"weight_concentration_prior": -1.0},
        "weight_concentration_prior must be a finite number above 0",
    ),
    ({"weight_concentration_prior": ("beta", 1, 1)}, r"\('gamma', shape, rate\)"),
    ({"weight_concentration_prior": ("gamma", 0, 1)}, r"weight_concentration_prior\[1\]"),
    ({"max_components": 5}, "max_components is for an unknown number"),
    ({"n_chains": 0}, "n_chains must be an integer of at least 1"),
    ({"n_samples": 3}, "n_samples must be an integer of at least 4"),
    ({"thin": 0}, "thin must be an integer"),
    ({"thin": "some"}, "thin must be an integer of at least 1 or 'auto', got 'some'"),
    ({"n_warmup": -1}, "n_warmup must be an integer"),
    ({"moves": "some"}, "moves must be True or False"),
    ({"warm_start": 1}, "warm_start must be True or False"),
    ({"progress_bar": "no"}, "progress_bar must be True or False"),
    ({"mean_prior": [1.0], "component_prior": "conjugate"}, "mean_prior"),
    (
        {"mean_precision_prior": 0.0, "component_prior": "conjugate"},
        "mean_precision_prior must be a finite number above 0",
    ),
    ({"degrees_of_freedom_prior": 0.5, "component_prior": "conjugate"}, "degrees_of_freedom_prior"),
    (
        {"covariance_prior": [[1.0, 2.0], [2.0, 1.0]], "component_prior": "conjugate"},
        "positive-definite",
    ),
    ({"component_prior": "hierarchicl"}, "Did you mean 'hierarchical'"),
    ({"component_prior": 3}, "component_prior must be one of 'conjugate'"),
    (
        {"component_prior": "hierarchical", "mean_prior": [0.0, 0.0]},
        r"'mean_prior' belong to component_prior='conjugate'.*=HierarchicalPrior\(mean_prior, ",
    ),
    (
        {"component_prior": ConjugatePrior(), "mean_prior": [0.0, 0.0]},
        "component_prior=ConjugatePrior",
    ),
    (
        {"component_prior": IndependentPrior(mean_covariance_prior=[1.0, 1.0])},
        "'mean_covariance_prior' should have the shape",
    ),
    (
        {"component_prior": HierarchicalPrior(scale_shape_prior=0.5)},
        "'scale_shape_prior' should be greater than 0.5",
    ),
    (
        {"component_prior": HierarchicalPrior(scale_rate_prior=[[1.0, 2.0], [2.0, 1.0]])},
        "'scale_rate_prior' should be symmetric",
    ),
]


@pytest.mark.parametrize("options, message", REFUSED)
def test_refused(options, message, X):
    with pytest.raises(ValueError, match=message):
        MCMCGaussianMixture(**{"n_components": 2, "progress_bar": False, **options}).fit(X)


def test_fractional_weights_are_refused(X):
    weight = np.ones(24)
    weight[7] = 0.5
    with pytest.raises(ValueError, match="Row 7 has weight 0.5"):
        MCMCGaussianMixture(2, **QUIET).fit(X, sample_weight=weight)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "uncertainty"])
def test_unfitted(method, X):
    with pytest.raises(NotFittedError):
        getattr(MCMCGaussianMixture(), method)(X)


@pytest.mark.parametrize(
    "method", ["sample", "diagnose", "n_clusters_posterior", "similarity_matrix", "mixtures"]
)
def test_unfitted_posterior(method):
    with pytest.raises(NotFittedError):
        getattr(MCMCGaussianMixture(), method)()
    with pytest.raises(NotFittedError):
        MCMCGaussianMixture().posterior_  # noqa: B018


def test_nothing_outside_is_changed(X):
    import jax

    before, state = X.copy(), np.random.get_state()[1].copy()  # noqa: NPY002
    sampled(X)
    pd.testing.assert_frame_equal(X, before)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert not jax.config.jax_enable_x64
