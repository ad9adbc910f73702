"""ArviZ on `posterior_`: what it makes of the draws of either sampler, whatever its version."""

import warnings

import arviz_plots
import arviz_stats
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray
from matplotlib.backends.backend_agg import FigureCanvasAgg
from sklearn.exceptions import ConvergenceWarning

from bayesgmm import MCMCGaussianMixture

N, CHAINS, DRAWS = 24, 2, 100
FITS = {
    "gibbs": {"sampler": "gibbs", "moves": False},
    "nuts": {"sampler": "nuts"},
    "lkj": {"component_prior": "lkj"},
}
GROUPS = {
    "posterior",
    "sample_stats",
    "log_likelihood",
    "log_prior",
    "posterior_predictive",
    "prior",
    "prior_predictive",
    "observed_data",
}
MARKS = {"gibbs": pytest.mark.smoke, "nuts": pytest.mark.slow, "lkj": pytest.mark.slow}
NAMES = [pytest.param(name, marks=MARKS.get(name, ())) for name in FITS]

pytestmark = [  # ArviZ's own, over few draws and over quantities that never move
    pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto:UserWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),
]


@pytest.fixture(scope="module", params=NAMES)
def tree(request):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(N, 2)) + 8 * (np.arange(N) % 3 == 0)[:, None]
    X = pd.DataFrame(points, columns=["height", "weight"])
    options = {"n_chains": CHAINS, "n_samples": DRAWS, "progress_bar": False, "random_state": 0}
    options |= {"weight_concentration_prior": 0.5, **FITS[request.param]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MCMCGaussianMixture(2, **options).fit(X).posterior_


def test_groups_and_coordinates(tree):
    assert set(tree.children) == GROUPS
    posterior, prior = tree["posterior"], tree["prior"]
    assert posterior["means"].dims == ("chain", "draw", "cluster", "feature")
    assert posterior["covariances"].shape == (CHAINS, DRAWS, 2, 2, 2)
    assert posterior.coords["feature"].values.tolist() == ["height", "weight"]
    assert posterior["n_clusters"].dims == ("chain", "draw")
    for name, variable in prior.data_vars.items():
        assert variable.dims == posterior[name].dims, name
    assert set(posterior.data_vars) - set(prior.data_vars) == {"log_likelihood"}
    assert set(tree["log_prior"].data_vars) == {"lp_weights", "lp_components"}
    for group in ("observed_data", "posterior_predictive", "prior_predictive"):
        assert tree[group]["x"].dims[-2:] == ("obs_id", "feature")
    # the pointwise log likelihood adds up to that of the sampler
    pointwise = tree["log_likelihood"]["x"]
    np.testing.assert_allclose(pointwise.sum("obs_id"), posterior["log_likelihood"], rtol=1e-8)


def test_summary(tree):
    table = arviz_stats.summary(tree, round_to="none")
    posterior = tree["posterior"]
    assert len(table) == sum(variable[0, 0].size for variable in posterior.data_vars.values())
    expected = posterior["means"].sel(cluster=0, feature="weight").mean()
    np.testing.assert_allclose(table.loc["means[0, weight]", "mean"], expected)
    assert np.isfinite(table.loc["log_likelihood", ["r_hat", "ess_bulk"]].astype(float)).all()


def test_loo(tree):
    found = arviz_stats.loo(tree)
    pointwise = tree["log_likelihood"]["x"].values.reshape(-1, N)
    inside = (np.logaddexp.reduce(pointwise, axis=0) - np.log(CHAINS * DRAWS)).sum()
    assert found.p > 0 and found.n_data_points == N
    np.testing.assert_allclose(found.elpd + found.p, inside, rtol=1e-8)


def test_power_scaling(tree):
    """Of everything, labels and what never moves with it, and of one part of the prior alone."""
    table = arviz_stats.psense_summary(tree)
    moving = table.loc[["log_likelihood", "largest_weight", "means[0, height]"]]
    for column in ("prior", "likelihood"):
        assert np.isfinite(moving[column]).all() and (moving[column] > 0).all()
    for part in tree["log_prior"].data_vars:
        own = arviz_stats.psense_summary(tree, var_names=["log_likelihood"], prior_var_names=[part])
        assert np.isfinite(own["prior"]).all()


def drawn(collection):
    """The axes of a plot with anything in them, after it was drawn to pixels."""
    figure = collection.viz["figure"].item()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert np.asarray(canvas.buffer_rgba()).std() > 0
    plt.close(figure)
    return [ax for ax in figure.axes if ax.has_data()]


def test_trace_is_drawn(tree):
    names = ["means", "log_likelihood"]
    collection = arviz_plots.plot_trace(tree, var_names=names, backend="matplotlib")
    axes = drawn(collection)
    assert len(axes) == 5  # four coordinates of means
    for c, line in enumerate(axes[-1].lines[:CHAINS]):
        np.testing.assert_allclose(line.get_ydata(), tree["posterior"]["log_likelihood"][c])


def test_predictive_check_is_drawn(tree):
    for group, observed in (("posterior_predictive", True), ("prior_predictive", False)):
        collection = arviz_plots.plot_ppc_dist(
            tree, group=group, num_samples=20, backend="matplotlib"
        )
        (ax,) = drawn(collection)
        assert len(ax.lines) == 20 + observed


def test_netcdf_keeps_it_all(tree, tmp_path):
    tree.to_netcdf(tmp_path / "draws.nc", engine="h5netcdf")
    with xarray.open_datatree(tmp_path / "draws.nc", engine="h5netcdf") as back:
        xarray.testing.assert_equal(back.load(), tree)
        assert back.attrs == tree.attrs
    assert np.isfinite(arviz_stats.loo(back).elpd)
