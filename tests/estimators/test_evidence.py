"""log_evidence against exact evidences of few points, and the methods against each other.

All exact cases, and galaxies for K = 2 to 7 beside the static MFM, with their tables (ten minutes):
``pytest -m slow -s tests/estimators/test_evidence.py``.
"""

import copy
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from bayesgmm import (
    BayesianGaussianMixture,
    ConjugatePrior,
    GaussianMixture,
    IndependentPrior,
    MCMCGaussianMixture,
    datasets,
)
from bayesgmm.estimators.evidence import log_evidence
from bayesgmm.estimators.sampling import weight_options
from bayesgmm.posterior.comparison import compare_evidence, prior_sensitivity
from bayesgmm.posterior.evidence import EvidenceOverComponents

REFERENCE = Path(__file__).parent.parent / "reference"
QUIET = {"random_state": 0, "progress_bar": False}


def reference(name):
    return json.loads((REFERENCE / f"exact_{name}.json").read_text(encoding="utf-8"))


def cases(name):
    """Component prior, K, gamma and the exact log evidence of the cases with a known K."""
    known = reference(name)
    for case in known["cases"]:
        prior = known["partition_priors"][case["prior"]]
        if prior.get("K_prior", [""])[0] == "fixed":
            exact = case["log_marginal_likelihood"]
            yield case["component_prior"], prior["K_prior"][1], prior["gamma"], exact


def exact_of(name, component, K, gamma):
    return next(row[3] for row in cases(name) if row[:3] == (component, K, gamma))


def fitted(name, component, K, gamma, **options):
    """A model of the points and priors of a reference."""
    known = reference(name)
    X, given = np.array(known["x"], float), known["component_priors"][component]
    X = X.reshape(len(X), -1)
    D, family = X.shape[1], "full"
    if given["family"] == "indep":
        numbers = [given["b0"]], [[given["B0"]]], 2 * given["c0"], [[2 * given["C0"]]]
        prior = IndependentPrior(*numbers)
    else:
        if given["family"] == "niw":
            dof, scale = given["nu0"], given["S0"]
        else:
            dof, scale = 2 * given["a0"], 2 * np.atleast_1d(given["b0"])
            family = "full" if given["family"] == "nig" else "diag"
            scale = scale[:, None] if family == "full" else scale
        mean = np.broadcast_to(given["m0"], D)
        prior = ConjugatePrior(mean, given["k0"], dof, scale)
    return quietly(
        MCMCGaussianMixture(
            K,
            covariance_type=family,
            component_prior=prior,
            weight_concentration_prior=gamma,
            **{**QUIET, "moves": False, **options},
        ),
        X,
    )


