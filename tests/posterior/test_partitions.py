"""Losses of partitions, by their definitions, and their expectation."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, mutual_info_score, rand_score

from bayesgmm.posterior import partitions
from bayesgmm.posterior.draws import entered, in_order, mean_and_mcse
from bayesgmm.posterior.partitions import LOSSES, expected_loss, losses, partition_loss


def some_partitions(S, N, K, seed=0):
    return in_order(np.random.default_rng(seed).integers(0, K, (S, N)))


def entropies(a, b):
    """H(a), H(b) and the mutual information, in bits, by scikit-learn."""
    return [mutual_info_score(*pair) / np.log(2) for pair in ((a, a), (b, b), (a, b))]


def joined_and_parted(estimate, truth):
    """Pairs that the estimate has together and the truth apart, and the other way round."""
    pairs = list(itertools.combinations(range(len(truth)), 2))
    joined = sum(estimate[i] == estimate[j] and truth[i] != truth[j] for i, j in pairs)
    parted = sum(estimate[i] != estimate[j] and truth[i] == truth[j] for i, j in pairs)
    return joined, parted


def vi(a, b):
    h, g, mutual = entropies(a, b)
    return h + g - 2 * mutual


def binder(a, b):
    n = len(a)
    return (1 - rand_score(a, b)) * (n - 1) / n


def nvi(a, b):
    h, g, mutual = entropies(a, b)
    return 1 - mutual / (h + g - mutual)


def information_distance(a, b):
    h, g, mutual = entropies(a, b)
    return max(h, g) - mutual


def nid(a, b):
    h, g, mutual = entropies(a, b)
    return 1 - mutual / max(h, g)


def costly_vi(a, b):
    """H(truth | estimate) for joining, and 0.4 times H(estimate | truth) for parting."""
    h, g, mutual = entropies(a, b)
    return (g - mutual) + 0.4 * (h - mutual)


def costly_binder(a, b):
    joined, parted = joined_and_parted(a, b)
    return 2 / len(a) ** 2 * (joined + 1.7 * parted)


DEFINITIONS = {
    "vi": vi,
    "binder": binder,
    "omari": lambda a, b: 1 - adjusted_rand_score(a, b),
    "nvi": nvi,
    "id": information_distance,
    "nid": nid,
    ("vi", 0.4): costly_vi,
    ("binder", 1.7): costly_binder,
}


@pytest.mark.parametrize("loss", DEFINITIONS)
@pytest.mark.parametrize("N, K", [(30, 4), (9, 9), (200, 90)])  # tables full, small, and sparse
def test_losses_by_their_definitions(loss, N, K):
    row, cost = partition_loss(loss)
    estimates, truths = some_partitions(4, N, K), some_partitions(5, N, K, seed=1)
    truths[0] = estimates[0]
    expected = [[DEFINITIONS[loss](a, b) for b in truths] for a in estimates]
    np.testing.assert_allclose(losses(estimates, truths, row, cost), expected, atol=1e-12)


def test_every_loss_has_a_definition_here():
    assert {name if isinstance(name, str) else name[0] for name in DEFINITIONS} == set(LOSSES)


@pytest.mark.parametrize("loss", DEFINITIONS)
def test_extremes(loss, all_partitions):
    """No distance from itself, none below 0; one cluster beside all singletons, also of a point."""
    row, cost = partition_loss(loss)
    some = all_partitions(5)
    found = losses(some, some, row, cost)
    assert np.isfinite(found).all() and found.min() == 0
    same = found < 1e-12
    np.testing.assert_array_equal(same, np.eye(len(some), dtype=bool))
    if cost == 1:
        np.testing.assert_allclose(found, found.T, atol=1e-15)
    one = np.zeros((1, 1), np.int32)
    assert losses(one, one, row, cost) == 0


def test_ranges(all_partitions):
    """The normalised ones lie in [0, 1]; omARI of the worst may pass 1."""
    some = all_partitions(6)
    for name in ("nvi", "nid"):
        assert losses(some, some, LOSSES[name]).max() == pytest.approx(1)
    assert losses(some, some, LOSSES["vi"]).max() == pytest.approx(np.log2(6))
    assert losses(some, some, LOSSES["binder"]).max() == pytest.approx(5 / 6)


def test_unequal_costs_by_hand():
    """Four points; to join costs 1 a pair, to part 3."""
    truth, joined, parted = [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 2]
    assert expected_loss(joined, [truth], ("binder", 3)) == pytest.approx(2 / 16 * 4)
    assert expected_loss(parted, [truth], ("binder", 3)) == pytest.approx(2 / 16 * 3)
    assert expected_loss(joined, [truth], ("vi", 3)) == pytest.approx(1)
    assert expected_loss(parted, [truth], ("vi", 3)) == pytest.approx(3 * 0.5)


def test_blocks_change_nothing(monkeypatch):
    estimates, truths = some_partitions(3, 40, 5), some_partitions(50, 40, 5, seed=2)
    whole = losses(estimates, truths, LOSSES["vi"])
    monkeypatch.setattr(partitions, "BLOCK", 100)
    np.testing.assert_array_equal(losses(estimates, truths, LOSSES["vi"]), whole)


def test_other_software(peers):
    reference, draws = peers
    for name in ("minVI_avg", "maxpear_avg", "exhaustive_VI"):
        labels = [int(one) for one in reference[name]["labels"]]
        vi = expected_loss(labels, draws)
        np.testing.assert_allclose(vi, reference[name]["expected_VI_bits"], rtol=1e-12)
    for name in ("minbinder_avg", "maxpear_avg", "exhaustive_binder"):
        labels = [int(one) for one in reference[name]["labels"]]
        pairs = expected_loss(labels, draws, "binder") * 8**2 / 2
        np.testing.assert_allclose(pairs, reference[name]["expected_binder_pairs"], rtol=1e-12)


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_exact_expectations(exact_cases, loss):
    for name, case, every, weights, _ in exact_cases:
        reference = case[f"{loss}_opt"]
        unit = 1 if loss == "vi" else 2 / every.shape[1] ** 2
        both = [[int(k) for k in reference[which]] for which in ("labels", "runner_up")]
        expected = [reference["expected_loss"] * unit, reference["runner_up_loss"] * unit]
        found = expected_loss(both, every, loss, weights)
        np.testing.assert_allclose(found, expected, atol=1e-10, err_msg=name)


def test_expectation_is_the_mean_and_has_an_error():
    draws = some_partitions(40, 15, 4).reshape(4, 10, 15)
    labels = some_partitions(3, 15, 3, seed=5)
    flat = draws.reshape(40, 15)
    values = losses(labels, flat, LOSSES["nid"])
    mean, mcse = expected_loss(labels, draws, "nid", return_mcse=True)
    expected = mean_and_mcse(values.T, entered(draws))
    np.testing.assert_allclose(mean, expected[0])
    np.testing.assert_allclose(mcse, expected[1])
    one = expected_loss(labels[0], draws, "nid", return_mcse=True)
    assert one == pytest.approx((mean[0], mcse[0])) and isinstance(one[0], float)
    weights = np.arange(40.0)
    found = expected_loss(labels, flat, "nid", weights)
    np.testing.assert_allclose(found, np.average(values, weights=weights, axis=1))
    assert np.isnan(expected_loss(labels[0], flat, "nid", weights, return_mcse=True)[1])


def test_labels_mean_nothing_by_themselves():
    draws = some_partitions(20, 12, 4)
    labels = draws[0]
    renamed = 7 - 3 * labels
    assert expected_loss(renamed, draws) == expected_loss(labels, -5 * draws)


def test_variation_over_draws():
    candidates, draws = some_partitions(3, 20, 3), some_partitions(6, 20, 4, seed=3)
    expected = [np.mean([vi(a, b) for b in draws]) for a in candidates]
    np.testing.assert_allclose(partitions.expected_variation(candidates, draws), expected)


@pytest.mark.parametrize(
    "loss, message",
    [
        ("VI", r"one of 'vi', 'binder', .*got 'VI'\. Did you mean 'vi'\?"),
        ("bindre", "Did you mean 'binder'"),
        (None, "loss must be one of"),
        (("vi", 1, 2), "loss must be one of"),
        (("via", 1), "loss must be one of"),
        (("nid", 0.5), r"'nid' has no costs; 'vi' and 'binder' have\. Give 'nid' alone"),
        (("vi", 0), "cost of loss 'vi' must be finite and above 0, got 0"),
        (("vi", -1.0), "above 0, got -1.0"),
        (("vi", np.nan), "above 0, got nan"),
        (("binder", np.inf), "above 0, got inf"),
        (("binder", "2"), "must be a number above 0, got '2'"),
        (("binder", True), "must be a number above 0, got True"),
    ],
)
def test_what_is_no_loss(loss, message):
    with pytest.raises(ValueError, match=message):
        expected_loss([0, 1], [[0, 1]], loss)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"labels must have shape \(3,\) or \(M, 3\).*got \(2,\)"):
        expected_loss([0, 1], [[0, 1, 1]])
    with pytest.raises(ValueError, match=r"draws must be labels \[S, N\]"):
        expected_loss([0, 1], [0, 1])
    with pytest.raises(TypeError, match="labels must be whole numbers"):
        expected_loss(["a", "b"], [[0, 1]])
