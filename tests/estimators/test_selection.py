"""select_model: against mclust's tables, against GaussianMixture, and at its boundary."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bayesgmm import GaussianMixture, bootstrap, datasets, likelihood_ratio_test, select_model

FOLDER = Path(__file__).parents[1] / "reference"
MCLUST_BIC = json.loads((FOLDER / "mclust_bic.json").read_text(encoding="utf-8"))


def points(name):
    if name in ("iris", "faithful"):
        return getattr(datasets, f"load_{name}")()[0].to_numpy()
    return np.array(json.loads((FOLDER / f"mclust_{name}.json").read_text(encoding="utf-8"))["x"])


def select(X, *args, **options):
    return select_model(X, *args, random_state=0, progress_bar=False, **options)


def check_against_mclust(name, families):
    """In 98 of 100 cells at least the better of mclust's two fits, and the best no worse."""
    table = select(points(name), range(1, 10), families).table
    ours = table.set_index(["covariance_type", "n_components"])["bic"]
    theirs = {
        (family, K): -bic  # its criterion is minus ours
        for family in dict.fromkeys(table["covariance_type"])
        for K, bic in enumerate(MCLUST_BIC[name][family], 1)
        if bic is not None
    }
    as_good = [ours[cell] <= bic + 1e-6 * abs(bic) for cell, bic in theirs.items()]
    assert np.mean(as_good) >= 0.98
    least = min(theirs.values())
    assert table.loc[~table["singular"], "bic"].min() <= least + 1e-6 * abs(least)


@pytest.mark.parametrize(
    "name, families", [("galaxies", "all"), ("iris", ["VEV", "EII"]), ("faithful", ["EEE", "VVI"])]
)
def test_no_worse_than_mclust(name, families):
    check_against_mclust(name, families)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iris", "faithful", "diabetes"])
def test_no_worse_than_mclust_in_any_family(name):
    check_against_mclust(name, "all")


def test_cells_are_fits_from_the_same_start():
    """Absent components and lanes change nothing: each cell is what the estimator finds alone."""
    X = points("faithful")
    table = select(X, [1, 2, 3], "VVI", n_init=1).table
    for K, bic, icl in zip(table["n_components"], table["bic"], table["icl"], strict=True):
        options = dict(covariance_type="VVI", reg_covar=0, init_params="hierarchical")
        alone = GaussianMixture(K, **options).fit(X)
        np.testing.assert_allclose([bic, icl], [alone.bic(X), alone.icl(X)], rtol=1e-6)


def test_best_estimator_is_a_fitted_model():
    X = datasets.load_faithful()[0]
    found = select(X, [1, 2], ["VVI", "EEE"])
    best = found.best_estimator_
    row = found.table.loc[found.table["bic"].idxmin()]
    assert (best.n_components, best.covariance_type) == (
        row["n_components"],
        row["covariance_type"],
    )
    np.testing.assert_allclose(best.score(X) * len(X), row["log_likelihood"])
    np.testing.assert_array_equal(best.labels_, best.predict(X))
    assert list(best.feature_names_in_) == list(X.columns)
    assert best.converged_ and best.lower_bounds_[-1] <= best.lower_bound_ + 1e-9
    probability = found.probabilities()
    np.testing.assert_allclose(probability.sum(), 1.0)
    odds = probability["EEE", 2] / probability["VVI", 2]
    bic = found.table.set_index(["covariance_type", "n_components"])["bic"]
    np.testing.assert_allclose(odds, np.exp(0.5 * (bic["VVI", 2] - bic["EEE", 2])))
    np.testing.assert_allclose(
        found.probabilities("n_components")[2], probability.xs(2, level=1).sum()
    )
    assert f"n_components={best.n_components}" in str(found)


def test_the_uncertainty_of_the_choice():
    X = points("faithful")
    found = select(X, range(1, 4), ["EEE"])
    replicates = found.bootstrap(X, 20, random_state=0)
    np.testing.assert_array_equal(
        replicates.means, bootstrap(found.best_estimator_, X, 20, random_state=0).means
    )
    tested = found.likelihood_ratio_test(X, 1, n_bootstrap=3, n_init=1, random_state=0)
    same = likelihood_ratio_test(
        X, 1, covariance_type="EEE", n_bootstrap=3, n_init=1, random_state=0
    )
    assert tested.table.equals(same.table) and tested.table.index.tolist() == [1]
    shown = found._repr_html_()
    assert f"<p>{found}</p>" in shown and shown.count("<tr") == 4


