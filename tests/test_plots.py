"""What the plots draw, read back from the artists and compared with numbers got elsewhere."""

import copy
import warnings

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.path import Path
from scipy import stats
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from bayesgmm import GaussianMixture, MCMCGaussianMixture, datasets, drawing, plots


@pytest.fixture(autouse=True)
def agg():
    """Draw without a display, and leave no figure behind."""
    before = matplotlib.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


def peer(X, K, **options):
    """A model with the parameters that scikit-learn finds: nothing of ours to compile."""
    found = sklearn.mixture.GaussianMixture(K, random_state=0, **options).fit(X)
    return GaussianMixture.from_parameters(
        found.weights_,
        found.means_,
        found.covariances_,
        feature_names=getattr(X, "columns", None),
    )


@pytest.fixture(scope="module")
def faithful():
    X, _ = datasets.load_faithful()
    return GaussianMixture(3, n_init=4, init_params="k-means++", random_state=0).fit(X), X


@pytest.fixture(scope="module")
def galaxies():
    X, _ = datasets.load_galaxies()
    return peer(X, 4), X


@pytest.fixture(scope="module")
def iris():
    X, _ = datasets.load_iris()
    return peer(X, 3), X


@pytest.fixture(scope="module")
def overlap():
    X, _ = datasets.load_overlap()
    return peer(X, 4), X


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def altered(model, **attributes):
    """A copy of the fitted model with other attributes."""
    other = copy.copy(model)
    for name, value in attributes.items():
        setattr(other, name, value)
    return other


def without(model, k):
    """The same model with component `k` absent."""
    other = altered(
        model, weights_=np.where(np.arange(len(model.weights_)) == k, 0, model.weights_)
    )
    assert other.mixture_.log_weights[k] == -np.inf
    return other


def covariance_of(model, k, pair):
    scale = np.asarray(model.mixture_.scales)[k]
    return (scale @ scale.T)[np.ix_(pair, pair)]


def marginal_density(model, pair, points):
    return sum(
        weight * stats.multivariate_normal(mean[pair], covariance_of(model, k, pair)).pdf(points)
        for k, (weight, mean) in enumerate(zip(model.weights_, model.means_, strict=True))
    )


def contours(ax):
    """The lines (not the areas) of the only contour plot."""
    (lines,) = [c for c in ax.collections if hasattr(c, "levels") and not c.filled]
    return lines


def scatters(ax, kind="points"):
    """Offsets and sizes of each scatter, rings told apart by their empty faces."""
    found = [c for c in ax.collections if type(c).__name__ == "PathCollection"]
    rings = [c for c in found if not c.get_facecolor().size]
    return rings if kind == "rings" else [c for c in found if c.get_facecolor().size]


def offsets(collections):
    return np.concatenate([np.asarray(c.get_offsets()) for c in collections])


def rows(table):
    """Rows in a fixed order, to compare two sets of points."""
    table = np.asarray(table)
    return table[np.lexsort(table.T)]


def legend_labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


EVERY_PLOT = {
    "components": lambda model, X, ax: plots.plot_components(model, X, ax=ax),
    "density": lambda model, X, ax: plots.plot_density(model, X, ax=ax),
    "density, one feature": lambda model, X, ax: plots.plot_density(model, X, features=1, ax=ax),
    "uncertainty": lambda model, X, ax: plots.plot_uncertainty(model, X, ax=ax),
    "objective": lambda model, X, ax: plots.plot_objective(model, ax=ax),
}
POINTS_PLOTS = {name: plot for name, plot in EVERY_PLOT.items() if name != "objective"}
every_plot = pytest.mark.parametrize("plot", EVERY_PLOT.values(), ids=EVERY_PLOT)


# ---- what every plot keeps to -------------------------------------------------------------------


@every_plot
def test_draws_into_the_axes_given_and_makes_no_figure(plot, faithful, ax):
    before = plt.get_fignums()
    assert plot(*faithful, ax) is ax
    assert plt.get_fignums() == before
    assert ax.has_data()


@every_plot
def test_without_axes_makes_one_figure_with_constrained_layout(plot, faithful):
    ax = plot(*faithful, None)
    assert len(plt.get_fignums()) == 1
    assert ax.figure is plt.gcf()
    assert type(ax.figure.get_layout_engine()).__name__ == "ConstrainedLayoutEngine"


