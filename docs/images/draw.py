"""Draws figures of the README and of the page on partitions: python docs/images/draw.py."""

from pathlib import Path

from matplotlib.figure import Figure

from bayesgmm import GaussianMixture, MCMCGaussianMixture
from bayesgmm.datasets import load_faithful, load_galaxies
from bayesgmm.plots import (
    plot_assignments,
    plot_components,
    plot_credible_ball,
    plot_similarity,
    plot_uncertainty,
)
from bayesgmm.posterior.assignments import assignment_probabilities
from bayesgmm.posterior.balls import credible_ball
from bayesgmm.posterior.search import point_partition

FOLDER = Path(__file__).parent


def main() -> None:
    components()
    partitions_of_galaxies()
    ball_of_faithful()


def components() -> None:
    X, _ = load_faithful()
    model = GaussianMixture(n_components=2, random_state=0).fit(X)
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_components(model, X, radius=(1, 2), ax=left)
    plot_uncertainty(model, X, ax=right)
    left.set_title("Two kinds of eruption of Old Faithful")
    right.set_title("and how sure each assignment is")
    figure.savefig(FOLDER / "faithful.png", dpi=130)


def drawn_labels(X):
    """Labels [C, S, N] of a posterior sample."""
    model = MCMCGaussianMixture(thin=10, random_state=0, progress_bar=False).fit(X)
    return model.posterior_["posterior"]["labels"]


def partitions_of_galaxies() -> None:
    X, _ = load_galaxies()
    labels = drawn_labels(X)
    estimate = point_partition(labels, random_state=0).labels
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    plot_similarity(labels, estimate, ax=left)
    plot_assignments(assignment_probabilities(labels, estimate), ax=right)
    figure.savefig(FOLDER / "partitions_galaxies.png", dpi=110)


def ball_of_faithful() -> None:
    X, _ = load_faithful()
    labels = drawn_labels(X)
    estimate = point_partition(labels, random_state=0).labels
    figure = Figure(figsize=(8, 6.2), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    plot_credible_ball(credible_ball(labels, estimate), X, axes=axes)
    figure.savefig(FOLDER / "ball_faithful.png", dpi=80)


if __name__ == "__main__":
    main()
