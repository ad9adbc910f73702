"""likelihood_ratio_test: its statistic by other fits, its size and power, what is set aside."""

import warnings
from itertools import permutations

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as TheirMixture

from bayesgmm import datasets, likelihood_ratio_test
from bayesgmm.core.covariance import FAMILIES
from bayesgmm.core.mixture import Mixture
from bayesgmm.inference.contests import cells, divided, sound
from tests.conftest import assert_close, random_mixture


def clusters(N, gap, seed, D=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, D)) + gap * rng.choice([-0.5, 0.5], (N, 1))


def p_values(families, sizes, n_tests, K=1, gap=0.0, n_bootstrap=19):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.array(
            [
                likelihood_ratio_test(
                    clusters(sizes[0], gap, seed, sizes[1]),
                    K,
                    covariance_type=families,
                    n_bootstrap=n_bootstrap,
                    n_init=1,
                    random_state=seed,
                )
                .table["p_value"]
                .iloc[0]
                for seed in range(n_tests)
            ]
        )


# --- the statistic


@pytest.mark.parametrize("name", ["full", "tied"])
def test_statistic_is_that_of_another_implementation(name):
    X, _ = datasets.load_faithful()
    X = np.asarray(X)
    given = {"covariance_type": name, "tol": 1e-10, "max_iter": 5000, "reg_covar": 0.0}
    best = [
        len(X) * TheirMixture(K, n_init=3, random_state=0, **given).fit(X).score(X) for K in (1, 2)
    ]
    found = likelihood_ratio_test(X, 1, covariance_type=name, n_bootstrap=1, random_state=0)
    assert found.table.loc[1, "statistic"] == pytest.approx(2 * (best[1] - best[0]), abs=1e-3)
    assert found.table.loc[1, "log_likelihood"] == pytest.approx(best[0], abs=1e-6)


def test_units_do_not_matter():
    X = clusters(60, 4.0, 0, D=2)
    given = {"n_bootstrap": 9, "random_state": 0}
    one = likelihood_ratio_test(X, 1, **given)
    other = likelihood_ratio_test(1e6 + X * [1e-3, 1e3], 1, **given)
    assert_close(one.table["statistic"], other.table["statistic"], rtol=1e-5)
    assert_close(one.null[1], other.null[1], rtol=1e-4, atol=1e-3)


def test_table_is_what_the_replicates_say():
    X = clusters(60, 3.0, 1)
    given = {"level": None, "n_init": 1, "random_state": 0}
    before = X.copy()
    found = likelihood_ratio_test(X, [1, 2], n_bootstrap=19, **given)
    assert np.array_equal(X, before)
    assert list(found.table.index) == [1, 2]
    for K, row in found.table.iterrows():
        null = found.null[K][np.isfinite(found.null[K])]
        p = (1 + (null >= row["statistic"]).sum()) / (1 + len(null))
        assert row["p_value"] == pytest.approx(p)
        assert row["mcse"] == pytest.approx(np.sqrt(p * (1 - p) / (1 + len(null))))
        assert row["n_bootstrap"] + row["n_failed"] == 19
        assert (null >= 0).all()
    fewer = likelihood_ratio_test(X, [1, 2], n_bootstrap=7, **given)
    assert_close(fewer.null[1], found.null[1][:7])  # a replicate knows its number alone
    assert "n_components=" in repr(found)


# --- size and power


def test_clear_cases():
    X = clusters(100, 8.0, 0)
    found = likelihood_ratio_test(X, range(1, 5), n_bootstrap=19, random_state=0)
    assert found.table["rejected"].tolist() == [True, False]
    assert found.n_components == 2
    assert found.table.loc[1, "p_value"] == pytest.approx(1 / 20)
    last = likelihood_ratio_test(X, 1, n_bootstrap=19, random_state=0)
    assert last.n_components == 2  # the last and one


def test_size():
    """Of one normal, p <= 0.2 in a fifth of the data sets: it is uniform over 1/20, ..., 1."""
    found = p_values("E", (40, 1), 25)
    assert (found <= 0.2).mean() < 0.2 + 3.5 * np.sqrt(0.16 / 25)
    assert abs(found.mean() - 0.525) < 4 * np.sqrt(1 / 12 / 25)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "sizes", "K", "gap"),
    [("E", (50, 1), 1, 0.0), ("full", (80, 2), 1, 0.0), ("tied", (80, 2), 2, 5.0)],
)
def test_size_long(family, sizes, K, gap):
    n = 300
    found = p_values(family, sizes, n, K, gap)
    for level in (0.05, 0.1, 0.2, 0.5):
        error = np.sqrt(level * (1 - level) / n)
        assert (found <= level + 1e-9).mean() < level + 3.5 * error
        if K == 1:  # of one component the replicates differ from the data by nothing
            assert (found <= level + 1e-9).mean() > level - 3.5 * error


@pytest.mark.slow
def test_power():
    assert (p_values("E", (50, 1), 40, gap=5.0) <= 0.05).mean() > 0.8


# --- its parts


