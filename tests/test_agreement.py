"""Agreement with scikit-learn from its own starting points, to stated digits."""

import numpy as np
import pytest
import sklearn.mixture

from bayesgmm import GaussianMixture, datasets
from tests.conftest import slow

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TABLES = [
    slow("acidity", 2, "spherical"),
    ("banknote", 2, "full"),
    slow("breast_cancer", 2, "diag"),
    slow("overlap", 4, "full"),
    ("penguins", 3, "tied"),
    ("thyroid", 3, "full"),
    slow("wine", 3, "diag"),
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
    ours = GaussianMixture(K, init_params=labels, acceleration=None, **options).fit(X)
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