@every_plot
def test_changes_nothing_global_and_no_input(plot, faithful, ax):
    model, X = faithful
    style, state, table = dict(matplotlib.rcParams), np.random.get_state()[1].copy(), X.copy()  # noqa: NPY002
    learned = copy.deepcopy(vars(model))
    plot(model, X, ax)
    assert dict(matplotlib.rcParams) == style
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    pd.testing.assert_frame_equal(X, table)
    np.testing.assert_equal(vars(model), learned)


@every_plot
def test_legend_stands_beside_the_axes(plot, faithful):
    ax = plot(*faithful, None)
    ax.figure.canvas.draw()
    legend, frame = ax.get_legend().get_window_extent(), ax.get_window_extent()
    assert legend.x0 > frame.x1
    assert legend.x1 <= ax.figure.bbox.x1
    assert frame.width > 0.5 * ax.figure.bbox.width


@every_plot
def test_unfitted(plot, faithful, ax):
    with pytest.raises(NotFittedError, match="not fitted"):
        plot(GaussianMixture(2), faithful[1], ax)


@every_plot
def test_not_one_of_ours(plot, faithful, ax):
    other = sklearn.mixture.GaussianMixture(2).fit(faithful[1])
    with pytest.raises(
        TypeError, match="model must be a fitted estimator of bayesgmm, got sklearn"
    ):
        plot(other, faithful[1], ax)
    with pytest.raises(TypeError, match=r"got bayesgmm\..*Mixture"):
        plot(faithful[0].mixture_, faithful[1], ax)


@every_plot
def test_wrong_kind_of_axes(plot, faithful):
    figure = Figure()
    with pytest.raises(TypeError, match="ax must be one ordinary matplotlib Axes, got Figure"):
        plot(*faithful, figure)
    with pytest.raises(TypeError, match="got ndarray. Pass what plt.subplots.* or one entry of it"):
        plot(*faithful, figure.subplots(1, 2))
    with pytest.raises(TypeError, match="got polar axes"):
        plot(*faithful, figure.add_subplot(projection="polar"))
    assert not plt.get_fignums()


def test_each_component_has_its_own_look():
    """Lines and markers that 24 components share with no other."""
    looks = {tuple(drawing.look(k).values()) for k in range(24)}
    lines = {tuple(drawing.line(k).values()) for k in range(24)}
    assert len(looks) == len(lines) == 24


# ---- components ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [(0, 1), (3, 1)])
def test_ellipses_lie_at_their_mahalanobis_radius(pair, iris, ax):
    model, _ = iris
    plots.plot_components(model, features=pair, radius=(1, 2.5), ax=ax)
    lines = ax.get_lines()
    assert len(lines) == 2 * 3
    for line, (k, radius) in zip(
        lines, [(k, radius) for k in range(3) for radius in (1, 2.5)], strict=True
    ):
        away = line.get_xydata() - model.means_[k, pair]
        inverse = np.linalg.inv(covariance_of(model, k, list(pair)))
        distance = np.sqrt(np.einsum("ni,ij,nj->n", away, inverse, away))
        np.testing.assert_allclose(distance, radius, rtol=1e-8)
        np.testing.assert_allclose(line.get_xydata()[0], line.get_xydata()[-1])


def test_ellipses_of_nearly_collinear_features_keep_their_digits(ax):
    rng = np.random.default_rng(0)
    along = rng.normal(size=200)
    X = np.column_stack([along, along + 1e-6 * rng.normal(size=200)])
    model = peer(X, 1, reg_covar=0)
    plots.plot_components(model, ax=ax)
    (line,) = ax.get_lines()
    white = np.linalg.solve(model.mixture_.scales[0], (line.get_xydata() - model.means_[0]).T)
    np.testing.assert_allclose(np.linalg.norm(white, axis=0), 2, rtol=1e-6)


def test_points_are_drawn_by_most_probable_component(faithful, ax):
    model, X = faithful
    plots.plot_components(model, X, ax=ax)
    labels = model.predict(X)
    assert len(scatters(ax)) == len(np.unique(labels))
    for k, drawn in zip(np.unique(labels), scatters(ax), strict=True):
        np.testing.assert_array_equal(drawn.get_offsets(), X.to_numpy()[labels == k])
        assert to_hex(drawn.get_facecolor()[0]) == to_hex(ax.get_lines()[k].get_color())


