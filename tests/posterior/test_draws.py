"""Label draws as people give them, and Monte Carlo errors of means over them."""

import numpy as np
import pytest

from bayesgmm.posterior import draws as module
from bayesgmm.posterior.draws import distinct, entered, in_order, label_vector, mean_and_mcse

GIVEN = np.array([[5, 5, -2, 5], [1, 0, 0, 1]])
EXPECTED = [[0, 0, 1, 0], [0, 1, 1, 0]]


def test_whatever_is_given_comes_in_order_of_first_appearance():
    pandas, xarray = pytest.importorskip("pandas"), pytest.importorskip("xarray")
    forms = [
        GIVEN,
        GIVEN.tolist(),
        list(GIVEN),
        GIVEN.astype(float),
        GIVEN.astype(object),
        GIVEN.astype(np.int8),
        (GIVEN + 2).astype(np.uint64),
        GIVEN * 10**12,
        pandas.DataFrame(GIVEN),
        pandas.DataFrame(GIVEN).astype("Int64"),
        xarray.DataArray(GIVEN, dims=("draw", "point")),
        xarray.DataArray(GIVEN.T, dims=("point", "draw")),
    ]
    for form in forms:
        found = entered(form)
        assert found.labels.tolist() == EXPECTED and found.labels.dtype == np.int32
        assert found.chain is None and found.weights.tolist() == [0.5, 0.5]
        assert entered(found) is found


def test_chains_are_laid_one_after_the_other():
    xarray = pytest.importorskip("xarray")
    labels = np.arange(24).reshape(3, 2, 4)
    found = entered(labels, weights=np.array([[1, 2], [3, 4], [0, 0]]))
    assert found.labels.shape == (6, 4) and found.chain.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(found.weights, np.array([1, 2, 3, 4, 0, 0]) / 10)
    turned = xarray.DataArray(labels.transpose(2, 1, 0), dims=("point", "draw", "chain"))
    np.testing.assert_array_equal(entered(turned).labels, found.labels)
    assert entered(labels[:1]).chain is None  # one chain has no other to differ from


def test_the_labels_given_stay_as_they_are():
    given = GIVEN.copy()
    entered(given).labels[:] = 7
    np.testing.assert_array_equal(given, GIVEN)


def test_order_of_first_appearance_by_definition():
    labels = np.random.default_rng(0).integers(-3, 9, (50, 13))
    for row, found in zip(labels, in_order(labels), strict=True):
        seen = list(dict.fromkeys(row.tolist()))
        assert found.tolist() == [seen.index(value) for value in row]


@pytest.mark.parametrize(
    "given, error, message",
    [
        ([[0, 1], [0, 1, 1]], ValueError, r"draws must be .* ragged rows, of 2 to 3 points"),
        ([0, 1, 1], ValueError, r"\[S, N\].* got an array of shape \(3,\).*draws\[None\]"),
        (np.zeros((2, 2, 2, 2), int), ValueError, r"shape \(2, 2, 2, 2\)"),
        (np.zeros((0, 3), int), ValueError, r"a draw and a point, got shape \(0, 3\)"),
        (np.zeros((3, 0), int), ValueError, r"a draw and a point, got shape \(3, 0\)"),
        ([[True, False]], TypeError, "draws must be whole numbers.*array of bool"),
        ([["a", "b"]], TypeError, r"draws must be whole numbers.*array of <U1.*numpy\.unique"),
        ([[0.0, np.nan]], ValueError, r"whole numbers.*got nan at \[0, 1\]"),
        ([[0.0, 1.5]], ValueError, r"got 1\.5 at \[0, 1\] \(1 such\)"),
        ([[0, None]], TypeError, "missing values"),
    ],
)
def test_what_is_no_draws(given, error, message):
    with pytest.raises(error, match=message):
        entered(given)


