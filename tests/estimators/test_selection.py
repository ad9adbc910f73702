"""select_model: against mclust's tables, against GaussianMixture, and at its boundary."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bayesgmm import (
    BayesianGaussianMixture,
    GaussianMixture,
    MCMCGaussianMixture,
    bootstrap,
    datasets,
    likelihood_ratio_test,
    select_model,
)

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


SHORT = dict(n_chains=2, n_samples=100, n_warmup=100, moves=False, progress_bar=False)


@pytest.mark.parametrize(
    "model, option, values",
    [
        (GaussianMixture(random_state=0), "n_components", [1, 2]),
        (BayesianGaussianMixture(moves=False, random_state=0), "n_components", [1, 2]),
        (MCMCGaussianMixture(2, random_state=0, **SHORT), "n_components", [2]),
    ],
)
@pytest.mark.filterwarnings("ignore")  # chains of a hundred draws
def test_grid_search_and_pipeline(model, option, values):
    X = points("faithful")[::4]
    name = f"{type(model).__name__.lower()}__{option}"
    search = GridSearchCV(make_pipeline(StandardScaler(), model), {name: values}, cv=2)
    assert search.fit(X).best_params_ == {name: 2}
    assert search.best_estimator_.score_samples(X).shape == (len(X),)


# --- the other methods ----------------------------------------------------------------------------


def two_groups(seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(-4, 1, (30, 1)), rng.normal(4, 1, (20, 1))])


PRIOR = dict(mean_prior=[0.5], mean_precision_prior=0.2, degrees_of_freedom_prior=3.0)
PRIOR |= dict(covariance_prior=[[2.0]])


def log_evidence_of_one(X, m, kappa, nu, S):
    """Of one Gaussian under the conjugate prior: the product of Student t of each next point."""
    from scipy.stats import t

    total = 0.0
    for x in X[:, 0]:
        total += t(nu, m, np.sqrt(S * (kappa + 1) / (kappa * nu))).logpdf(x)
        S += kappa / (kappa + 1) * (x - m) ** 2
        m = (kappa * m + x) / (kappa + 1)
        kappa, nu = kappa + 1, nu + 1
    return total


def test_bounds_are_evidences():
    """One component's bound is exact; that of two, their names once, is below the evidence."""
    X = two_groups()
    found = select(X, [1, 2], "full", method="vb", n_init=1, reg_covar=0, **PRIOR)
    table = found.table.set_index("n_components")
    exact = log_evidence_of_one(X, 0.5, 0.2, 3.0, 2.0)
    np.testing.assert_allclose(table.loc[1, "lower_bound"], exact)
    assert table["n_clusters"].tolist() == [1, 2]
    np.testing.assert_allclose(table["lower_bound"] - table["elbo"], np.log([1, 2]), atol=1e-9)
    assert found.criterion == "lower_bound" and found.best_n_components_ == 2
    odds = found.probabilities("n_components")
    gap = table.loc[2, "lower_bound"] - table.loc[1, "lower_bound"]
    np.testing.assert_allclose(odds[2] / odds[1], np.exp(gap))
    alone = BayesianGaussianMixture(
        2,
        covariance_type="full",
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=1.0,
        prune=False,
        moves=False,
        reg_covar=0,
        init_params="hierarchical",
        **PRIOR,
    ).fit(X)
    np.testing.assert_allclose(alone.elbo_, table.loc[2, "elbo"], rtol=1e-9)
    with pytest.raises(ValueError, match="bootstrap is of fits by maximum likelihood"):
        found.bootstrap(X)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # chains of two hundred draws
def test_evidences_and_leave_one_out_of_chains():
    X = two_groups()
    options = SHORT | dict(component_prior="conjugate", n_samples=200, **PRIOR)
    del options["progress_bar"]
    found = select(X, [1, 2], "full", "log_evidence", "mcmc", **options)
    table = found.table.set_index("n_components")
    exact = log_evidence_of_one(X, 0.5, 0.2, 3.0, 2.0)
    np.testing.assert_allclose(table.loc[1, "log_evidence"], exact, atol=0.05)
    bound = select(X, 2, "full", method="vb", reg_covar=0, **PRIOR).table.loc[0, "lower_bound"]
    assert bound - 0.05 < table.loc[2, "log_evidence"] < bound + 1.0
    assert found.best_n_components_ == 2 and table["elpd_loo"].idxmax() == 2
    assert found.probabilities("n_components")[2] > 0.99
    # one Gaussian: what the predictive Student t of the other points says of each
    left_out = [log_evidence_of_one(np.delete(X, i, 0), 0.5, 0.2, 3.0, 2.0) for i in range(50)]
    np.testing.assert_allclose(
        table.loc[1, "elpd_loo"], np.sum(exact - np.array(left_out)), atol=0.5
    )
    by_loo = select(X, 2, "full", method="mcmc", **options)
    with pytest.raises(ValueError, match="select with criterion='log_evidence'"):
        by_loo.probabilities()