def test_weights_stand_in_the_legend(faithful, ax):
    model, X = faithful
    plots.plot_components(model, X, ax=ax)
    assert legend_labels(ax) == [f"{k} ({weight:.2f})" for k, weight in enumerate(model.weights_)]


def test_absent_component_is_not_drawn_and_the_others_keep_their_looks(faithful, ax):
    model, _ = faithful
    plots.plot_components(without(model, 1), ax=ax)
    full = plots.plot_components(model, ax=Figure().subplots())
    assert [label[0] for label in legend_labels(ax)] == ["0", "2"]
    shown, whole = ax.get_lines(), full.get_lines()
    assert [line.get_color() for line in shown] == [whole[0].get_color(), whole[2].get_color()]
    np.testing.assert_allclose(shown[1].get_xydata(), whole[2].get_xydata())


# ---- names --------------------------------------------------------------------------------------


def test_axes_are_named_as_the_columns_of_the_fit(faithful, ax):
    model, _ = faithful
    plots.plot_components(model, features=("waiting", "eruptions"), ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("waiting", "eruptions")


def test_axes_are_named_as_the_columns_of_the_points_if_the_fit_had_none(faithful, ax):
    X = faithful[1]
    model = peer(X.to_numpy(), 2)
    plots.plot_components(model, X, ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("eruptions", "waiting")
    ax.clear()
    plots.plot_components(model, X.to_numpy(), features=(1, 0), ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x1", "x0")
    assert f"mean({ax.get_xlabel()})" in model.summary().columns


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            ("eruptions", "wating"),
            r"\['eruptions', 'waiting'\], got 'wating'. Did you mean 'waiting'\?",
        ),
        ((0, 2), "features must be indices from 0 to 1, got 2"),
        ((0,), r"features must name 2 features, got 1: \(0,\)"),
        ("waiting", "features must name 2 features, got 1: 'waiting'"),
        ((1, 1), r"features must differ from each other, got \(1, 1\)"),
        ((1, -1), "features must differ from each other"),
    ],
)
def test_features_that_are_not_there(features, message, faithful, ax):
    with pytest.raises(ValueError, match=message):
        plots.plot_components(faithful[0], features=features, ax=ax)
    assert not ax.has_data()


def test_features_of_another_type(faithful, ax):
    with pytest.raises(TypeError, match="features must be indices or names, got 0.5"):
        plots.plot_components(faithful[0], features=(0, 0.5), ax=ax)


def test_one_feature_has_no_pairs(galaxies, ax):
    model, X = galaxies
    with pytest.raises(ValueError, match="at least 2 features .* got 1. Use plot_density"):
        plots.plot_components(model, X, ax=ax)
    with pytest.raises(ValueError, match="at least 2 features .* got 1. Use plot_density"):
        plots.plot_pairs(model, X)


@pytest.mark.parametrize("radius", [0, -1, np.nan, np.inf, "two", (), (1, 0)])
def test_radius_must_be_positive(radius, faithful, ax):
    with pytest.raises(ValueError, match="radius must be .* between 0 and inf, got"):
        plots.plot_components(faithful[0], radius=radius, ax=ax)


@pytest.mark.parametrize("plot", POINTS_PLOTS.values(), ids=POINTS_PLOTS)
def test_points_that_the_model_refuses(plot, faithful, ax):
    model, X = faithful
    with pytest.raises(ValueError, match="waiting"):
        plot(model, X[["eruptions"]], ax)
    broken = X.copy()
    broken.iloc[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        plot(model, broken, ax)
    assert not ax.has_data()


@pytest.mark.parametrize("plot", [plots.plot_pairs, plots.plot_uncertainty])
def test_points_are_required(plot, faithful):
    with pytest.raises(ValueError, match=r"X must be the points to draw, \[N, 2\], got None"):
        plot(faithful[0], None)


# ---- density ------------------------------------------------------------------------------------


def test_density_curve_is_that_of_score_samples_and_integrates_to_one(galaxies, ax):
    model, X = galaxies
    plots.plot_density(model, X, ax=ax)
    mixture, *components = ax.get_lines()
    x, density = mixture.get_data()
    np.testing.assert_allclose(np.trapezoid(density, x), 1, atol=2e-4)
    own = pd.DataFrame(x[:, None], columns=X.columns)
    np.testing.assert_allclose(density, np.exp(model.score_samples(own)), rtol=1e-8, atol=1e-12)
    assert len(components) == 4
    drawn = np.nansum([line.get_ydata() for line in components], axis=0)
    np.testing.assert_allclose(drawn, density, atol=4e-3 * density.max())


def test_density_curve_sees_a_component_of_a_ten_thousandth_of_the_width(ax):
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0], [0.3]], [[[1.0]], [[1e-8]]])
    X = np.array([[-3.0], [0.3], [3.0]])
    plots.plot_density(model, X, ax=ax)
    np.testing.assert_allclose(np.trapezoid(*ax.get_lines()[0].get_data()[::-1]), 1, atol=2e-3)


