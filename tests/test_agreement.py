"""Agreement with scikit-learn from its own starting points, and with mclust, to stated digits."""

import json
from pathlib import Path

import numpy as np
import pytest
import sklearn.mixture

from bayesgmm import GaussianMixture, datasets
from bayesgmm.core import FAMILIES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# --- scikit-learn -------------------------------------------------------------------------------

TABLES = [
    ("acidity", 2, "spherical"),
    ("banknote", 2, "full"),
    ("breast_cancer", 2, "diag"),
    ("overlap", 4, "full"),
    ("penguins", 3, "tied"),
    ("thyroid", 3, "full"),
    ("wine", 3, "diag"),
]


class Recorded(sklearn.mixture.GaussianMixture):
    """scikit-learn's mixture, which keeps the responsibilities that it begins with."""

    def _initialize(self, X, resp, *args, **kwargs):
        self.start = np.array(resp)
        super()._initialize(X, resp, *args, **kwargs)


@pytest.mark.parametrize("name, K, covariance_type", TABLES)
def test_from_the_start_of_scikit_learn(name, K, covariance_type):
    X, _ = datasets.load(name)
    options = dict(covariance_type=covariance_type, tol=1e-6, max_iter=300)
    theirs = Recorded(K, random_state=0, **options).fit(X)
    labels = theirs.start.argmax(axis=1)
    assert (theirs.start.max(axis=1) == 1).all()  # of k-means: labels say it all
    ours = GaussianMixture(K, init_params=labels, **options).fit(X)
    assert ours.converged_ == theirs.converged_ and ours.n_iter_ == theirs.n_iter_
    if hasattr(theirs, "lower_bounds_"):
        np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=1e-9)
    deviations = X.to_numpy().std(axis=0)
    np.testing.assert_allclose(ours.weights_, theirs.weights_, atol=1e-8)
    np.testing.assert_allclose((ours.means_ - theirs.means_) / deviations, 0, atol=1e-8)
    np.testing.assert_allclose(ours.bic(X), theirs.bic(X), rtol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-7)
    np.testing.assert_array_equal(ours.labels_, theirs.predict(X))


def test_the_first_example_of_the_field():
    """Only the import is changed: clusters that are apart come out as scikit-learn has them."""
    from sklearn.datasets import make_blobs

    X, _ = make_blobs(n_samples=400, centers=2, cluster_std=0.6, random_state=0)
    ours = GaussianMixture(n_components=2, random_state=0).fit(X)
    theirs = sklearn.mixture.GaussianMixture(n_components=2, random_state=0).fit(X)
    one, other = np.argsort(ours.means_[:, 0]), np.argsort(theirs.means_[:, 0])
    np.testing.assert_allclose(ours.means_[one], theirs.means_[other], rtol=1e-3)
    np.testing.assert_allclose(ours.covariances_[one], theirs.covariances_[other], rtol=1e-2)
    rank = np.argsort(one)[ours.predict(X)], np.argsort(other)[theirs.predict(X)]
    np.testing.assert_array_equal(*rank)


# --- mclust -------------------------------------------------------------------------------------

COLUMNS = {
    "iris": lambda case: datasets.load_iris()[0].to_numpy(),
    "faithful": lambda case: datasets.load_faithful()[0].to_numpy(),
    "diabetes": lambda case: np.array(case["x"]),  # ours has one value corrected
    "galaxies": lambda case: np.array(case["x"]),  # likewise
}


def reference(name):
    path = Path(__file__).parent / "reference" / f"mclust_{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


CASES = [
    pytest.param(name, start, model, id=f"{name}-{start['G']}-{start['start']}-{model}")
    for name in COLUMNS
    for start in reference(name)["fixed_starts"]
    for model in start["models"]
]


def responsibilities(start):
    """Labels, or the soft responsibilities that the rule of this start makes of them."""
    labels, G = np.array(start["initial_classification"]) - 1, start["G"]
    if start["z_rule"] == "z = onehot":
        return labels
    assert start["z_rule"] == "z = 0.7*onehot + 0.3/G"
    return 0.7 * np.eye(G)[labels] + 0.3 / G


@pytest.mark.parametrize("name, start, model", CASES)
def test_mclust_step_by_step(name, start, model):
    X, expected = COLUMNS[name](reference(name)), start["models"][model]
    options = dict(covariance_type=model, reg_covar=0, init_params=responsibilities(start))
    ours = GaussianMixture(start["G"], tol=0, max_iter=20, **options).fit(X)
    pairs, loglik = expected["loglik_after_iterations"].values()
    assert pairs == [1, 2, 3, 5, 10, 20]
    # a pair is an M-step and the E-step that evaluates it
    found = len(X) * np.array(ours.lower_bounds_)[np.array(pairs) - 1]
    np.testing.assert_allclose(found, loglik, rtol=1e-6)


@pytest.mark.parametrize("name, start, model", CASES)
def test_mclust_converged(name, start, model):
    X, expected = COLUMNS[name](reference(name)), start["models"][model]
    options = dict(covariance_type=model, reg_covar=0, init_params=responsibilities(start))
    ours = GaussianMixture(start["G"], tol=1e-11, max_iter=3000, **options).fit(X)
    N, D = X.shape
    assert ours.converged_
    np.testing.assert_allclose(N * ours.lower_bound_, expected["loglik"], rtol=1e-6)
    np.testing.assert_allclose(ours.weights_, expected["pro"], atol=1e-4)
    means = np.reshape(expected["mean"], (start["G"], D))
    np.testing.assert_allclose((ours.means_ - means) / X.std(axis=0), 0, atol=1e-3)
    # their criterion is minus ours; df counts the free parameters
    bic = 2 * expected["loglik"] - expected["df"] * np.log(N)
    np.testing.assert_allclose(-ours.bic(X), bic, rtol=1e-6)


def test_mclust_families_of_this_package_are_covered():
    models = {model for case in CASES for model in [case.values[2]]}
    assert models == {name for name in FAMILIES if name.isupper()}
