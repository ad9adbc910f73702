"""Credible balls against exact enumeration, by their definition, and with bad input."""

import numpy as np
import pytest

from bayesgmm.posterior.balls import credible_ball
from bayesgmm.posterior.draws import in_order
from bayesgmm.posterior.partitions import LOSSES, expected_loss

BOUNDS = ("horizontal", "upper", "lower")


def as_digits(rows):
    return {"".join(map(str, row)) for row in rows}


def as_labels(text):
    return [int(one) for one in text]


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_every_exact_case(exact_cases, loss):
    """Radius, mass, bounds and how many are tied, over all partitions of 1 to 7 points."""
    assert len(exact_cases) == 151
    for name, case, partitions, weights, log_evidence in exact_cases:
        np.testing.assert_allclose(log_evidence, case["log_marginal_likelihood"], atol=1e-9)
        reference = case[f"ball_{loss}"]
        unit = 1 if loss == "vi" else 2 / partitions.shape[1] ** 2  # given in pairs
        centre = as_labels(reference["center"])
        ball = credible_ball(
            partitions, centre, reference["level"], loss, weights, max_ties=len(partitions)
        )
        assert ball.labels.tolist() == centre
        found = [ball.radius, ball.coverage]
        expected = [reference["radius"] * unit, reference["mass"]]
        for bound in BOUNDS:
            found.append(ball.distances[bound])
            expected.append(reference[bound]["distance"] * unit)
            rows = getattr(ball, bound)
            assert ball.ties[bound] == len(rows) == reference[bound]["n_ties"], (name, bound)
            assert as_digits(rows) >= set(reference[bound]["labels"]), (name, bound)
        np.testing.assert_allclose(found, expected, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_other_software(peers, loss):
    """mcclust.ext takes draws until it has enough, with no regard to ties: its bounds are ours."""
    reference, draws = peers
    theirs = reference["credibleball_VI" if loss == "vi" else "credibleball_Binder"]
    ball = credible_ball(draws, as_labels(theirs["center"]), theirs["level"], loss)
    pairs = (("horizontal", "horiz"), ("upper", "uppervert"), ("lower", "lowervert"))
    for bound, their in pairs:
        np.testing.assert_allclose(ball.distances[bound], theirs[f"dist_{their}"])
        assert as_digits(getattr(ball, bound)) >= set(theirs[their])


@pytest.mark.parametrize("loss", [*LOSSES, ("vi", 0.4), ("binder", 1.7)])
def test_by_definition(loss):
    """Draws one by one: the estimate's loss where each is the truth."""
    rng = np.random.default_rng(0)
    draws = in_order(rng.integers(0, 3, (60, 6)))
    labels, level = np.array([0, 0, 1, 1, 2, 2]), 0.7
    far = np.array([expected_loss(labels, draw[None], loss) for draw in draws])
    ball = credible_ball(draws, labels, level, loss)
    held = np.array([(far <= radius + 1e-9).mean() for radius in np.unique(far)])
    radius = np.unique(far)[held >= level - 1e-9].min()
    assert ball.radius == pytest.approx(radius, abs=1e-9)
    inside = far <= radius + 1e-9
    assert ball.coverage == pytest.approx(inside.mean())
    clusters = draws.max(1)
    for bound, some in (
        ("horizontal", inside),
        ("upper", inside & (clusters == clusters[inside].min())),
        ("lower", inside & (clusters == clusters[inside].max())),
    ):
        most = far[some].max()
        expected = draws[some & (far >= most - 1e-9)]
        assert as_digits(getattr(ball, bound)) == as_digits(expected)
        assert ball.distances[bound] == pytest.approx(most)


def test_ties_come_most_probable_first_and_are_capped():
    draws = [[0, 0, 0]] * 6 + [[0, 1, 1]] + [[0, 0, 1]] * 2 + [[0, 1, 0]]
    ball = credible_ball(draws, [0, 0, 0])
    assert ball.horizontal.tolist() == [[0, 0, 1], [0, 1, 0], [0, 1, 1]]
    few = credible_ball(draws, [0, 0, 0], max_ties=2)
    assert few.horizontal.tolist() == [[0, 0, 1], [0, 1, 0]] and few.ties["horizontal"] == 3
    assert "3 alike" in repr(few) and "radius 0.9183 bits ('vi')" in repr(few)


@pytest.mark.parametrize(
    "draws, labels",
    [
        ([[0, 1, 2, 3]] * 5, [0, 1, 2, 3]),
        ([[4, 4, 4, 4]] * 5, [7, 7, 7, 7]),
        ([[0, 0, 1, 1]], [1, 1, 0, 0]),
        ([[0]], [0]),
    ],
)
def test_nothing_but_the_estimate(draws, labels):
    ball = credible_ball(draws, labels)
    assert ball.radius == 0 and ball.coverage == 1
    for bound in BOUNDS:
        np.testing.assert_array_equal(getattr(ball, bound), in_order(ball.labels[None]))


def test_chains_and_weights():
    draws = np.random.default_rng(1).integers(0, 3, (4, 20, 7))
    flat, weights = draws.reshape(80, 7), np.random.default_rng(2).uniform(size=80)
    a = credible_ball(draws, draws[0, 0], weights=weights.reshape(4, 20))
    b = credible_ball(flat, draws[0, 0], weights=weights)
    assert a.radius == b.radius and a.ties == b.ties
    twice = np.repeat(flat, np.arange(80) % 3 + 1, axis=0)
    c = credible_ball(twice, flat[0])
    d = credible_ball(flat, flat[0], weights=np.arange(80) % 3 + 1)
    assert c.radius == d.radius and c.coverage == pytest.approx(d.coverage)


@pytest.mark.parametrize("level", [0, 1, 1.5, -0.1, True, "0.9", None, np.nan])
def test_what_is_no_level(level):
    with pytest.raises(ValueError, match="level must be a number between 0 and 1, got"):
        credible_ball([[0, 1]], [0, 1], level)


def test_other_bad_input():
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\).*got \(3,\)"):
        credible_ball([[0, 1]], [0, 1, 1])
    with pytest.raises(ValueError, match="Did you mean 'binder'"):
        credible_ball([[0, 1]], [0, 1], loss="bindr")
    with pytest.raises(ValueError, match="max_ties must be an integer of at least 1, got 0"):
        credible_ball([[0, 1]], [0, 1], max_ties=0)
    with pytest.raises(ValueError, match="ragged rows, of 1 to 2"):
        credible_ball([[0, 1], [0]], [0, 1])


def test_the_estimate_keeps_its_names():
    """Those that others have for its clusters; none where they are no index."""
    draws = [[0, 0, 1, 1]] * 17 + [[0, 0, 0, 0], [0, 0, 1, 2], [0, 1, 2, 3]]
    for given, expected in (([1, 1, 0, 0], [1, 1, 0, 0]), ([5, 5, 2, 2], [0, 0, 1, 1])):
        ball = credible_ball(draws, given, level=0.9)
        assert ball.labels.tolist() == expected
        assert ball.radius == 0.5 and ball.lower.tolist() == [[0, 0, 1, 2]]
