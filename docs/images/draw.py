"""Draws the figure of the README, with the package: python docs/images/draw.py."""

from pathlib import Path

from matplotlib.figure import Figure

from bayesgmm import GaussianMixture
from bayesgmm.datasets import load_faithful
from bayesgmm.plots import plot_components, plot_uncertainty


def main() -> None:
    X, _ = load_faithful()
    model = GaussianMixture(n_components=2, random_state=0).fit(X)
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_components(model, X, radius=(1, 2), ax=left)
    plot_uncertainty(model, X, ax=right)
    left.set_title("Two kinds of eruption of Old Faithful")
    right.set_title("and how sure each assignment is")
    figure.savefig(Path(__file__).parent / "faithful.png", dpi=130)


if __name__ == "__main__":
    main()
