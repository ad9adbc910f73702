"""The similarity matrix by its definition, in blocks, sparse, of some points."""

import numpy as np
import pytest

from bayesgmm.posterior import similarity as module
from bayesgmm.posterior.draws import entered, mean_and_mcse
from bayesgmm.posterior.similarity import similarity_matrix


def some_draws(S, N, K=4, seed=0):
    return np.random.default_rng(seed).integers(0, K, (S, N))


def together(draws):
    return (draws[:, :, None] == draws[:, None]).astype(float)


@pytest.mark.parametrize("tile", [1, 25, 1 << 18])
@pytest.mark.parametrize("S, N, K", [(7, 11, 3), (600, 9, 2), (1, 5, 3), (3, 1, 1), (20, 300, 290)])
def test_shares_of_the_draws(monkeypatch, tile, S, N, K):
    monkeypatch.setattr(module, "TILE", tile)
    draws = some_draws(S, N, K)
    expected = together(draws).mean(0)
    np.testing.assert_allclose(similarity_matrix(draws), expected, atol=1e-15)
    weights = np.random.default_rng(1).uniform(size=S)
    expected = np.tensordot(weights / weights.sum(), together(draws), 1)
    np.testing.assert_allclose(similarity_matrix(draws, weights), expected, atol=1e-12)


@pytest.mark.parametrize("chains", [1, 3])
def test_errors_of_the_entries(chains):
    draws = some_draws(60, 12).reshape(chains, 60 // chains, 12)
    known = entered(draws)
    expected = mean_and_mcse(together(known.labels), known)
    mean, mcse = similarity_matrix(draws, return_mcse=True)
    np.testing.assert_allclose(mean, expected[0], atol=1e-12)
    np.testing.assert_allclose(mcse, expected[1], atol=1e-12)
    assert (np.diag(mcse) == 0).all()


def test_errors_of_weighted_draws():
    draws, weights = some_draws(24, 6), np.random.default_rng(1).uniform(size=24)
    assert np.isnan(similarity_matrix(draws, weights, return_mcse=True)[1]).all()
    known = entered(draws.reshape(2, 12, 6), weights.reshape(2, 12))
    expected = mean_and_mcse(together(known.labels), known)
    found = similarity_matrix(known, return_mcse=True)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_errors_are_as_large_as_the_errors():
    """Independent draws of two points: together with probability 1/2."""
    draws = some_draws(200 * 400, 2, K=2).reshape(200, 400, 2)
    found = [similarity_matrix(own, return_mcse=True) for own in draws]
    mean, mcse = (np.array(part)[:, 0, 1] for part in zip(*found, strict=True))
    np.testing.assert_allclose(mean.std(), 0.5 / np.sqrt(400), rtol=0.2)
    np.testing.assert_allclose(np.sqrt(np.square(mcse).mean()), mean.std(), rtol=0.2)


@pytest.mark.parametrize("tile", [30, 1 << 18])
def test_sparse_form(monkeypatch, tile):
    monkeypatch.setattr(module, "TILE", tile)
    draws = some_draws(50, 20)
    mean, mcse = similarity_matrix(draws, return_mcse=True)
    found = similarity_matrix(draws, threshold=0.3)
    assert found.shape == (20, 20) and found.nnz == (mean >= 0.3).sum()
    np.testing.assert_allclose(found.toarray(), np.where(mean >= 0.3, mean, 0))
    found, errors = similarity_matrix(draws, threshold=0.3, return_mcse=True)
    np.testing.assert_allclose(errors.toarray(), np.where(mean >= 0.3, mcse, 0))
    assert errors.nnz == found.nnz


def test_some_of_the_points():
    draws = some_draws(30, 15)
    points = [9, 2, 2, 14]
    expected = similarity_matrix(draws)[np.ix_(points, points)]
    np.testing.assert_array_equal(similarity_matrix(draws, points=points), expected)


def test_no_more_memory_than_asked_for():
    few = np.zeros((1, 20_001), int)
    with pytest.raises(MemoryError, match=r"similarity of 20001 points would take 3\.2 GB"):
        similarity_matrix(few)
    with pytest.raises(MemoryError, match="threshold= .* points="):
        similarity_matrix(some_draws(3, 10), return_mcse=True, max_memory=1000)
    with pytest.raises(MemoryError, match="higher if there is one"):
        similarity_matrix(some_draws(3, 50), threshold=0.1, max_memory=1000)
    alone = np.arange(3000)[None]
    assert similarity_matrix(alone, threshold=0.5, max_memory=10**6).nnz == 3000
    assert similarity_matrix(few, points=[0, 20_000]).tolist() == [[1, 1], [1, 1]]


def test_exact_posteriors(exact_cases):
    """Where all partitions are given with their probabilities."""
    name, _, partitions, weights, _ = exact_cases[-1]
    expected = np.tensordot(weights, together(partitions), 1)
    np.testing.assert_allclose(similarity_matrix(partitions, weights), expected, atol=1e-14)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"threshold": 0}, r"threshold must be a number in \(0, 1\], got 0"),
        ({"threshold": 1.1}, "got 1.1"),
        ({"threshold": True}, "got True"),
        ({"threshold": "half"}, "got .half."),
        ({"points": [3]}, r"points must be in 0, \.\.\., 2, got 3 to 3"),
        ({"points": [-1]}, "got -1 to -1"),
        ({"points": [0.5]}, r"row numbers, got shape \(1,\) of float64"),
        ({"points": [[0]]}, r"row numbers, got shape \(1, 1\)"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        similarity_matrix([[0, 1, 1]], **options)
