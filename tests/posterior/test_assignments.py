"""Assignment probabilities: by hand, by an independent count, and what they must be whatever."""

import itertools
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import jaccard_score

from bayesgmm.posterior.assignments import assignment_probabilities
from bayesgmm.posterior.draws import entered, mean_and_mcse
from bayesgmm.posterior.search import point_partition


def draws_near(labels, S, seed=0, rate=0.2, K=None):
    """Partitions in which each point is elsewhere with this probability, clusters renamed."""
    rng = np.random.default_rng(seed)
    K = K or int(labels.max()) + 1
    moved = rng.uniform(size=(S, len(labels))) < rate
    found = np.where(moved, rng.integers(0, K, moved.shape), labels)
    return np.take_along_axis(rng.permuted(np.tile(np.arange(K), (S, 1)), axis=1), found, 1)


LABELS = np.repeat([0, 1, 2], [14, 10, 6])


def counted(draws, labels, K):
    """The same by trying every matching of a draw's clusters with those of the partition."""
    found = np.zeros((len(labels), K + 1))
    for draw in draws:
        names = np.unique(draw)
        places = [*range(K), *[K] * len(names)]
        best = max(
            itertools.permutations(places, len(names)),
            key=lambda name: sum(
                ((draw == t) & (labels == k)).sum()
                for t, k in zip(names, name, strict=True)
                if k < K
            ),
        )
        for t, k in zip(names, best, strict=True):
            there = draw == t
            k = k if k < K and (there & (labels == k)).any() else K
            found[there, k] += 1 / len(draws)
    return found


@pytest.mark.parametrize("K", [3, 4])
def test_probabilities_are_those_of_the_best_matching(K):
    draws = draws_near(LABELS, 40, K=K, rate=0.25)
    found = assignment_probabilities(draws, LABELS)
    np.testing.assert_allclose(found.probabilities, counted(draws, LABELS, 3), atol=1e-12)
    np.testing.assert_allclose(found.probabilities.sum(1), 1.0)


def test_renamed_clusters_change_nothing():
    draws = draws_near(LABELS, 50)
    one = assignment_probabilities(draws, LABELS)
    renamed = np.array([7, 3, 11])[draws]
    other = assignment_probabilities(renamed, LABELS)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    pd.testing.assert_frame_equal(one.table, other.table)


def test_labels_keep_their_names():
    draws = draws_near(LABELS, 50)
    plain = assignment_probabilities(draws, LABELS)
    found = assignment_probabilities(draws, np.array([8, 2, 5])[LABELS])
    assert found.clusters.tolist() == [2, 5, 8]
    assert found.table["label"].tolist() == np.array([8, 2, 5])[LABELS].tolist()
    for new, old in ((8, 0), (2, 1), (5, 2), ("none", "none")):
        np.testing.assert_array_equal(
            found.table[f"probability_{new}"], plain.table[f"probability_{old}"]
        )
    assert found.stability.loc[8, "size"] == 14


def test_errors_are_those_of_indicators():
    draws = draws_near(LABELS, 60).reshape(3, 20, 30)
    for given, weights in ((draws, None), (draws[0], None), (draws, np.ones((3, 20)))):
        found = assignment_probabilities(given, LABELS, weights)
        checked = entered(given, weights)
        each = [assignment_probabilities(row[None], LABELS).probabilities for row in checked.labels]
        mean, mcse = mean_and_mcse(np.array(each), checked)
        np.testing.assert_allclose(found.probabilities, mean, atol=1e-12)
        np.testing.assert_allclose(found.mcse, mcse, atol=1e-12)


def test_weights_count_as_copies():
    draws = draws_near(LABELS, 5)
    copies = np.array([1, 0, 3, 2, 4])
    one = assignment_probabilities(draws, LABELS, weights=copies)
    other = assignment_probabilities(np.repeat(draws, copies, axis=0), LABELS)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-12)
    np.testing.assert_allclose(one.stability["jaccard"], other.stability["jaccard"])
    assert np.isnan(one.mcse).all()  # no time series


def test_stability_and_confusion_by_their_definitions():
    draws = draws_near(LABELS, 30)
    found = assignment_probabilities(draws, LABELS)
    for k in range(3):
        own = LABELS == k
        best = [max(jaccard_score(own, row == t) for t in np.unique(row)) for row in draws]
        pairs = draws[:, own]
        same = (pairs[:, :, None] == pairs[:, None]).mean(0)
        n = own.sum()
        row = found.stability.loc[k]
        np.testing.assert_allclose(row["jaccard"], np.mean(best))
        np.testing.assert_allclose(row["together"], (same.sum() - n) / (n * (n - 1)))
        np.testing.assert_allclose(row["kept"], found.confusion.loc[k, k])
        np.testing.assert_allclose(found.confusion.loc[k], found.probabilities[own, :3].mean(0))