def test_rug_has_every_point(galaxies, ax):
    model, X = galaxies
    plots.plot_density(model, X, ax=ax)
    segments = np.concatenate([c.get_segments() for c in ax.collections])
    np.testing.assert_array_equal(np.sort(segments[:, 0, 0]), np.sort(X.to_numpy()[:, 0]))
    assert np.all(np.ptp(segments[:, :, 0], axis=1) == 0)


def test_density_of_one_feature_is_the_marginal(iris, ax):
    model, X = iris
    plots.plot_density(model, X, features=X.columns[2], ax=ax)
    x, density = ax.get_lines()[0].get_data()
    np.testing.assert_allclose(density, marginal_density(model, [2], x[:, None]), rtol=1e-8)
    assert (ax.get_xlabel(), ax.get_ylabel()) == (X.columns[2], "density")


def test_levels_of_one_gaussian_have_their_closed_form(faithful, ax):
    """Of a Gaussian over two features, the region of mass p ends at 1 - p of the peak."""
    model = peer(faithful[1], 1)
    plots.plot_density(model, masses=(0.1, 0.5, 0.99), ax=ax)
    peak = marginal_density(model, [0, 1], model.means_[0])
    np.testing.assert_allclose(contours(ax).levels / peak, [0.01, 0.5, 0.9], rtol=1e-6)


@pytest.mark.parametrize(("name", "pair"), [("overlap", [0, 1]), ("iris", [1, 3])])
def test_contours_contain_the_stated_mass(name, pair, request, ax):
    model, _ = request.getfixturevalue(name)
    masses = (0.3, 0.5, 0.8, 0.95)
    plots.plot_density(model, features=pair, masses=masses, ax=ax)
    rng = np.random.default_rng(0)
    N = 50_000
    drawn = np.concatenate(
        [
            rng.multivariate_normal(mean[pair], covariance_of(model, k, pair), round(N * weight))
            for k, (weight, mean) in enumerate(zip(model.weights_, model.means_, strict=True))
        ]
    )
    density = marginal_density(model, pair, drawn)
    inside = [np.mean(density >= level) for level in contours(ax).levels]
    np.testing.assert_allclose(inside, masses[::-1], atol=0.01)
    assert legend_labels(ax) == ["30 %", "50 %", "80 %", "95 %"]


def test_contour_lines_lie_on_their_levels(overlap, ax):
    model, X = overlap
    plots.plot_density(model, X, ax=ax)
    for level, path in zip(contours(ax).levels, contours(ax).get_paths(), strict=True):
        np.testing.assert_allclose(marginal_density(model, [0, 1], path.vertices), level, rtol=0.02)
    np.testing.assert_array_equal(rows(offsets(scatters(ax))), rows(X))


def test_contours_see_a_cluster_of_a_thousandth_of_the_spread(ax):
    model = GaussianMixture.from_parameters(
        [0.5, 0.5], [[0, 0], [5, 5]], [np.eye(2), 1e-6 * np.eye(2)], random_state=0
    )
    X, labels = model.sample(1000)
    plots.plot_density(model, X, masses=[0.9], ax=ax)
    (path,) = contours(ax).get_paths()
    parts = [Path(part) for part in path.to_polygons()]
    inside = [[np.mean(part.contains_points(X[labels == k])) for part in parts] for k in (0, 1)]
    assert len(parts) == 2
    # the tight one is so much denser that its share lies further out
    np.testing.assert_allclose(np.max(inside, axis=1), [0.8, 1.0], atol=0.05)


def test_outer_points_do_not_touch_the_frame(iris, ax):
    model, X = iris
    plots.plot_density(model, X, ax=ax)
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    x, y = X.to_numpy()[:, 0], X.to_numpy()[:, 1]
    assert left < x.min() - 0.02 * np.ptp(x) and x.max() + 0.02 * np.ptp(x) < right
    assert low < y.min() - 0.02 * np.ptp(y) and y.max() + 0.02 * np.ptp(y) < high