@pytest.mark.parametrize(
    "weights, error, message",
    [
        ([1.0], ValueError, r"weights must have shape \(2,\), one a draw; got \(1,\)"),
        ([1.0, -1.0], ValueError, r"at least 0; draw 1 has -1\.0 \(1 such"),
        ([np.nan, 1.0], ValueError, "draw 0 has nan"),
        ([np.inf, 1.0], ValueError, "draw 0 has inf"),
        ([0, 0], ValueError, "not be zero for every draw"),
        (["a", "b"], TypeError, "weights must be numbers"),
    ],
)
def test_what_are_no_weights(weights, error, message):
    with pytest.raises(error, match=message):
        entered(GIVEN, weights)


def test_huge_weights_do_not_overflow():
    np.testing.assert_allclose(entered(GIVEN, [1e308, 1.5e308]).weights, [0.4, 0.6])


def test_a_vector_of_labels_has_a_label_for_each_point():
    assert label_vector([7, 7, 3], 3).tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match=r"labels must have shape \(4,\).* got \(3,\)"):
        label_vector([0, 0, 1], 4)
    with pytest.raises(TypeError, match="pivot must be whole numbers"):
        label_vector(["a"], 1, "pivot")


def test_equal_draws_are_one_partition():
    labels = [[0, 0, 1], [1, 1, 0], [0, 1, 2], [5, 5, 5]]
    rows, weights, which = distinct(entered(labels, [1, 2, 3, 4]))
    assert rows.tolist() == [[0, 0, 1], [0, 1, 2], [0, 0, 0]] and which.tolist() == [0, 0, 1, 2]
    np.testing.assert_allclose(weights, [0.3, 0.3, 0.4])


def of(S, chains=None, weights=None):
    shape = (S, 1) if chains is None else (chains, S // chains, 1)
    return entered(np.zeros(shape, int), weights)


def test_errors_between_chains():
    values = np.random.default_rng(1).normal(size=(12, 5))
    mean, mcse = mean_and_mcse(values, of(12, chains=3))
    means = values.reshape(3, 4, 5).mean(1)
    np.testing.assert_allclose(mean, values.mean(0))
    np.testing.assert_allclose(mcse, means.std(0, ddof=1) / np.sqrt(3))


def test_errors_between_batches():
    values = np.random.default_rng(2).normal(size=(17, 3))
    sizes = [4, 4, 4, 5]
    mean, mcse = mean_and_mcse(values, of(17))
    starts = np.cumsum([0, *sizes[:-1]])
    np.testing.assert_array_equal(module.parts(of(17)), starts)
    shares = [
        values[a : a + n].sum(0) / 17 - n / 17 * mean for a, n in zip(starts, sizes, strict=True)
    ]
    np.testing.assert_allclose(mcse, np.sqrt(np.square(shares).sum(0) * 4 / 3))


def test_errors_of_an_autoregressive_series_are_as_large_as_they_should_be():
    """The mean of n values of x_t = rho x_(t-1) + noise has variance about 1 / (1 - rho)^2 / n."""
    rng, n, rho = np.random.default_rng(3), 10_000, 0.7
    x = np.zeros((n, 40))
    for t in range(1, n):
        x[t] = rho * x[t - 1] + rng.normal(size=40)
    expected = 1 / (1 - rho) / np.sqrt(n)
    np.testing.assert_allclose(np.median(mean_and_mcse(x, of(n))[1]), expected, rtol=0.1)


def test_where_there_is_no_error_to_estimate():
    values = np.array([1.0, 3.0, 5.0])
    assert np.isnan(mean_and_mcse(values[:1], of(1))[1])
    assert np.isnan(mean_and_mcse(values, of(3))[1])
    mean, mcse = mean_and_mcse(values, of(3, weights=[1, 0, 1]))
    assert mean == 3 and np.isnan(mcse)
    with_chains = of(4, chains=2, weights=[[1, 1], [2, 0]])
    assert mean_and_mcse(np.array([0.0, 2, 4, 9]), with_chains)[0] == 2.5
