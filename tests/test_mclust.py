"""Agreement with mclust from given classifications, family by family, to stated digits."""

import json
from pathlib import Path

import numpy as np
import pytest

from bayesgmm import GaussianMixture, datasets
from bayesgmm.core import FAMILIES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

COLUMNS = {
    "iris": lambda case: datasets.load_iris()[0].to_numpy(),
    "faithful": lambda case: datasets.load_faithful()[0].to_numpy(),
    "diabetes": lambda case: np.array(case["x"]),  # ours has one value corrected
    "galaxies": lambda case: np.array(case["x"]),  # likewise
}


def reference(name):
    path = Path(__file__).parent / "reference" / f"mclust_{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


TABLES = {name: reference(name) for name in COLUMNS}
FAMILIES_OF_MANY = [name for name in FAMILIES if name.isupper() and len(name) == 3]
SETS = ("iris", "faithful", "diabetes")
"""A family compiles anew for each: it is tried on one of them always, and on all by ``-m slow``."""


def marks_of(name, model):
    if model not in FAMILIES_OF_MANY:
        return ()
    return () if SETS[FAMILIES_OF_MANY.index(model) % len(SETS)] == name else pytest.mark.slow


CASES = [
    pytest.param(
        name,
        start,
        model,
        id=f"{name}-{start['G']}-{start['start']}-{model}",
        marks=marks_of(name, model),
    )
    for name, table in TABLES.items()
    for model in table["fixed_starts"][0]["models"]
    for start in table["fixed_starts"]
]


def responsibilities(start):
    """What the rule of this start makes of its labels."""
    labels, G = np.array(start["initial_classification"]) - 1, start["G"]
    share = {"z = onehot": 1.0, "z = 0.7*onehot + 0.3/G": 0.7}[start["z_rule"]]
    return share * np.eye(G)[labels] + (1 - share) / G


def fit(name, start, model, **options):
    X = COLUMNS[name](TABLES[name])
    options = dict(covariance_type=model, reg_covar=0) | options
    ours = GaussianMixture(start["G"], init_params=responsibilities(start), **options)
    return ours.fit(X), X, start["models"][model]


@pytest.mark.parametrize("name, start, model", CASES)
def test_step_by_step(name, start, model):
    """An M-step and the E-step that evaluates it, 1 to 20 times over."""
    ours, X, expected = fit(name, start, model, tol=0, max_iter=20, acceleration=None)
    pairs, loglik = expected["loglik_after_iterations"].values()
    assert pairs == [1, 2, 3, 5, 10, 20]
    found = len(X) * np.array(ours.lower_bounds_)[np.array(pairs) - 1]
    if model in ("EVE", "VVE"):  # the search for their axes is not the same: it must not be worse
        assert found[-1] > loglik[-1] - 1e-6 * abs(loglik[-1])
    else:
        np.testing.assert_allclose(found, loglik, rtol=1e-6)


@pytest.mark.parametrize("name, start, model", CASES)
def test_converged(name, start, model):
    ours, X, expected = fit(name, start, model, tol=1e-11, max_iter=3000)
    (N, D), G, loglik = X.shape, start["G"], expected["loglik"]
    assert ours.converged_
    # df counts the free parameters; their criterion is minus ours
    bic = 2 * N * ours.lower_bound_ - expected["df"] * np.log(N)
    np.testing.assert_allclose(-ours.bic(X), bic, rtol=1e-10)
    if model == "VVE":  # theirs ends short of a stationary point, and another one follows
        assert N * ours.lower_bound_ > loglik - 1e-6 * abs(loglik)
        return
    np.testing.assert_allclose(N * ours.lower_bound_, loglik, rtol=1e-6)
    np.testing.assert_allclose(ours.weights_, expected["pro"], atol=1e-4)
    means = np.reshape(expected["mean"], (G, D))
    np.testing.assert_allclose((ours.means_ - means) / X.std(axis=0), 0, atol=1e-3)
    covariances = np.reshape(expected["covariances"], (G, D, D))
    size = abs(covariances).max((1, 2), keepdims=True)
    np.testing.assert_allclose(ours.covariances_ / size, covariances / size, atol=1e-3)
    labels = np.array(list(expected["classification"]), int) - 1
    first, second = np.sort(ours.predict_proba(X), axis=1)[:, :-3:-1].T
    sure = first - second > 1e-3  # the others are ties to the digits that they give
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(ours.labels_[sure], labels[sure])


@pytest.mark.parametrize("name", ["iris", "faithful", "diabetes"])
def test_the_vve_of_mclust_is_not_stationary(name):
    """From where it has converged, our steps go on upwards: the one family that differs."""
    X = COLUMNS[name](TABLES[name])
    for start in TABLES[name]["fixed_starts"]:
        theirs = start["models"]["VVE"]
        shape = (start["G"], X.shape[1])
        precisions = np.linalg.inv(np.reshape(theirs["covariances"], (*shape, shape[1])))
        begin = dict(weights_init=theirs["pro"], means_init=np.reshape(theirs["mean"], shape))
        options = dict(covariance_type="VVE", reg_covar=0, tol=0, max_iter=20, acceleration=None)
        ours = GaussianMixture(start["G"], precisions_init=precisions, **begin, **options).fit(X)
        np.testing.assert_allclose(len(X) * ours.lower_bounds_[0], theirs["loglik"], rtol=1e-5)
        assert len(X) * ours.lower_bounds_[-1] > theirs["loglik"] + 0.01
        assert np.diff(ours.lower_bounds_).min() > -1e-12


@pytest.mark.parametrize(
    "name, G, model, bic, icl",
    [  # of mclust 6.0.0 at tolerance 1e-12, from its own start
        ("faithful", 2, "VVV", -2322.191743, -2322.704680),
        ("faithful", 3, "EEE", -2314.295678, -2358.388763),
        ("iris", 3, "VVV", -580.838907, -584.045460),
        ("iris", 2, "VEV", -561.728462, -561.728876),
        ("iris", 3, "VEV", -562.550708, -566.440089),
    ],
)
def test_criteria(name, G, model, bic, icl):
    """From the hierarchical start, which is theirs."""
    X = COLUMNS[name](TABLES[name])
    options = dict(covariance_type=model, init_params="hierarchical", reg_covar=0, tol=1e-12)
    ours = GaussianMixture(G, max_iter=5000, **options).fit(X)
    np.testing.assert_allclose([-ours.bic(X), -ours.icl(X)], [bic, icl], rtol=1e-6)


def test_every_family_is_covered():
    models = {case.values[2] for case in CASES if not case.marks}
    assert models == {name for name in FAMILIES if name.isupper()}