def test_weights_are_repeated_rows():
    X = points("galaxies")
    weight = np.arange(len(X)) % 3
    options = dict(n_init=1, init_params="cells")
    ours = select(X, [1], "all", sample_weight=weight, **options).table
    repeated = select(np.repeat(X, weight, axis=0), [1], "all", **options).table
    columns = ["log_likelihood", "bic", "aic", "icl", "n_parameters"]
    np.testing.assert_allclose(ours[columns], repeated[columns], rtol=1e-9)


def test_singular_cells_are_told_and_never_chosen():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(40, 1)), np.full((5, 1), 6.0)])  # one value five times
    found = select(X, [1, 2], "V")
    assert found.table["singular"].tolist() == [False, True]
    assert found.best_n_components_ == 1
    assert found.probabilities().tolist() == [1.0, 0.0]


def test_many_points_are_fitted_in_turn(monkeypatch):
    from bayesgmm.estimators import cells

    X = points("galaxies")
    together = select(X, [2], "E").table
    monkeypatch.setattr(cells, "FEW", 10)
    apart = select(X, [2], "E").table
    np.testing.assert_allclose(together["bic"], apart["bic"], rtol=1e-6)


def test_interrupt_leaves_nothing_running(monkeypatch):
    from bayesgmm.estimators import cells

    def interrupted(*args):
        raise KeyboardInterrupt

    X = points("galaxies")
    with monkeypatch.context() as patch:
        patch.setattr(cells._Job, "fits", interrupted)
        with pytest.raises(KeyboardInterrupt):
            select(X, [2], "E")
    assert select(X, [2], "E").best_n_components_ == 2


def test_grid_search_and_pipeline():
    X = points("faithful")
    search = GridSearchCV(
        make_pipeline(StandardScaler(), GaussianMixture(random_state=0)),
        {"gaussianmixture__n_components": [1, 2]},
        cv=3,
    )
    assert search.fit(X).best_params_ == {"gaussianmixture__n_components": 2}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(covariance_type="VVW"), "covariance_type must be one of .*'VVV'.*got 'VVW'"),
        (dict(covariance_type=[]), "covariance_type must hold at least one name"),
        (dict(covariance_type="E"), "covariance_type='E' is for one feature, got 2"),
        (dict(n_components=[2, 11]), "n_components = 11, n_samples = 10"),
        (dict(n_components=0), "n_components must be an integer of at least 1, got 0"),
        (dict(n_components=[]), "n_components must hold at least one number"),
        (dict(criterion="BIC"), "criterion must be one of 'bic'.*Did you mean 'bic'"),
        (dict(n_inits=3), "no option 'n_inits'.*Did you mean 'n_init'"),
        (dict(init_params=np.zeros(10, int)), "init_params must be a name.*got ndarray"),
        (dict(min_eigenvalue=-1), "min_eigenvalue must be a finite number of at least 0"),
        (dict(min_count="x"), "min_count must be a finite number"),
    ],
)
def test_bad_input(arguments, message):
    X = np.random.default_rng(0).normal(size=(10, 2))
    with pytest.raises(ValueError, match=message):
        select_model(X, **(dict(n_components=1) | arguments), progress_bar=False)


def test_plot_leaves_singular_cells_out():
    import pandas as pd
    from matplotlib.figure import Figure

    from bayesgmm import plots

    columns = ["covariance_type", "n_components", "bic", "singular"]
    rows = [["EEE", 1, 9.0, False], ["EEE", 2, 8.0, False], ["VVV", 1, 9.5, False]]
    table = pd.DataFrame([*rows, ["VVV", 2, 1.0, True]], columns=columns)
    ax = plots.plot_selection(table, ax=Figure().subplots())
    curves = {line.get_label(): line.get_ydata() for line in ax.lines[:2]}
    np.testing.assert_array_equal(curves["EEE"], [9.0, 8.0])
    np.testing.assert_array_equal(curves["VVV"], [9.5, np.nan])
    np.testing.assert_array_equal(ax.lines[2].get_xydata(), [[2, 8.0]])  # the ring
    with pytest.raises(ValueError, match="must have a column 'icl'"):
        plots.plot_selection(table, "icl")


def test_elbow_and_silhouette():
    from sklearn.metrics import silhouette_score

    X = points("faithful")
    found = select(X, [1, 2], "EEE")
    scaled = StandardScaler().fit_transform(X)
    labels = found.best_estimator_.labels_
    row = found.table.iloc[1]
    means = np.stack([scaled[labels == k].mean(0) for k in range(2)])
    np.testing.assert_allclose(row["inertia"], np.square(scaled - means[labels]).sum())
    np.testing.assert_allclose(row["silhouette"], silhouette_score(scaled, labels))
    np.testing.assert_allclose(found.table["inertia"][0], scaled.size)
    assert np.isnan(found.table["silhouette"][0])
