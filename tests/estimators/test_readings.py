"""What MCMCGaussianMixture says of its own draws: the functions of `bayesgmm` on them."""

import warnings

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

import bayesgmm
from bayesgmm import MCMCGaussianMixture


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    groups = [rng.normal(centre, 1, (n, 2)) for centre, n in ((-3, 14), (3, 10))]
    points = np.concatenate([*groups, [[0.0, 0.0]]])
    return pd.DataFrame(points, columns=["a", "b"], index=[f"row {i}" for i in range(25)])


def fitted(X, n_components="mfm", sample_weight=None, **options):
    options = {"n_chains": 2, "n_samples": 100, "moves": False, "random_state": 0, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MCMCGaussianMixture(n_components, progress_bar=False, **options)
        return model.fit(X, sample_weight=sample_weight)


@pytest.fixture(scope="module")
def model(X):
    return fitted(X)


def test_the_way_from_draws_to_statements(model, X):
    best = model.point_partition()
    assert best.n_clusters == 2 and len(set(best.labels[:14])) == len(set(best.labels[14:24])) == 1
    ball = model.credible_ball(best.labels)
    assert ball.radius > 0 and ball.coverage >= 0.95 and ball.lower.shape[1] == 25
    found = model.assignment_probabilities(best.labels)
    assert found.table.index.equals(X.index)
    assert found.least_certain(1).index[0] == "row 24"  # the one in the middle


def test_they_are_the_functions_of_label_draws(model):
    draws = model.label_draws()
    assert draws.shape == (2, 100, 25)
    mean, mcse = model.similarity_matrix(return_mcse=True)
    np.testing.assert_array_equal(mean, bayesgmm.similarity_matrix(draws))
    np.testing.assert_allclose(mcse, bayesgmm.similarity_matrix(draws, return_mcse=True)[1])
    best = model.point_partition("binder", max_clusters=3)
    same = bayesgmm.point_partition(draws, "binder", 3, random_state=0)
    np.testing.assert_array_equal(best.labels, same.labels)
    loss = model.expected_loss(best.labels, "binder")
    assert loss == bayesgmm.expected_loss(best.labels, draws, "binder")
    assert loss == pytest.approx(best.expected_loss, rel=1e-12)
    ball = model.credible_ball(level=0.5, loss="binder")
    np.testing.assert_array_equal(ball.labels, model.point_partition("binder").labels)


def test_clusters_are_matched_and_summarised(model, X):
    tree = model.relabel(n_clusters=2)
    group = tree["relabelled"]
    assert group.attrs["n_clusters"] == 2 and "relabelled" not in model.posterior_.children
    means = group["means"].mean(["chain", "draw"]).values
    np.testing.assert_allclose(means, [X[:14].mean(), X[14:24].mean()], atol=1.0)
    table = model.cluster_summary(["size", "mean"], n_clusters=2, level=0.9)
    size = table[table["quantity"] == "size"]
    assert size["mean"].sum() == pytest.approx(25) and (size["lower"] <= size["upper"]).all()
    assert set(table["feature"].dropna()) == {"a", "b"}


def test_any_functional_of_the_mixture(model):
    def centre(mixture):
        return jnp.exp(mixture.log_weights) @ mixture.means

    table = model.posterior_expectation(centre)
    weights, means = np.exp(model.mixtures().log_weights), model.mixtures().means
    expected = (weights[..., None] * means).sum(2).mean((0, 1))
    np.testing.assert_allclose(table["mean"], expected, rtol=1e-9)


def test_a_row_of_weight_two_is_two_rows(X):
    weight = np.where(np.arange(25) == 3, 2, np.where(np.arange(25) == 24, 0, 1))
    model = fitted(X, 4, weight)  # the program of the next test
    assert model.label_draws().shape[-1] == 25
    index = model.assignment_probabilities().table.index
    assert index.tolist() == X.index.repeat(weight).tolist()


def test_the_warning_points_at_the_users_line(X):
    """Too few draws to tell whether the clusters are the same in the two chains."""
    model = fitted(X, 4, n_samples=30, n_warmup=0)
    with pytest.warns(UserWarning) as caught:
        warnings.warn("there may be none", stacklevel=1)
        model.relabel()
    assert {warning.filename for warning in caught} == {__file__}