def test_certain_points():
    found = assignment_probabilities(np.tile(LABELS, (10, 1)), LABELS)
    np.testing.assert_array_equal(found.probabilities, np.eye(4)[LABELS])
    assert not found.mcse.any() and not found.entropy.any()
    assert found.table["hesitation"].isna().all()
    np.testing.assert_array_equal(found.confusion, np.eye(3))
    np.testing.assert_allclose(found.stability[["kept", "jaccard", "together"]], 1.0)


def test_the_table_keeps_the_index_and_says_what_a_point_hesitates_between():
    draws = np.tile([0, 0, 1, 1, 1], (4, 1))
    draws[0, 2], draws[1, 4] = 0, 5
    names = ["a", "b", "c", "d", "e"]
    found = assignment_probabilities(draws, [0, 0, 1, 1, 1], index=names)
    assert found.table.index.tolist() == names
    assert found.table.loc["c", "hesitation"] == 0
    assert found.table.loc["e", "hesitation"] == "none"
    assert found.table.loc["e", "hesitation_probability"] == 0.25
    assert set(found.least_certain(2).index) == {"c", "e"}
    np.testing.assert_allclose(found.entropy[[2, 4]], -0.25 * np.log2(0.25) - 0.75 * np.log2(0.75))
    series = pd.Series([0, 0, 1, 1, 1], index=names)
    assert assignment_probabilities(draws, series).table.index.tolist() == names
    assert assignment_probabilities(draws, [0, 0, 1, 1, 1]).table.index.tolist() == [0, 1, 2, 3, 4]


def test_the_partition_is_that_of_least_expected_loss_if_none_is_given():
    draws, weights = draws_near(LABELS, 40), np.arange(40.0)
    labels = point_partition(draws, loss="vi", weights=weights, random_state=0).labels
    found = assignment_probabilities(draws, weights=weights)
    np.testing.assert_array_equal(found.labels, labels)
    expected = assignment_probabilities(draws, labels, weights)
    pd.testing.assert_frame_equal(found.table, expected.table)


def test_one_draw_one_cluster_and_singletons():
    one = assignment_probabilities([[0, 0, 1]], [0, 0, 0])
    np.testing.assert_array_equal(one.probabilities, [[1, 0], [1, 0], [0, 1]])
    assert np.isnan(one.mcse).all()
    apart = assignment_probabilities(np.tile(np.arange(6), (5, 1)), np.zeros(6, int))
    assert apart.probabilities[:, 0].sum() == 1 and apart.stability.loc[0, "together"] == 0
    alone = assignment_probabilities(np.zeros((5, 6), int), np.arange(6))
    assert (alone.probabilities.sum(1) == 1).all() and alone.stability["together"].isna().all()


def test_draws_are_left_as_they_are():
    draws, labels = draws_near(LABELS, 20), LABELS + 3
    before = draws.copy(), labels.copy()
    assignment_probabilities(draws, labels)
    np.testing.assert_array_equal(draws, before[0])
    np.testing.assert_array_equal(labels, before[1])


WRONG = [
    (dict(labels=[0, 1]), ValueError, r"labels must have shape \(30,\)"),
    (dict(labels=np.full(30, 0.5)), ValueError, "labels must be whole numbers"),
    (dict(weights=[1.0]), ValueError, r"weights must have shape \(20,\)"),
    (dict(index=["a"]), ValueError, "index must have an entry for each of the 30 points; got 1"),
    (dict(draws=[[0, 1], [0]]), ValueError, "draws must be labels .* ragged"),
    (dict(draws=[0, 1]), ValueError, "draws must be labels"),
]


@pytest.mark.parametrize(("given", "kind", "message"), WRONG)
def test_wrong_arguments_are_named(given, kind, message):
    with pytest.raises(kind, match=message):
        assignment_probabilities(**{"draws": draws_near(LABELS, 20), "labels": LABELS, **given})


def test_what_is_shown():
    draws = [[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 1, 1]]
    first, *table = repr(assignment_probabilities(draws, draws[0])).splitlines()
    assert first == "Assignments of 5 points to 2 clusters; less than 95 % sure: 1"
    assert "jaccard" in table[0] and len(table) == 4


def test_least_certain_wants_a_number():
    with pytest.raises(ValueError, match="n must be an integer of at least 1, got 0"):
        assignment_probabilities([[0, 1]], [0, 1]).least_certain(0)


@pytest.mark.slow
def test_many_points():
    labels = np.arange(10_000) % 8
    draws = draws_near(labels, 1000)
    start = time.perf_counter()
    assignment_probabilities(draws, labels)
    assert time.perf_counter() - start < 20