@pytest.mark.parametrize("masses", [(0.5, 1), 0, (), "half", (0.2, np.nan)])
def test_masses_lie_between_zero_and_one(masses, faithful, ax):
    with pytest.raises(ValueError, match="masses must be .* between 0 and 1, got"):
        plots.plot_density(faithful[0], masses=masses, ax=ax)


# ---- uncertainty --------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [(0, 1), (1, 0)])
def test_plane_is_shaded_by_the_uncertainty(pair, faithful, ax):
    model, X = faithful
    plots.plot_uncertainty(model, X, features=pair, ax=ax)
    (mesh,) = [c for c in ax.collections if type(c).__name__ == "QuadMesh"]
    at = mesh.get_coordinates().reshape(-1, 2)[:, np.argsort(pair)]
    expected = 1 - model.predict_proba(pd.DataFrame(at, columns=X.columns)).max(axis=1)
    np.testing.assert_allclose(np.ravel(mesh.get_array()), expected, atol=1e-9)
    low, high = at.min(axis=0), at.max(axis=0)
    assert np.all(low < X.min()) and np.all(X.max() < high)
    assert len(ax.figure.axes) == 2  # with its colour bar


def test_points_grow_with_their_uncertainty(faithful, ax):
    model, X = faithful
    plots.plot_uncertainty(model, X, ax=ax)
    points = offsets(scatters(ax))
    np.testing.assert_array_equal(rows(points), rows(X))
    sizes = np.concatenate([c.get_sizes() for c in scatters(ax)])
    found = model.uncertainty(pd.DataFrame(points, columns=X.columns))["uncertainty"].to_numpy()
    order = np.argsort(found)
    assert np.all(np.diff(sizes[order]) >= 0)
    assert sizes.max() > 1.5 * sizes.min()


@pytest.mark.parametrize("name", ["faithful", "iris"])
@pytest.mark.parametrize("n_ringed", [3, 10])
def test_the_most_uncertain_points_are_ringed(name, n_ringed, request, ax):
    model, X = request.getfixturevalue(name)
    plots.plot_uncertainty(model, X, n_ringed=n_ringed, ax=ax)
    found = model.uncertainty(X)["uncertainty"].to_numpy()
    expected = np.argsort(-found)[:n_ringed]
    assert found[expected].min() >= 0.01
    np.testing.assert_array_equal(
        rows(offsets(scatters(ax, "rings"))), rows(X.to_numpy()[expected, :2])
    )


def test_certain_points_are_not_ringed(ax):
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0, 0], [50, 50]], [np.eye(2)] * 2)
    plots.plot_uncertainty(model, model.sample(60)[0], ax=ax)
    assert not scatters(ax, "rings")
    assert "most uncertain" not in legend_labels(ax)


def test_above_two_features_the_points_carry_the_uncertainty(iris, ax):
    model, X = iris
    plots.plot_uncertainty(model, X, features=(2, 3), ax=ax)
    points = scatters(ax)
    shades = np.concatenate([np.asarray(c.get_array()) for c in points])
    expected = model.uncertainty(X)["uncertainty"].to_numpy()
    both = np.column_stack([offsets(points), shades])
    np.testing.assert_allclose(
        rows(both), rows(np.column_stack([X.to_numpy()[:, 2:], expected])), atol=1e-12
    )
    assert {c.get_clim() for c in points} == {(0, expected.max())}
    assert not [c for c in ax.collections if type(c).__name__ == "QuadMesh"]


def test_with_one_feature_the_probabilities_are_curves(galaxies, ax):
    model, X = galaxies
    plots.plot_uncertainty(model, X, n_ringed=5, ax=ax)
    assert len(ax.get_lines()) == 4
    for k, line in enumerate(ax.get_lines()):
        at = pd.DataFrame(line.get_xdata(), columns=X.columns)
        np.testing.assert_allclose(line.get_ydata(), model.predict_proba(at)[:, k], atol=1e-9)
    found = model.uncertainty(X)["uncertainty"].to_numpy()
    np.testing.assert_allclose(
        rows(offsets(scatters(ax))), rows(np.column_stack([X.to_numpy(), found])), atol=1e-12
    )
    top = np.sort(found)[-5:]
    np.testing.assert_allclose(np.sort(offsets(scatters(ax, "rings"))[:, 1]), top)