def test_cells_are_those_of_some_of_the_points():
    points = np.random.default_rng(0).normal(size=(12, 2))
    labels = cells(points, 3, 6, np.random.default_rng(1))
    assert labels.shape == (6, 12)
    apart = np.square(points[:, None] - points).sum(-1)
    possible = {
        tuple(apart[:, centres].argmin(1)) for centres in map(list, permutations(range(12), 3))
    }
    assert all(tuple(own) in possible for own in labels.tolist())
    assert len({tuple(own) for own in labels.tolist()}) > 1
    assert not cells(points, 1, 2, np.random.default_rng(1)).any()


def test_cells_of_two_far_clusters():
    points = clusters(50, 1000.0, 0)
    labels = cells(points, 2, 8, np.random.default_rng(0))
    side = (points[:, 0] > 0).astype(int)
    assert all(np.array_equal(own, side) or np.array_equal(own, 1 - side) for own in labels)


@pytest.mark.parametrize("storage", ["full", "axis"])
def test_halves_have_the_moments_of_the_whole(storage):
    """The mean and covariance of the mixture stay as they were."""
    K, D = 3, 2
    log_weights, means, scales = random_mixture(0, K + 1, D, storage)
    log_weights = np.append(log_weights[:K] - np.log(np.exp(log_weights[:K]).sum()), -np.inf)
    whole = Mixture(log_weights, means, scales)
    cut = divided(Mixture(*(leaf[None] for leaf in whole)), K)
    assert cut.means.shape == (1, K, K + 1, D)
    for k in range(K):
        one = Mixture(*(leaf[0, k] for leaf in cut))
        assert np.exp(one.log_weights).sum() == pytest.approx(1)
        assert np.exp(one.log_weights[K]) == pytest.approx(np.exp(log_weights[k]) / 2)
        assert_close(moments(one), moments(whole))
        others = [j for j in range(K) if j != k]
        assert_close(one.means[others], means[others])
    assert np.array_equal(whole.means, means)


def moments(mixture):
    weights = np.exp(mixture.log_weights)
    scales = mixture.scales
    if scales.ndim == 2:
        scales = scales[..., None] * np.eye(scales.shape[-1])
    mean = weights @ mixture.means
    apart = mixture.means - mean
    own = scales @ np.swapaxes(scales, 1, 2) + apart[:, :, None] * apart[:, None]
    return mean, np.einsum("k,kij->ij", weights, own)


def test_one_covariance_for_all_is_kept():
    mixture = random_mixture(0, 3, 2, "tied")
    cut = divided(Mixture(*(leaf[None] for leaf in mixture)), 2)
    assert_close(cut.scales[0, 0], mixture.scales)


def test_what_is_sound():
    """By number of points and by smallest variance; absent components do not count."""
    log_weights, means, scales = random_mixture(1, 3, 2)
    tight = scales.copy()
    tight[0] *= 1e-5
    small = np.log([0.019, 0.481, 0.5])
    absent = np.array([-np.inf, np.log(0.5), np.log(0.5)])
    several = Mixture(
        np.stack([log_weights, log_weights, small, absent]),
        np.stack([means] * 4),
        np.stack([scales, tight, scales, tight]),
    )
    assert sound(several, FAMILIES["full"], 100).tolist() == [True, False, False, True]
    assert sound(several, FAMILIES["tied"], 100).tolist() == [True, False, True, True]


# --- what is said


def test_tied_values_are_no_component():
    """Half of the values are the same: the component of no variance does not count."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=40), np.zeros(12)])[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = likelihood_ratio_test(X, 1, covariance_type="V", n_bootstrap=9, random_state=0)
    assert found.table.loc[1, "statistic"] < 60  # at a variance of 1e-6 it would be above 150


def test_fits_cut_short_are_told():
    with pytest.warns(ConvergenceWarning, match="did not converge in max_iter=2 passes"):
        likelihood_ratio_test(clusters(40, 1.0, 0), 1, n_bootstrap=2, max_iter=2, random_state=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": [1, 3]}, r"consecutive ones as range\(1, 6\).*got \[1, 3\]"),
        ({"n_components": []}, "n_components must be a number, or consecutive"),
        ({"n_components": 0}, "n_components must be an integer of at least 1, got 0"),
        ({"n_components": "3"}, "n_components must be an integer of at least 1, got '3'"),
        ({"n_bootstrap": 0}, "n_bootstrap must be an integer of at least 1, got 0"),
        ({"level": 5}, "level must be a number between 0 and 1, got 5"),
        ({"covariance_type": "ful"}, "covariance_type must be one of.*Did you mean 'full'"),
        ({"max_iter": 0}, "max_iter must be an integer of at least 1, got 0"),
        ({"n_init": 0}, "n_init must be an integer of at least 1, got 0"),
        ({"reg_covar": -1.0}, "reg_covar must be a finite number of at least 0"),
        ({"n_components": 40}, "n_components = 41, n_samples = 40"),
    ],
)
def test_what_is_refused(options, message):
    given = {"n_components": 1, "n_bootstrap": 2} | options
    with pytest.raises(ValueError, match=message):
        likelihood_ratio_test(clusters(40, 1.0, 0), **given)


def test_points_are_checked():
    with pytest.raises(ValueError, match="contains NaN: row 1 column 0"):
        likelihood_ratio_test([[0.0], [np.nan], [1.0]], 1)
    with pytest.raises(ValueError, match="every fit ended in a component without volume"):
        likelihood_ratio_test(np.repeat([[0.0], [1.0]], 20, axis=0), 2, n_bootstrap=2)
