"""Partitions, their distances, and clusters matched over draws."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from bayesgmm.posterior import partitions, relabel


def some_partitions(S, N, K, seed=0):
    return np.random.default_rng(seed).integers(0, K, (S, N))


def test_contingency_counts_pairs_of_labels():
    a, b = np.array([0, 0, 1, 2]), np.array([1, 1, 0, 1])
    np.testing.assert_array_equal(partitions.contingency(a, b, 3, 2), [[0, 2], [1, 0], [0, 1]])


def test_variation_of_information_is_two_conditional_entropies():
    """H(a) + H(b) - 2 I(a, b), with scikit-learn's mutual information, in bits."""
    for a, b in some_partitions(20, 30, 4).reshape(10, 2, 30):
        found = partitions.variation_of_information(partitions.contingency(a, b, 4, 4))
        entropies = mutual_info_score(a, a) + mutual_info_score(b, b)
        expected = (entropies - 2 * mutual_info_score(a, b)) / np.log(2)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_equal_partitions_are_at_distance_zero_whatever_their_labels():
    a = np.array([0, 0, 1, 1, 2])
    table = partitions.contingency(a, (a + 1) % 3, 3, 3)
    assert partitions.variation_of_information(table) == 0


def test_similarity_is_the_share_of_draws(monkeypatch):
    draws = some_partitions(7, 11, 3)
    expected = (draws[:, :, None] == draws[:, None]).mean(0)
    np.testing.assert_allclose(partitions.similarity(draws), expected)
    monkeypatch.setattr(partitions, "BLOCK", 25)  # two rows at a time
    np.testing.assert_allclose(partitions.similarity(draws), expected)


def test_the_pivot_is_in_the_middle():
    """One partition, seen twice and with one point moved, among others that are unlike it."""
    middle = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    near = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    far = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    labels = np.stack([far, middle, near, middle, np.zeros(8, int)])
    found = relabel.pivot(labels, np.array([2, 2, 2, 2, 1]))
    np.testing.assert_array_equal(found, middle)


@pytest.mark.parametrize("seed", range(5))
def test_clusters_go_where_they_share_most_points(seed):
    """The best of all matchings, by brute force."""
    rng = np.random.default_rng(seed)
    reference, labels = np.arange(12) % 3, np.arange(12) % 4
    labels = np.where(rng.uniform(size=12) < 0.4, rng.integers(0, 4, 12), labels)
    labels[:4] = range(4)
    (found,) = relabel.matched(labels[None], reference, 4)
    assert sorted(found) == [0, 1, 2, 3]

    def shared(order):
        return sum(((reference == k) & (labels == order[k])).sum() for k in range(3))

    assert shared(found) == max(shared(order) for order in itertools.permutations(range(4)))


def test_a_place_may_stay_empty():
    found = relabel.matched(np.array([[0, 0, 0, 1]]), np.array([0, 1, 1, 2]), 3)
    assert found.tolist() == [[-1, 0, 1]]