@pytest.mark.parametrize("n_ringed", [-1, 2.5, "all"])
def test_number_of_rings_is_a_count(n_ringed, faithful, ax):
    with pytest.raises(ValueError, match="n_ringed must be an integer of at least 0, got"):
        plots.plot_uncertainty(*faithful, n_ringed=n_ringed, ax=ax)


# ---- pairs --------------------------------------------------------------------------------------


def test_pairs_of_all_features(iris):
    model, X = iris
    axes = plots.plot_pairs(model, X)
    assert axes.shape == (4, 4)
    assert len(plt.get_fignums()) == 1
    values = X.to_numpy()
    for row in range(4):
        for column in range(4):
            ax = axes[row, column]
            assert ax.axison == (column <= row)
            if column < row:
                np.testing.assert_array_equal(
                    rows(offsets(scatters(ax))), rows(values[:, [column, row]])
                )
                assert len(ax.get_lines()) == 3
    assert [ax.get_xlabel() for ax in axes[-1]] == list(X.columns)
    assert [ax.get_ylabel() for ax in axes[1:, 0]] == list(X.columns[1:])


def test_diagonal_of_the_pairs_holds_densities(iris):
    model, X = iris
    axes = plots.plot_pairs(model, X, features=[3, 0])
    for ax, j in zip(np.diagonal(axes), (3, 0), strict=True):
        x, density = ax.get_lines()[0].get_data()
        np.testing.assert_allclose(density, marginal_density(model, [j], x[:, None]), rtol=1e-8)
        np.testing.assert_allclose(np.trapezoid(density, x), 1, atol=2e-4)
        area = sum(bar.get_width() * bar.get_height() for bar in ax.patches)
        np.testing.assert_allclose(area, 1)


def test_each_feature_has_one_span_in_all_pairs(iris):
    model, X = iris
    axes = plots.plot_pairs(model, X)
    for j, name in enumerate(X.columns):
        spans = {axes[row, j].get_xlim() for row in range(j, 4)}
        spans |= {axes[j, column].get_ylim() for column in range(j)}
        assert len(spans) == 1
        ((low, high),) = spans
        assert low < X[name].min() and X[name].max() < high


def test_pairs_into_axes_given(iris):
    model, X = iris
    axes = Figure().subplots(2, 2)
    assert plots.plot_pairs(model, X, features=list(X.columns[:2]), axes=axes) is axes
    assert not plt.get_fignums()
    message = r"axes must be an array of 3 x 3 matplotlib Axes, got shape \(2, 2\)"
    with pytest.raises(ValueError, match=message):
        plots.plot_pairs(model, X, features=[0, 1, 2], axes=axes)
    with pytest.raises(ValueError, match=r"got shape \(\)"):
        plots.plot_pairs(model, X, features=[0, 1], axes=axes[0, 0])
    with pytest.raises(TypeError, match="ax must be one ordinary matplotlib Axes, got str"):
        plots.plot_pairs(model, X, features=[0, 1], axes=np.full((2, 2), "ax"))


def test_pairs_of_too_many_features_must_be_named():
    X = np.random.default_rng(0).normal(size=(60, 11))
    model = peer(X, 1)
    with pytest.raises(
        ValueError, match="must be given for more than 10 features, got None for 11"
    ):
        plots.plot_pairs(model, X)
    assert plots.plot_pairs(model, X, features=[10, 4]).shape == (2, 2)
    with pytest.raises(ValueError, match="features must name 2 to 11 features, got 1"):
        plots.plot_pairs(model, X, features=[10])


# ---- objective ----------------------------------------------------------------------------------


def test_objective_of_every_restart(faithful, ax):
    model, _ = faithful
    plots.plot_objective(model, ax=ax)
    assert len(ax.get_lines()) == len(model.restart_lower_bounds_) == 4
    for line, run in zip(ax.get_lines(), model.restart_lower_bounds_, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, len(run) + 1))
        np.testing.assert_array_equal(line.get_ydata(), run)
    widths = [line.get_linewidth() for line in ax.get_lines()]
    kept = int(np.argmax(widths))
    assert sorted(widths)[-2] < widths[kept]
    np.testing.assert_array_equal(ax.get_lines()[kept].get_ydata(), model.lower_bounds_)
    assert legend_labels(ax) == [f"restart {kept}, kept", "other restarts"]