def quietly(model, X):
    """Fitted, whatever the chains have to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X)


def assert_exact(found, exact, most=0.1):
    assert found.standard_error < most, found
    assert abs(found.log_evidence - exact) <= 3 * found.standard_error, (found, exact)


@pytest.fixture(scope="module")
def small():
    return fitted("u6", "nig_unit", 3, 1.0)


# --- exact


def test_the_exact_evidence_by_bridge(small):
    found = log_evidence(small, random_state=0)
    assert_exact(found, exact_of("u6", "nig_unit", 3, 1.0), most=0.02)
    assert found.method == "bridge" and found.n_components == 3
    assert 0.9 < found.details["overlap"] <= 1
    assert repr(found).startswith("Evidence(log_evidence=-13.8")


def test_the_exact_evidences_by_mfm(small):
    options = {"n_sweeps": 1500, "random_state": 0, "progress_bar": False}
    found = log_evidence(small, "mfm", n_components=[2, 3, 1], **options)
    assert isinstance(found, EvidenceOverComponents) and found.n_components == (2, 3, 1)
    for K in (2, 3):
        assert_exact(found[K], exact_of("u6", "nig_unit", K, 1.0))
    assert found[1].standard_error == 0 and found.details["flat"]
    one = log_evidence(small, "mfm", **options)
    assert one.n_components == 3 and one.log_evidence == found[3].log_evidence


def test_the_exact_evidence_under_an_independent_prior():
    model = fitted("u6_indep", "indep", 2, 1.0)
    exact = exact_of("u6_indep", "indep", 2, 1.0)
    assert_exact(log_evidence(model, random_state=0), exact, most=0.02)


def test_one_component_by_quadrature():
    model = fitted("u6_indep", "indep", 1, 1.0)
    known = reference("u6_indep")
    x, given = np.array(known["x"], float).ravel(), known["component_priors"]["indep"]

    def density(mu, log_variance):
        variance = np.exp(log_variance)
        likelihood = np.exp(stats.norm.logpdf(x, mu, np.sqrt(variance)).sum())
        prior = stats.invgamma.pdf(variance, given["c0"], scale=given["C0"]) * variance
        return likelihood * prior * stats.norm.pdf(mu, given["b0"], np.sqrt(given["B0"]))

    exact = np.log(integrate.dblquad(density, -5, 7, -12, 12, epsrel=1e-6)[0])
    for method in ("bridge", "mfm"):  # from draws of the model, or from its own
        assert_exact(log_evidence(model, method, random_state=0), exact, most=0.02)


def test_one_component_is_known_exactly():
    model = fitted("u6", "nig_unit", 1, 1.0, n_samples=10)
    found = log_evidence(model)
    assert found.method == "closed form" and found.standard_error == 0
    known = reference("u6")
    x, given = np.array(known["x"], float).ravel(), known["component_priors"]["nig_unit"]
    a, k = given["a0"], given["k0"]
    shape = given["b0"] / a * (np.eye(len(x)) + 1 / k)
    exact = stats.multivariate_t.logpdf(x, np.full(len(x), given["m0"]), shape, 2 * a)
    assert found.log_evidence == pytest.approx(exact, abs=1e-9)


# --- units, repeated rows


@pytest.mark.parametrize("method", ["bridge", "mfm"])
def test_a_change_of_units_changes_it_by_the_jacobian(small, method):
    X = small._kept.X
    options = {"n_sweeps": 200} if method == "mfm" else {}
    model = MCMCGaussianMixture(3, component_prior="conjugate", moves=False, **QUIET)
    found = [
        log_evidence(quietly(model, size * X), method, **options, **QUIET).log_evidence
        for size in (1.0, 4.0)
    ]
    assert found[1] - found[0] == pytest.approx(-6 * np.log(4.0), abs=1e-6)


def test_a_seed_repeats_it_and_the_model_stays(small):
    before = small.n_iter_, small.means_.copy()
    found = [log_evidence(small, random_state=seed).log_evidence for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert small.n_iter_ == before[0] and np.array_equal(small.means_, before[1])


# --- bad input


@pytest.mark.parametrize("other", [GaussianMixture(2), BayesianGaussianMixture(2), None])
def test_other_models(other):
    with pytest.raises(TypeError, match=f"MCMCGaussianMixture, got a {type(other).__name__}"):
        log_evidence(other)


def test_what_cannot_be_done(small):
    with pytest.raises(NotFittedError):
        log_evidence(MCMCGaussianMixture(2))
    with pytest.raises(ValueError, match=r"must be one of 'bridge', 'mfm'; got 'bridg'.*'bridge'"):
        log_evidence(small, "bridg")
    with pytest.raises(ValueError, match="must be that of the model, 3, .* got 4. .*'mfm'"):
        log_evidence(small, n_components=4)
    with pytest.raises(ValueError, match="n_sweeps=500 is for method='mfm'"):
        log_evidence(small, n_sweeps=500)
    with pytest.raises(ValueError, match="n_sweeps must be an integer of at least 100, got 5"):
        log_evidence(small, "mfm", n_sweeps=5)
    for wrong in (0, 2.0, "3", [], [1, True], range(1, 300)):
        with pytest.raises(ValueError, match="n_components must be an integer, or several"):
            log_evidence(small, "mfm", n_components=wrong)
    with pytest.raises(ValueError, match="must not name a number twice"):
        log_evidence(small, "mfm", n_components=[2, 2])
    with pytest.raises(ValueError, match="progress_bar must be True or False, got 1"):
        log_evidence(small, progress_bar=1)


def as_if(model, **options):
    """The model as if its number or concentration were other than those it was fitted with."""
    found = copy.copy(model).set_params(**options)
    given = found.n_components, None, found.weight_concentration_prior, None, None
    found._options = weight_options(*given)
    found._specification = found._specification._replace(options=found._options)
    return found


def test_models_that_it_does_not_take(small):
    with pytest.raises(ValueError, match="got n_components='dp': its evidence is a mean over K"):
        log_evidence(as_if(small, n_components="dp"))
    with pytest.raises(ValueError, match=r"fixed weight_concentration_prior, got \('gamma'"):
        log_evidence(as_if(small, weight_concentration_prior=("gamma", 1.0, 1.0)))
    with pytest.raises(ValueError, match="up to 10 components, got n_components=11: use .*'mfm'"):
        log_evidence(as_if(small, n_components=11))
    with pytest.raises(ValueError, match="at least 20 draws of each chain, .* the model has 10"):
        log_evidence(fitted("u6", "nig_unit", 3, 1.0, n_samples=10))
    other = copy.copy(small).set_params(component_prior="lkj")
    other.sampler_ = "nuts"
    with pytest.raises(ValueError, match="fitted with sampler='nuts', component_prior='lkj'"):
        log_evidence(other)


# --- other comparisons


def test_sensitivity_is_arvizs_on_each_part(small):
    from arviz_stats import psense_summary

    names = ["entropy", "largest_weight"]
    found = prior_sensitivity(small.posterior_, names)
    assert (found["weights"] == 0).all()  # Dirichlet(1, 1, 1), of which ArviZ has an error
    theirs = psense_summary(small.posterior_, var_names=names, prior_var_names=["lp_components"])
    np.testing.assert_allclose(found["components"], theirs["prior"], atol=1e-3)
    np.testing.assert_allclose(found["likelihood"], theirs["likelihood"], atol=1e-3)
    assert "n_clusters" in prior_sensitivity(small.posterior_).index
    with pytest.raises(ValueError, match="do not depend on labels, .*entropy.*; got means"):
        prior_sensitivity(small.posterior_, ["means"])
    with pytest.raises(ValueError, match="posterior, log_prior, log_likelihood missing"):
        prior_sensitivity(None)


def test_models_are_compared_by_arviz(small):
    import arviz_stats

    other = fitted("u6", "nig_unit", 1, 1.0)
    loo = arviz_stats.loo(small.posterior_, pointwise=True)
    assert np.isfinite(loo.elpd) and loo.pareto_k.shape[0] == 6
    table = arviz_stats.compare({"one": other.posterior_, "three": small.posterior_})
    assert table["weight"].sum() == pytest.approx(1.0)
    probability = compare_evidence([log_evidence(other), log_evidence(small)])["probability"]
    assert probability.idxmax() in (1, 3)


# --- long


@pytest.mark.slow
@pytest.mark.parametrize("name", ["u6", "m6_collinear2d", "m7_3d", "u6_indep"])
def test_every_exact_evidence(name):
    scores = []
    for component, K, gamma, exact in cases(name):
        model = fitted(name, component, K, gamma)
        for method in ("bridge", "mfm"):
            found = log_evidence(model, method, **QUIET)
            scores.append((found.log_evidence - exact) / found.standard_error)
            print(
                f"| {name} | {component} | {K} | {gamma:.2g} | {exact:.4f} | {method} "
                f"| {found.log_evidence:.4f} | {found.standard_error:.4f} | {scores[-1]:.2f} |"
            )
            assert found.standard_error < 0.1
    assert np.abs(scores).max() < 3.5 and np.sqrt(np.mean(np.square(scores))) < 1.5


@pytest.mark.slow
def test_galaxies():
    """The two estimators, and the static MFM with the same prior of a component."""
    velocity = datasets.load_galaxies()[0].to_numpy()
    X = (velocity - velocity.mean()) / velocity.std()
    prior, numbers = ConjugatePrior([0.0], 0.1, 3.0, [[0.25]]), range(2, 8)
    options = {"component_prior": prior, "weight_concentration_prior": 1.0, **QUIET}
    bridged = []
    for K in numbers:
        model = quietly(MCMCGaussianMixture(K, thin=5, **options), X)
        start = time.perf_counter()
        bridged.append(log_evidence(model, random_state=0))
        print(f"{bridged[-1]}, {time.perf_counter() - start:.1f} s")
    tilted = log_evidence(model, "mfm", n_components=numbers, **QUIET)
    print(tilted)
    errors = np.array([one.standard_error for one in bridged])
    gaps = np.array([one.log_evidence for one in bridged]) - tilted.log_evidence
    assert (errors < 0.2).all() and (tilted.standard_error < 0.2).all()
    assert (np.abs(gaps) < 3 * np.hypot(errors, tilted.standard_error)).all()
    static = quietly(
        MCMCGaussianMixture(
            "mfm",
            weight_prior="static",
            n_components_prior=np.r_[0.0, np.full(6, 1 / 6)],
            max_components=8,  # room for all of them, and no more: it is faster
            thin=10,
            **options,
        ),
        X,
    )
    theirs = static.n_components_posterior().add_suffix("_mfm")
    for found in (bridged, tilted):
        table = compare_evidence(found).join(theirs)
        print(table[["probability", "probability_error", "probability_mfm", "mcse_mfm"]])
        met = table["mcse_mfm"] > 0
        gap = (table["probability"] - table["probability_mfm"])[met]
        assert (gap.abs() < 3 * np.hypot(table["probability_error"], table["mcse_mfm"])[met]).all()
        assert (table["probability"][~met] < 0.001).all()  # two components, never drawn