def test_cross_validation_is_a_loop_over_folds():
    from sklearn.model_selection import KFold

    table = datasets.load_faithful()[0]
    X, weight = table.to_numpy(), 1.0 + np.arange(len(table)) % 3
    options = dict(cv=3, sample_weight=weight, n_init=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = select(table, [1, 2], "VVI", "held_out", **options)
    folds = KFold(3, shuffle=True, random_state=0).split(X)
    own = dict(covariance_type="VVI", reg_covar=0, init_params="hierarchical")
    densities = np.empty((len(X), 2))
    for train, test in folds:
        for K in (1, 2):
            model = GaussianMixture(K, **own).fit(X[train], sample_weight=weight[train])
            densities[test, K - 1] = model.score_samples(X[test])
    np.testing.assert_allclose(
        found.table["held_out"], np.average(densities, axis=0, weights=weight), rtol=1e-6
    )
    assert found.best_n_components_ == 2 and (found.table["held_out_se"] > 0).all()
    with pytest.raises(ValueError, match="'held_out' needs folds: give cv"):
        select(X, 1, "EII", "held_out")


def test_points_in_pieces():
    X = points("faithful")
    ours = select([X[:100], X[100:]], [1, 2], "EEE", n_init=1)
    whole = select(X, [1, 2], "EEE", n_init=1)
    columns = ["log_likelihood", "bic", "icl", "inertia"]
    np.testing.assert_allclose(ours.table[columns], whole.table[columns], rtol=1e-6)
    with pytest.raises(ValueError, match="cv needs points in memory"):
        select([X], 1, "EEE", cv=2)
    with pytest.raises(ValueError, match="X is points in pieces"):
        select([X], 1, "full", method="mcmc")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(covariance_type="VVW"), "covariance_type must be one of .*'VVV'.*got 'VVW'"),
        (dict(covariance_type=["all"]), "covariance_type must be one of 'full'.*got 'all'"),
        (dict(covariance_type=[]), "covariance_type must hold at least one name"),
        (dict(covariance_type="E"), "covariance_type='E' is for one feature, got 2"),
        (dict(n_components=[2, 11]), "n_components = 11, n_samples = 10"),
        (dict(n_components=0), "n_components must be an integer of at least 1, got 0"),
        (dict(n_components=[]), "n_components must hold at least one number"),
        (
            dict(criterion="BIC"),
            "criterion with method='em' must be.*Did you mean 'bic'",
        ),
        (dict(n_inits=3), "no option 'n_inits'.*Did you mean 'n_init'"),
        (dict(init_params=np.zeros(10, int)), "init_params must be a name.*got ndarray"),
        (dict(min_eigenvalue=-1), "min_eigenvalue must be a finite number of at least 0"),
        (dict(min_count="x"), "min_count must be a finite number"),
        (dict(method="EM"), "method must be one of 'em'.*Did you mean 'em'"),
        (dict(method="vb", criterion="bic"), "criterion with method='vb' must be one of 'lower_bo"),
        (dict(method="vb", min_count=2), "min_count is of method='em'"),
        (dict(method="vb", covariance_type="VEV"), "covariance_type must be one of .*'full'"),
        (dict(method="vb", prune=True), "method='vb' has no option 'prune'"),
        (dict(cv=1), "cv must be at least 2 and at most the number of rows, 10; got 1"),
        (dict(cv="5"), "cv must be a number of folds or a splitter"),
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


def test_plot_of_a_criterion_of_which_more_is_better():
    import pandas as pd
    from matplotlib.figure import Figure

    from bayesgmm import plots

    columns = ["covariance_type", "n_components", "elpd_loo"]
    table = pd.DataFrame([["full", 1, -9.0], ["full", 2, -5.0], ["full", 3, -6.0]], columns=columns)
    ax = plots.plot_selection(table, "elpd_loo", ax=Figure().subplots())
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), [[2, -5.0]])
    low, high = ax.get_ylim()
    assert low < -6.0 and high > -5.0 and "more is better" in ax.get_ylabel()


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