@pytest.mark.parametrize("length", [4, 30])
def test_first_iterations_do_not_flatten_the_rest(length, faithful, ax):
    rise = -4 + np.linspace(-0.5, 0, length)
    runs = [np.append(-1e8, rise), np.append(-3e8, rise - 1)]
    model = altered(faithful[0], restart_lower_bounds_=runs, best_restart_=0)
    plots.plot_objective(model, ax=ax)
    low, high = ax.get_ylim()
    assert -5.6 < low < -5 and -4 < high < -3.9


def test_whole_course_is_shown_where_it_is_not_flat(faithful, ax):
    run = np.array([-4.5, -4.2, -4.1, -4.05])
    plots.plot_objective(altered(faithful[0], restart_lower_bounds_=[run], best_restart_=0), ax=ax)
    assert ax.get_ylim()[0] < -4.5
    assert legend_labels(ax) == ["restart 0, kept"]


def test_objective_of_no_iteration(faithful, galaxies, ax):
    with pytest.raises(ValueError, match="at least one iteration, found none. Fit it to data"):
        plots.plot_objective(galaxies[0], ax=ax)  # from_parameters
    with pytest.raises(ValueError, match="at least one iteration, found none"):
        plots.plot_objective(altered(faithful[0], restart_lower_bounds_=[np.empty(0)]), ax=ax)


# ---- chains


def test_a_line_for_every_chain(faithful, ax):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 1)) + 8 * (np.arange(24) % 3 == 0)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        options = {"n_chains": 2, "n_samples": 50, "random_state": 0, "progress_bar": False}
        model = MCMCGaussianMixture(2, moves=False, **options).fit(X)
    plots.plot_trace(model, "entropy", ax=ax)
    for line, chain in zip(ax.get_lines(), model.quantities()["entropy"], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), chain)
    assert ax.get_ylabel() == "entropy" and legend_labels(ax) == ["chain 0", "chain 1"]
    with pytest.raises(ValueError, match="quantity must be one of n_clusters, "):
        plots.plot_trace(model, "means", ax=ax)
    with pytest.raises(TypeError, match="must hold chains, as MCMCGaussianMixture does"):
        plots.plot_trace(faithful[0], ax=ax)


# ---- points left out of a trimmed fit


def mask(N, n):
    support = np.ones(N, bool)
    support[:n] = False
    return support


def test_points_left_out_are_crosses(faithful, ax):
    model, X = faithful
    support = mask(len(X), 9)
    plots.plot_components(model, X, support=support, ax=ax)
    *by_label, crosses = ax.collections
    np.testing.assert_allclose(crosses.get_offsets(), X.to_numpy()[:9])
    assert sum(len(drawn.get_offsets()) for drawn in by_label) == len(X) - 9
    assert ax.get_legend().get_texts()[-1].get_text() == "left out (9)"


def test_points_left_out_of_pairs_are_in_no_histogram(iris):
    model, X = iris
    support = mask(len(X), 20)
    figure = Figure(layout="constrained")
    axes = plots.plot_pairs(model, X, features=[0, 1], support=support, axes=figure.subplots(2, 2))
    values = X.to_numpy()
    np.testing.assert_allclose(axes[1, 0].collections[-1].get_offsets(), values[:20, :2])
    edges = np.histogram_bin_edges(values[20:, 0], bins="auto")
    assert len(axes[0, 0].patches) == len(edges) - 1
    assert axes[0, 1].get_legend().get_texts()[-1].get_text() == "left out (20)"


def test_nothing_left_out_is_not_told(faithful, ax):
    model, X = faithful
    plots.plot_components(model, X, support=np.ones(len(X), bool), ax=ax)
    assert "left out" not in ax.get_legend().get_texts()[-1].get_text()


@pytest.mark.parametrize("support", [[True], np.ones(272), "all"])
def test_support_is_a_mask(support, faithful, ax):
    model, X = faithful
    with pytest.raises(ValueError, match=r"support must be True or False .* \(272,\); got"):
        plots.plot_components(model, X, support=support, ax=ax)


def test_support_without_points(faithful, ax):
    with pytest.raises(ValueError, match="given together with X"):
        plots.plot_components(faithful[0], support=np.ones(272, bool), ax=ax)
