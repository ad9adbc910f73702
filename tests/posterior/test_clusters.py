"""Tables of clusters and of functionals: means, intervals, errors, and what is asked wrongly."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from bayesgmm.core.mixture import Mixture, mixture_moments
from bayesgmm.posterior import summary
from bayesgmm.posterior.clusters import QUANTITIES, cluster_summary
from bayesgmm.posterior.expectation import posterior_expectation
from bayesgmm.posterior.relabel import relabel
from tests.conftest import matrices, random_mixture


def some_draws(K=2, D=2, C=2, S=60, seed=0):
    rng = np.random.default_rng(seed)
    factors = np.tril(0.3 * rng.normal(size=(C, S, K, D, D))) + np.eye(D)
    return {
        "weights": rng.dirichlet(50 * np.arange(K, 0, -1), size=(C, S)),
        "means": 6 * np.arange(K)[:, None] + 0.2 * rng.normal(size=(C, S, K, D)),
        "covariances": factors @ factors.swapaxes(-1, -2),
        "labels": np.sort(rng.integers(0, K, (C, S, 20)), axis=2),
    }


def relabelled(draws, **names):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return relabel(draws, **names)


TREE = relabelled(some_draws())


def draws_of(tree, name):
    return tree["relabelled"][name].values


def row(table, **keys):
    for name, value in keys.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


# --- clusters -------------------------------------------------------------------------------------


def test_each_number_is_that_of_its_draws():
    table = cluster_summary(TREE)
    assert set(table["quantity"]) == set(QUANTITIES)
    weights, means = draws_of(TREE, "weights"), draws_of(TREE, "means")
    covariances, labels = draws_of(TREE, "covariances"), draws_of(TREE, "labels")
    sds = np.sqrt(covariances[..., [0, 1], [0, 1]])
    expected = [
        (dict(quantity="weight", cluster=1), weights[..., 1]),
        (dict(quantity="size", cluster=0), (labels == 0).sum(-1)),
        (dict(quantity="mean", cluster=1, feature=0), means[..., 1, 0]),
        (
            dict(quantity="covariance", cluster=0, feature=0, feature_bis=1),
            covariances[..., 0, 0, 1],
        ),
        (dict(quantity="sd", cluster=1, feature=1), sds[..., 1, 1]),
        (
            dict(quantity="correlation", cluster=0, feature=0, feature_bis=1),
            covariances[..., 0, 0, 1] / sds[..., 0, :].prod(-1),
        ),
    ]
    for keys, values in expected:
        found, diagnosed = row(table, **keys), summary.diagnostics({"x": values}).loc["x"]
        np.testing.assert_allclose(found["mean"], values.mean())
        np.testing.assert_allclose(found["sd"], values.std(ddof=1))
        np.testing.assert_allclose(
            [found["lower"], found["upper"]], np.quantile(values, [0.025, 0.975])
        )
        for name, other in (("mcse", "mcse_mean"), ("ess_bulk", "ess_bulk"), ("r_hat", "r_hat")):
            np.testing.assert_allclose(found[name], diagnosed[other])


def test_overlap_is_the_integral_of_the_root_of_two_densities():
    draws = some_draws(D=1, C=1, S=4)
    draws["means"] /= 3
    tree = relabelled(draws)
    table = cluster_summary(tree, ["overlap", "separation"])
    each = []
    for means, variances in zip(
        draws_of(tree, "means")[0, :, :, 0],
        draws_of(tree, "covariances")[0, :, :, 0, 0],
        strict=True,
    ):
        one, other = (stats.norm(m, np.sqrt(v)) for m, v in zip(means, variances, strict=True))
        root = lambda x, one=one, other=other: np.sqrt(one.pdf(x) * other.pdf(x))  # noqa: E731
        each.append(integrate.quad(root, -30, 30, points=means)[0])
    np.testing.assert_allclose(row(table, quantity="overlap")["mean"], np.mean(each), rtol=1e-6)
    np.testing.assert_allclose(
        row(table, quantity="separation")["mean"], -np.mean(np.log(each)), rtol=1e-6
    )


@pytest.mark.parametrize("seed", range(3))
def test_overlap_bounds_the_error_of_telling_two_clusters_apart(seed):
    """Of equal covariances and weights the error is Phi(-d / 2), d the Mahalanobis distance."""
    draws = some_draws(C=1, S=1, seed=seed)
    draws["covariances"][..., 1, :, :] = draws["covariances"][..., 0, :, :]
    draws["means"] /= 4
    overlap = row(cluster_summary(relabelled(draws)), quantity="overlap")["mean"]
    gap = np.diff(draws["means"][0, 0], axis=0)[0]
    d = np.sqrt(gap @ np.linalg.solve(draws["covariances"][0, 0, 0], gap))
    error = stats.norm.cdf(-d / 2)
    assert (1 - np.sqrt(1 - overlap**2)) / 2 <= error <= overlap / 2


def test_the_shortest_interval():
    """Of an exponential from its least value on, and as arviz finds it."""
    from arviz_stats.base import array_stats

    draws = some_draws(C=4, S=500)
    draws["means"] = draws["means"] + np.random.default_rng(0).exponential(size=(4, 500, 2, 2))
    tree = relabelled(draws)
    table = cluster_summary(tree, "mean", level=0.8, interval="hdi")
    found = row(table, cluster=0, feature=0)
    values = draws_of(tree, "means")[..., 0, 0]
    low, high = array_stats.hdi(values.ravel(), prob=0.8, method="nearest")
    np.testing.assert_allclose([found["lower"], found["upper"]], [low, high], atol=0.02)
    inside = (values >= found["lower"]) & (values <= found["upper"])
    assert inside.sum() == 1600


def test_standard_deviations_and_features_by_name():
    import xarray

    draws = some_draws()
    dims = ["chain", "draw", "cluster"]
    dataset = xarray.Dataset(
        {
            "weights": (dims, draws["weights"]),
            "means": ([*dims, "column"], draws["means"]),
            "sds": (["chain", "draw", "column"], np.full((2, 60, 2), [1.0, 2.0])),
            "labels": (["chain", "draw", "point"], draws["labels"]),
        },
        {"column": ["height", "width"]},
    )
    tree = relabelled(dataset, sds="sds")
    assert tree["relabelled"]["sds"].dims == ("chain", "draw", "column")
    table = cluster_summary(tree, ["mean", "sd"])
    assert row(table, quantity="sd", cluster=1, feature="width")["mean"] == 2.0
    assert row(table, quantity="sd", cluster=1, feature="width")["mcse"] == 0.0
    assert set(table.loc[table["quantity"] == "mean", "feature"]) == {"height", "width"}


def test_features_without_names_are_whole_numbers():
    table = cluster_summary(TREE, ["weight", "mean", "sd"])
    own = table.loc[table["quantity"] == "mean", "feature"]
    assert own.tolist() == [0, 1, 0, 1] and all(isinstance(name, int) for name in own)
    assert table.loc[table["quantity"] == "weight", "feature"].isna().all()
    assert own.replace({0: "height", 1: "width"}).tolist() == ["height", "width"] * 2


def test_few_draws_have_no_errors():
    table = cluster_summary(relabelled(some_draws(C=1, S=1)))
    assert table["mean"].notna().all() and table[["sd", "mcse", "ess_bulk", "r_hat"]].isna().all(
        axis=None
    )
    single = {
        "weights": np.ones((2, 9, 1)),
        "means": np.zeros((2, 9, 1)),
        "labels": np.zeros((2, 9, 6)),
    }
    assert cluster_summary(relabel(single | {"covariances": np.ones((2, 9, 1))}), "overlap").empty
    table = cluster_summary(relabel(single))
    assert table["quantity"].tolist() == ["weight", "size", "mean"]
    assert table["mcse"].tolist() == [0, 0, 0]


def test_wrong_arguments_of_a_summary_are_named():
    with pytest.raises(
        ValueError, match="must have a group 'relabelled': relabel.posterior. returns"
    ):
        cluster_summary(some_draws())
    with pytest.raises(ValueError, match="got 'weigth'. Did you mean 'weight'?"):
        cluster_summary(TREE, ["weigth"])
    with pytest.raises(ValueError, match="level must be a number between 0 and 1, got 95"):
        cluster_summary(TREE, level=95)
    with pytest.raises(
        ValueError, match="interval must be one of 'equal-tailed', 'hdi'; got 'hpd'"
    ):
        cluster_summary(TREE, interval="hpd")
    plain = {name: values for name, values in some_draws().items() if name != "covariances"}
    with pytest.raises(ValueError, match="'sd' needs covariances, which the posterior lacks"):
        cluster_summary(relabelled(plain), ["sd"])


# --- functionals ----------------------------------------------------------------------------------


def stacked(C=2, S=50, K=3, D=2):
    each = [random_mixture(seed, K, D) for seed in range(C * S)]
    return Mixture(
        *(np.stack(leaf).reshape(C, S, *leaf[0].shape) for leaf in zip(*each, strict=True))
    )


MIXTURES = stacked()


def overall(mixture):
    mean, covariance = mixture_moments(mixture)
    return {"mean": mean, "total": jnp.trace(covariance)}


def test_a_functional_of_the_mixture():
    table = posterior_expectation(overall, MIXTURES)
    assert table.index.tolist() == ["mean[0]", "mean[1]", "total"]
    weights = np.exp(MIXTURES.log_weights)
    means = np.einsum("cskd,csk->csd", MIXTURES.means, weights)
    second = [
        (w[:, None, None] * (matrices(Mixture(w, m, L)) + m[:, :, None] * m[:, None])).sum(0)
        for w, m, L in zip(
            weights.reshape(-1, 3),
            MIXTURES.means.reshape(-1, 3, 2),
            MIXTURES.scales.reshape(-1, 3, 2, 2),
            strict=True,
        )
    ]
    total = np.trace(second, axis1=1, axis2=2) - np.square(means).sum(-1).ravel()
    values = {"mean[0]": means[..., 0], "mean[1]": means[..., 1], "total": total.reshape(2, 50)}
    expected = summary.diagnostics(values)
    for name, other in (("mean", "mean"), ("sd", "sd"), ("mcse", "mcse_mean"), ("r_hat", "r_hat")):
        np.testing.assert_allclose(table[name], expected[other], rtol=1e-8)
    np.testing.assert_allclose(table.loc["total", "upper"], np.quantile(total, 0.975))


def test_a_loop_gives_the_same():
    def largest(mixture):
        return float(np.exp(np.max(mixture.log_weights)))  # no JAX

    found = posterior_expectation(largest, MIXTURES, vectorize=False)
    assert found.index.tolist() == ["largest"]
    same = posterior_expectation(lambda m: jnp.exp(m.log_weights.max()), MIXTURES)
    assert same.index.tolist() == ["f"]
    np.testing.assert_allclose(found.to_numpy(), same.to_numpy())
    with pytest.raises(TypeError, match="cannot be compiled: .* set vectorize=False"):
        posterior_expectation(largest, MIXTURES)


def test_the_order_of_the_draws_components_is_not_to_matter():
    def first(mixture):
        return mixture.means[0, 0]

    with pytest.warns(UserWarning, match="f depends on the order of the components.*first is "):
        posterior_expectation(first, MIXTURES)
    found = posterior_expectation(first, MIXTURES, relabelled=True)
    np.testing.assert_allclose(found.loc["first", "mean"], MIXTURES.means[..., 0, 0].mean())


def test_draws_of_one_chain_and_one_draw():
    one = Mixture(*(leaf[0] for leaf in MIXTURES))
    found = posterior_expectation(overall, one)
    both = posterior_expectation(overall, Mixture(*(leaf[:1] for leaf in MIXTURES)))
    pd.testing.assert_frame_equal(found, both)
    single = posterior_expectation(overall, Mixture(*(leaf[:1] for leaf in one)))
    assert single["mean"].notna().all() and single["r_hat"].isna().all()


def test_absent_components_and_what_is_not_finite():
    log_weights = MIXTURES.log_weights.copy()
    log_weights[:, :, 2] = -np.inf
    absent = MIXTURES._replace(log_weights=log_weights)
    assert posterior_expectation(lambda m: jnp.exp(m.log_weights).sum(), absent)["mean"].item() < 1
    with pytest.raises(ValueError, match="f must be finite; it is not in 100 of 100 draws"):
        posterior_expectation(lambda m: m.log_weights.min(), absent)


def test_wrong_arguments_of_an_expectation_are_named():
    with pytest.raises(TypeError, match="f must be a function of a Mixture, got 3"):
        posterior_expectation(3, MIXTURES)
    with pytest.raises(ValueError, match=r"mixtures must be a Mixture of draws, .*got \[\(3,\)"):
        posterior_expectation(overall, random_mixture(0, 3, 2))
    with pytest.raises(ValueError, match="mixtures must be a Mixture of draws"):
        posterior_expectation(overall, 5)
    with pytest.raises(TypeError, match="f must return numbers"):
        posterior_expectation(lambda m: {}, MIXTURES)
    with pytest.raises(ValueError, match="level must be a number"):
        posterior_expectation(overall, MIXTURES, level=1.0)
