"""What the plots of a posterior draw, read back from the artists and compared with numbers."""

import itertools
import warnings
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy import sparse, stats
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from bayesgmm import GaussianMixture, MCMCGaussianMixture, drawing, partition_plots, plots
from bayesgmm.posterior import matching
from bayesgmm.posterior.assignments import assignment_probabilities
from bayesgmm.posterior.balls import credible_ball
from bayesgmm.posterior.relabel import relabel
from bayesgmm.posterior.search import point_partition
from tests.test_plots import legend_labels, rows


@pytest.fixture(autouse=True)
def agg():
    """Draw without a display, and leave no figure behind."""
    before = matplotlib.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


LABELS = np.repeat([0, 1, 2], [5, 8, 7])


def noisy_draws(seed=0, S=60, noise=0.15, labels=LABELS):
    """Labels about a partition, some of them drawn anew in each draw."""
    rng = np.random.default_rng(seed)
    anew = rng.random((S, len(labels))) < noise
    return np.where(anew, rng.integers(0, 4, (S, len(labels))), labels)


def together(draws):
    """Similarity as it is defined."""
    return np.mean([own[:, None] == own for own in draws], axis=0)


DRAWS = noisy_draws()
POINTS = np.random.default_rng(1).normal(size=(len(LABELS), 2)) + 4 * LABELS[:, None]
TABLE = pd.DataFrame(
    {"probability": [0.6, 0.3, 0.1], "mcse": [0.03, 0.02, 0.01], "prior": [0.2, 0.2, 0.1]},
    index=pd.RangeIndex(2, 5, name="n_clusters"),
)
EVIDENCE = pd.DataFrame(
    {"log_evidence": [-240.0, -231.5, -226.25], "standard_error": [0.0, 0.1, 0.2]},
    index=pd.Index([1, 2, 3], name="n_components"),
)


@pytest.fixture(scope="module")
def fit():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2)) @ [[1, 0.4], [0, 0.8]] + 7 * (np.arange(40) % 3 == 0)[:, None]
    X = pd.DataFrame(X, columns=["length", "width"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        options = {"n_chains": 2, "n_samples": 120, "random_state": 0, "progress_bar": False}
        return MCMCGaussianMixture(2, moves=False, **options).fit(X), X


@pytest.fixture(scope="module")
def relabelled():
    """Three clusters in two features whose names change from chain to chain."""
    rng = np.random.default_rng(0)
    means = np.array([[0.0, 1.0], [5.0, -1.0], [9.0, 3.0]]) + 0.2 * rng.normal(size=(2, 300, 3, 2))
    weights = rng.dirichlet([60, 30, 10], size=(2, 300))
    spread = np.array([1.0, 2.0, 3.0])[:, None, None] * np.array([[2.0, 0.5], [0.5, 1.0]])
    covariances = spread * rng.gamma(100, 0.01, size=(2, 300, 1, 1, 1))
    labels = np.tile(np.repeat([0, 1, 2], [6, 3, 2]), (2, 300, 1))
    turn = [2, 0, 1]
    draws = {"weights": weights, "means": means, "covariances": covariances}
    own = {name: values.copy() for name, values in draws.items()}
    for values in draws.values():
        values[1] = values[1][:, turn]
    labels[1] = np.argsort(turn)[labels[1]]
    return relabel({**draws, "labels": labels}), own


def bars(ax):
    """Middles and heights of the bars, a container each."""
    return [
        (
            [bar.get_x() + bar.get_width() / 2 for bar in drawn],
            [bar.get_height() for bar in drawn],
        )
        for drawn in ax.containers
        if hasattr(drawn, "patches")
    ]


def error_bars(ax):
    """Middles and half heights of the error bars."""
    found = [c for c in ax.collections if type(c).__name__ == "LineCollection"]
    ends = np.array([segment for c in found for segment in c.get_segments()])  # [n, 2, 2]
    return ends[:, :, 1].mean(1), np.ptp(ends[:, :, 1], axis=1) / 2


def scatters(ax):
    return [c for c in ax.collections if type(c).__name__ == "PathCollection"]


# ---- what every plot keeps to -------------------------------------------------------------------

EVERY_PLOT = {
    "similarity": lambda fit, tree, ax: plots.plot_similarity(DRAWS, LABELS, ax=ax),
    "n_clusters": lambda fit, tree, ax: plots.plot_n_clusters(TABLE, ax=ax),
    "bars": lambda fit, tree, ax: plots.plot_assignments(ASSIGNMENTS, ax=ax),
    "map": lambda fit, tree, ax: plots.plot_assignments(ASSIGNMENTS, POINTS, ax=ax),
    "predictive": lambda fit, tree, ax: plots.plot_predictive(*fit, ax=ax),
    "relabelled": lambda fit, tree, ax: plots.plot_relabelled(tree, ax=ax),
    "evidence": lambda fit, tree, ax: plots.plot_evidence(EVIDENCE, ax=ax),
}
ASSIGNMENTS = assignment_probabilities(DRAWS, LABELS)
every_plot = pytest.mark.parametrize("plot", EVERY_PLOT.values(), ids=EVERY_PLOT)


@every_plot
def test_draws_into_the_axes_given_and_changes_nothing_else(plot, fit, relabelled, ax):
    style, state = dict(matplotlib.rcParams), np.random.get_state()[1].copy()  # noqa: NPY002
    draws, table = DRAWS.copy(), TABLE.copy()
    assert plot(fit, relabelled[0], ax) is ax
    assert not plt.get_fignums() and ax.has_data()
    assert dict(matplotlib.rcParams) == style
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    np.testing.assert_array_equal(DRAWS, draws)
    pd.testing.assert_frame_equal(TABLE, table)


@every_plot
def test_without_axes_makes_one_figure(plot, fit, relabelled):
    ax = plot(fit, relabelled[0], None)
    assert plt.get_fignums() == [ax.figure.number]
    assert type(ax.figure.get_layout_engine()).__name__ == "ConstrainedLayoutEngine"
    ax.figure.canvas.draw()
    if ax.get_legend() is not None:
        assert ax.get_legend().get_window_extent().x0 > ax.get_window_extent().x1


@every_plot
def test_wrong_kind_of_axes(plot, fit, relabelled):
    with pytest.raises(TypeError, match="ax must be one ordinary matplotlib Axes, got Figure"):
        plot(fit, relabelled[0], Figure())
    assert not plt.get_fignums()


# ---- similarity ---------------------------------------------------------------------------------


def shown_order(ax, similarity):
    """The order in which the points stand, from what is shown: no two rows have one sum here."""
    image = np.asarray(ax.get_images()[0].get_array())
    sums = similarity.sum(1)
    assert len(np.unique(sums.round(9))) == len(sums)
    order = np.abs(image.sum(1)[:, None] - sums).argmin(1)
    np.testing.assert_allclose(image, similarity[np.ix_(order, order)], atol=1e-12)
    return order


@pytest.fixture
def distinct():
    """Draws in which no two points are together with others equally often."""
    draws = noisy_draws(3, S=997, noise=0.3)
    return draws, together(draws)


def test_similarity_is_ordered_by_the_partition(distinct, ax):
    draws, similarity = distinct
    labels = np.array([7, 3, 5])[LABELS]
    mixed = np.random.default_rng(0).permutation(len(LABELS))
    plots.plot_similarity(draws[:, mixed], labels[mixed], ax=ax)
    order = mixed[shown_order(ax, similarity[np.ix_(mixed, mixed)])]
    assert sorted(order) == list(range(len(LABELS)))
    runs = [(key, len(list(run))) for key, run in itertools.groupby(labels[order])]
    assert sorted(runs) == [(3, 8), (5, 7), (7, 5)]
    squares = [(p.get_x(), p.get_width(), to_hex(p.get_edgecolor())) for p in ax.patches]
    starts = np.cumsum([0] + [size for _, size in runs[:-1]]) - 0.5
    colors = {3: 0, 5: 1, 7: 2}  # in the order of labels
    assert squares == [
        (start, size, drawing.COLORS[colors[key]].lower())
        for start, (key, size) in zip(starts, runs, strict=True)
    ]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [str(key) for key, _ in runs]
    assert ax.get_images()[0].get_clim() == (0, 1)


def test_the_partition_is_found_where_none_is_given(ax):
    plots.plot_similarity(DRAWS, ax=ax)
    expected = point_partition(DRAWS, random_state=0).labels
    assert sorted(p.get_width() for p in ax.patches) == sorted(np.bincount(expected))


@pytest.mark.parametrize("form", [np.array, sparse.csr_array, sparse.coo_array, np.ndarray.tolist])
def test_similarity_itself(form, distinct, ax):
    _, similarity = distinct
    plots.plot_similarity(form(similarity), LABELS, ax=ax)
    runs = [key for key, _ in itertools.groupby(LABELS[shown_order(ax, similarity)])]
    assert len(runs) == 3 == len(ax.patches)


def test_similarity_without_a_partition_is_ordered_by_its_tree(distinct, ax):
    mixed = np.random.default_rng(0).permutation(len(LABELS))
    similarity = distinct[1][np.ix_(mixed, mixed)]
    plots.plot_similarity(similarity, ax=ax)
    order = mixed[shown_order(ax, similarity)]
    assert len(list(itertools.groupby(LABELS[order]))) == 3
    assert not ax.patches and ax.get_xlabel() == "points, by their average linkage tree"


def test_of_many_points_some_of_each_cluster_are_shown(ax, monkeypatch):
    monkeypatch.setattr(partition_plots, "LARGEST", 50)
    labels = np.repeat([0, 1], [150, 50])[np.random.default_rng(0).permutation(200)]
    plots.plot_similarity(noisy_draws(labels=labels), labels, ax=ax)
    assert ax.get_images()[0].get_array().shape == (50, 50)
    assert sorted(p.get_width() for p in ax.patches) == pytest.approx([12.5, 37.5], abs=1)
    assert ax.get_xlabel() == "50 of 200 points, by cluster"


@pytest.mark.parametrize("labels", [[0], [0, 0, 0, 0], [0, 1, 2, 3], [0, 1]])
def test_partitions_at_the_ends(labels, ax):
    plots.plot_similarity([labels, labels], ax=ax)
    expected = np.equal.outer(labels, labels)
    np.testing.assert_array_equal(ax.get_images()[0].get_array(), expected)


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        ([[0, 1], [0]], "draws must be labels .* ragged rows"),
        ([0, 1, 1], r"One draw is draws\[None\]"),
        ([[0.5, 0.1], [0.1, 1.0]], "ones on its diagonal; got floats .* with 0.5 there"),
        ([[1.0, 0.1], [0.4, 1.0]], "symmetric .* differ by up to 0.3 across"),
        ([[1.0, 1.5], [1.5, 1.0]], "from 0 to 1; got values from 1 to 1.5"),
        (sparse.csr_array((2, 3)), r"similarity matrix \[N, N\] .* got floats of shape \(2, 3\)"),
        ([[0, 1.5, 2]], r"draws must be whole numbers.* got 1.5 at \[0, 1\]"),
    ],
)
def test_what_is_no_similarity(draws, message, ax):
    with pytest.raises(ValueError, match=message):
        plots.plot_similarity(draws, ax=ax)
    assert not ax.has_data()


def test_labels_of_other_points(ax):
    with pytest.raises(ValueError, match=r"labels must have shape \(20,\)"):
        plots.plot_similarity(DRAWS, LABELS[:-1], ax=ax)


# ---- numbers ------------------------------------------------------------------------------------


def test_numbers_with_their_errors_and_the_prior(ax):
    plots.plot_n_clusters(TABLE, ax=ax)
    (own, heights), (beside, prior) = bars(ax)
    np.testing.assert_allclose(heights, TABLE["probability"])
    np.testing.assert_allclose(prior, TABLE["prior"])
    np.testing.assert_allclose((np.array(own) + beside) / 2, [2, 3, 4])
    middles, errors = error_bars(ax)
    np.testing.assert_allclose(middles, TABLE["probability"])
    np.testing.assert_allclose(errors, 2 * TABLE["mcse"])
    assert legend_labels(ax) == ["posterior", "Monte Carlo error (± 2)", "prior"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("number of clusters", "probability")
    assert list(ax.get_xticks()) == [2, 3, 4]


def test_a_table_of_probabilities_alone(ax):
    table = TABLE[["probability"]].rename_axis("n_components")
    plots.plot_n_clusters(table, ax=ax)
    ((own, heights),) = bars(ax)
    np.testing.assert_allclose(own, [2, 3, 4])
    np.testing.assert_allclose(heights, TABLE["probability"])
    assert legend_labels(ax) == ["posterior"] and ax.get_xlabel() == "number of components"


def test_a_model_is_asked(fit, ax):
    model, _ = fit
    plots.plot_n_clusters(model, ax=ax)
    table = model.n_clusters_posterior()
    np.testing.assert_allclose(bars(ax)[0][1], table["probability"])
    assert list(ax.get_xticks()) == list(table.index)


def test_tables_and_models_without_numbers(ax):
    with pytest.raises(
        ValueError, match="must have a column 'probability'; it has 'mcse', 'prior'"
    ):
        plots.plot_n_clusters(TABLE.drop(columns="probability"), ax=ax)
    with pytest.raises(ValueError, match="a row for each number, got none"):
        plots.plot_n_clusters(TABLE.iloc[:0], ax=ax)
    with pytest.raises(TypeError, match="posterior must hold numbers, indexed by the number"):
        plots.plot_n_clusters(TABLE.set_axis(["two", "three", "four"]), ax=ax)
    with pytest.raises(
        TypeError, match="posterior, where it is no DataFrame, must be a fitted .*list"
    ):
        plots.plot_n_clusters([0.5, 0.5], ax=ax)
    with pytest.raises(NotFittedError):
        plots.plot_n_clusters(MCMCGaussianMixture(), ax=ax)


# ---- evidence -----------------------------------------------------------------------------------


def as_results(table):
    """Results as log_evidence gives them, one for each number."""
    return [
        SimpleNamespace(
            n_components=k, log_evidence=row.log_evidence, standard_error=row.standard_error
        )
        for k, row in zip(table.index, table.itertuples(), strict=True)
    ]


@pytest.mark.parametrize(
    "form",
    [
        lambda table: table,
        lambda table: SimpleNamespace(table=lambda: table),
        lambda table: as_results(table)[::-1],
    ],
    ids=["table", "over components", "list"],
)
def test_evidence_over_the_number(form, ax):
    plots.plot_evidence(form(EVIDENCE), ax=ax)
    line = ax.get_lines()[0]
    np.testing.assert_allclose(line.get_xydata(), np.column_stack([[1, 2, 3], EVIDENCE.iloc[:, 0]]))
    middles, errors = error_bars(ax)
    np.testing.assert_allclose(middles, EVIDENCE["log_evidence"])
    np.testing.assert_allclose(errors, 2 * EVIDENCE["standard_error"], atol=1e-9)
    assert legend_labels(ax) == ["standard error (± 2)"]
    assert ax.get_xlabel() == "number of components" and list(ax.get_xticks()) == [1, 2, 3]


def test_evidence_by_several_methods(ax):
    lost = EVIDENCE.copy()
    lost.iloc[0] = -np.inf, np.inf
    plots.plot_evidence({"bridge": as_results(EVIDENCE)[1:], "mfm": lost}, ax=ax)
    series = [
        line for line in ax.get_lines() if len(line.get_xdata()) == 2 and line.get_marker() in "os"
    ]
    assert len(series) == 2
    for line in series:
        np.testing.assert_allclose(np.round(line.get_xdata()), [2, 3])
        np.testing.assert_allclose(line.get_ydata(), EVIDENCE["log_evidence"][1:])
    assert not np.any(series[0].get_xdata() == series[1].get_xdata())  # side by side
    assert legend_labels(ax) == ["bridge", "mfm", "standard error (± 2)"]


def test_no_evidence(ax):
    with pytest.raises(TypeError, match="what log_evidence or compare_evidence gives, .* got str"):
        plots.plot_evidence("bridge", ax=ax)
    with pytest.raises(TypeError, match="got list"):
        plots.plot_evidence([-1.0, -2.0], ax=ax)
    with pytest.raises(ValueError, match="a column 'standard_error'"):
        plots.plot_evidence(EVIDENCE[["log_evidence"]], ax=ax)
    with pytest.raises(ValueError, match="finite log_evidence, found none"):
        plots.plot_evidence(EVIDENCE.assign(log_evidence=-np.inf), ax=ax)
    with pytest.raises(ValueError, match="at least one method, got an empty dict"):
        plots.plot_evidence({}, ax=ax)


# ---- credible ball ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ball():
    return credible_ball(DRAWS, LABELS, level=0.8)


def panel(ax):
    """Colour and ring of each point: {(x, y): (colour, ringed)}."""
    found = {}
    for drawn in scatters(ax):
        ringed = len(drawn.get_linewidths()) > 0 and drawn.get_linewidths()[0] > 0
        for place in drawn.get_offsets():
            found[tuple(place)] = to_hex(drawn.get_facecolor()[0]), bool(ringed)
    return found


def test_ball_shows_the_estimate_and_its_bounds(ball):
    axes = plots.plot_credible_ball(ball, POINTS)
    assert axes.shape == (2, 2) and len(plt.get_fignums()) == 1
    color = np.array([c.lower() for c in drawing.COLORS])
    for ax, labels in zip(
        axes.flat, [LABELS, ball.horizontal[0], ball.upper[0], ball.lower[0]], strict=True
    ):
        found = panel(ax)
        shown = [found[tuple(place)] for place in POINTS]
        colors = np.array([c for c, _ in shown])
        np.testing.assert_array_equal(  # the same partition, by colour
            np.equal.outer(colors, colors), np.equal.outer(labels, labels)
        )
        np.testing.assert_array_equal([r for _, r in shown], colors != color[LABELS])
        assert np.mean(colors == color[LABELS]) == best_agreement(labels, LABELS)
    assert (
        axes[0, 0].get_title()
        == f"estimate: 3 clusters\n80 % ball of radius {ball.radius:.3g} bits"
    )
    for ax, name in zip(axes.flat[1:], ("horizontal", "upper", "lower"), strict=True):
        assert (
            f": {getattr(ball, name)[0].max() + 1}\nat {ball.distances[name]:.3g}" in ax.get_title()
        )
        assert ax.get_title().startswith(name)
    assert axes[1, 0].get_xlabel() == "x0" and axes[0, 0].get_ylabel() == "x1"


def best_agreement(labels, reference):
    """Largest share of points that have one name, over all ways of naming one to one."""
    T, K = int(labels.max()) + 1, int(reference.max()) + 1
    names = itertools.permutations(range(max(T, K)), T)
    return max(np.mean(np.array(name)[labels] == reference) for name in names)


def test_a_cluster_that_shares_nothing_gets_no_name_of_another(ax):
    """Of 0001 the last point is alone in the estimate; 0012 leaves no place for its third."""
    estimate = np.array([0] * 9 + [1, 1])
    bound = np.array([0] * 8 + [1, 0, 0])
    named = matching.names_by_overlap(bound, estimate, 2)[bound]
    np.testing.assert_array_equal(named, [0] * 8 + [2, 0, 0])


def test_ball_of_one_feature_has_a_row_of_ticks_for_each_cluster(ball):
    x = np.arange(len(LABELS)) + 0.5
    axes = Figure().subplots(2, 2)
    assert plots.plot_credible_ball(ball, pd.Series(x), axes=axes) is axes
    for ax, labels in zip(axes.flat, [LABELS, ball.horizontal[0]], strict=False):
        ticks = np.concatenate([c.get_segments() for c in ax.collections])  # [N, 2, 2]
        order = np.argsort(ticks[:, 0, 0])
        np.testing.assert_allclose(ticks[order, 0, 0], x)
        found = ticks[order, :, 1].mean(1)
        np.testing.assert_array_equal(np.equal.outer(found, found), np.equal.outer(labels, labels))
    low, high = axes[0, 0].get_ylim()
    assert low > high  # the first on top


def test_what_is_no_ball_or_does_not_fit(ball):
    with pytest.raises(TypeError, match="ball must be a CredibleBall, .* got list"):
        plots.plot_credible_ball([0, 1], POINTS)
    with pytest.raises(ValueError, match=r"X must have shape \(20, D\), .* got \(19, 2\)"):
        plots.plot_credible_ball(ball, POINTS[1:])
    with pytest.raises(ValueError, match="X must be finite; 1 values are not"):
        plots.plot_credible_ball(ball, np.where(np.arange(40).reshape(20, 2) == 3, np.nan, POINTS))
    with pytest.raises(TypeError, match="X must be numbers"):
        plots.plot_credible_ball(ball, np.full((20, 2), "a"))
    with pytest.raises(ValueError, match="features must be indices from 0 to 1, got 2"):
        plots.plot_credible_ball(ball, POINTS, features=(0, 2))
    with pytest.raises(ValueError, match=r"array of 2 x 2 matplotlib Axes, got shape \(4,\)"):
        plots.plot_credible_ball(ball, POINTS, axes=Figure().subplots(1, 4))
    assert not plt.get_fignums()


# ---- assignments --------------------------------------------------------------------------------


def test_bars_hold_the_probabilities(ax):
    plots.plot_assignments(ASSIGNMENTS, ax=ax)
    steps = [patch.get_data() for patch in ax.patches]
    height = np.array([step.values - step.baseline for step in steps]).T  # [N, K + 1]
    probabilities = ASSIGNMENTS.probabilities
    own = probabilities[np.arange(len(LABELS)), LABELS]
    order = sorted(range(len(LABELS)), key=lambda i: (LABELS[i], -own[i]))
    np.testing.assert_allclose(height, probabilities[order], atol=1e-12)
    bottoms = np.array([step.baseline for step in steps]).T
    labels = LABELS[order]
    np.testing.assert_allclose(bottoms[np.arange(20), labels], 0)  # its own cluster below
    np.testing.assert_allclose(bottoms[:, -1] + height[:, -1], 1)  # none of them on top
    ends = np.sort(np.concatenate([bottoms, bottoms + height], axis=1))
    np.testing.assert_allclose(ends[:, 1:-1:2], ends[:, 2::2], atol=1e-12)  # without gaps
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "1", "2"]
    assert legend_labels(ax) == ["0 (5)", "1 (8)", "2 (7)", "none of them"]


def test_map_shades_by_uncertainty(ax):
    X = pd.DataFrame(POINTS, columns=["a", "b"])
    plots.plot_assignments(ASSIGNMENTS, X, features=("b", "a"), ax=ax)
    found = np.concatenate(
        [np.column_stack([c.get_offsets(), c.get_array(), c.get_sizes()]) for c in scatters(ax)]
    )
    uncertainty = 1 - ASSIGNMENTS.table["probability"].to_numpy()
    np.testing.assert_allclose(
        rows(found[:, :3]), rows(np.column_stack([POINTS[:, ::-1], uncertainty])), atol=1e-12
    )
    assert np.all(np.diff(found[np.argsort(found[:, 2]), 3]) >= 0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("b", "a")
    assert len(ax.figure.axes) == 2  # with its colour bar


def test_map_of_one_feature_has_the_uncertainty_upwards(ax):
    plots.plot_assignments(ASSIGNMENTS, POINTS[:, :1], ax=ax)
    found = np.concatenate([c.get_offsets() for c in scatters(ax)])
    uncertainty = 1 - ASSIGNMENTS.table["probability"].to_numpy()
    np.testing.assert_allclose(rows(found), rows(np.column_stack([POINTS[:, 0], uncertainty])))
    assert ax.get_ylabel() == "uncertainty"


def test_one_cluster_alone(ax):
    plots.plot_assignments(assignment_probabilities([[4, 4], [4, 4]], [4, 4]), ax=ax)
    assert legend_labels(ax) == ["4 (2)", "none of them"]


def test_what_is_no_assignment(ax):
    with pytest.raises(TypeError, match="what assignment_probabilities finds; got ndarray"):
        plots.plot_assignments(ASSIGNMENTS.probabilities, ax=ax)
    with pytest.raises(ValueError, match=r"X must have shape \(20, D\)"):
        plots.plot_assignments(ASSIGNMENTS, POINTS.T, ax=ax)


# ---- predictive ---------------------------------------------------------------------------------


def of_draws(model, j, x):
    """Density of feature j of each draw at places x, [S, G], by scipy."""
    log_weights, means, scales = (np.asarray(leaf) for leaf in model.mixtures())
    T, D = means.shape[-2:]
    found = []
    for logs, mean, scale in zip(
        log_weights.reshape(-1, T),
        means.reshape(-1, T, D),
        scales.reshape(-1, T, D, D),
        strict=True,
    ):
        spread = np.sqrt(np.einsum("tij,tij->ti", scale, scale)[:, j])
        present = np.flatnonzero(logs > -np.inf)
        found.append(
            sum(np.exp(logs[t]) * stats.norm(mean[t, j], spread[t]).pdf(x) for t in present)
        )
    return np.array(found)


@pytest.mark.parametrize(("feature", "j"), [("width", 1), (0, 0)])
def test_predictive_density_is_the_mean_over_the_draws(feature, j, fit, ax):
    model, X = fit
    plots.plot_predictive(model, X, feature=feature, level=0.8, ax=ax)
    x, density = ax.get_lines()[0].get_data()
    every = of_draws(model, j, x)
    np.testing.assert_allclose(density, every.mean(0), rtol=1e-9)
    np.testing.assert_allclose(np.trapezoid(density, x), 1, atol=0.01)
    (band,) = [c for c in ax.collections if "Poly" in type(c).__name__]
    vertices = band.get_paths()[0].vertices
    for place in (100, 250):
        heights = vertices[np.isclose(vertices[:, 0], x[place]), 1]
        expected = np.quantile(every[:, place], [0.1, 0.9])
        np.testing.assert_allclose([heights.min(), heights.max()], expected)
    assert x[0] < X.iloc[:, j].min() and X.iloc[:, j].max() < x[-1]
    np.testing.assert_allclose(sum(b.get_width() * b.get_height() for b in ax.patches), 1)
    assert ax.get_xlabel() == X.columns[j]
    assert legend_labels(ax) == ["predictive density", "80 % of the draws", "points"]


def test_predictive_without_points(fit, ax):
    plots.plot_predictive(fit[0], ax=ax)
    assert not ax.patches and ax.get_xlabel() == "length"


def test_predictive_of_what_has_no_draws(fit, ax):
    model, X = fit
    with pytest.raises(TypeError, match="must hold chains, as MCMCGaussianMixture does; got Gauss"):
        plots.plot_predictive(GaussianMixture.from_parameters([1], [[0]], [[[1]]]), ax=ax)
    with pytest.raises(NotFittedError):
        plots.plot_predictive(MCMCGaussianMixture(), ax=ax)
    with pytest.raises(ValueError, match="got 'widht'. Did you mean 'width'"):
        plots.plot_predictive(model, feature="widht", ax=ax)
    with pytest.raises(ValueError, match="feature must name one feature, got 2"):
        plots.plot_predictive(model, feature=(0, 1), ax=ax)
    for level in (0, 1, 90, "90", True):
        with pytest.raises(ValueError, match="level must be a number between 0 and 1, got"):
            plots.plot_predictive(model, level=level, ax=ax)
    with pytest.raises(ValueError, match=r"features of the fit, \[N, 2\]; got shape \(40, 1\)"):
        plots.plot_predictive(model, X[["width"]], ax=ax)
    with pytest.raises(
        ValueError, match=r"columns of the fit, \['length', 'width'\]; got \['width'"
    ):
        plots.plot_predictive(model, X[["width", "length"]], ax=ax)
    assert not ax.has_data()


# ---- relabelled ---------------------------------------------------------------------------------


def check_densities(ax, draws):
    """A curve for each cluster with the moments of its draws [C, S, K]."""
    for line, values in zip(ax.get_lines(), np.moveaxis(draws, -1, 0), strict=True):
        x, density = line.get_data()
        np.testing.assert_allclose(np.trapezoid(density, x), 1, atol=0.02)
        mean = np.trapezoid(x * density, x)
        np.testing.assert_allclose(mean, values.mean(), atol=0.15 * values.std())
        spread = np.sqrt(np.trapezoid((x - mean) ** 2 * density, x))
        np.testing.assert_allclose(spread, values.std(), rtol=0.2)


@pytest.mark.parametrize(
    ("variable", "feature", "entry", "title"),
    [
        ("weights", None, (), "weights"),
        ("means", None, (0,), "means (0)"),
        ("means", 1, (1,), "means (1)"),
        ("covariances", 1, (1, 1), "covariances (1)"),
        ("covariances", (0, 1), (0, 1), "covariances (0, 1)"),
    ],
)
def test_densities_of_the_clusters(variable, feature, entry, title, relabelled, ax):
    tree, own = relabelled
    plots.plot_relabelled(tree, variable, feature=feature, ax=ax)
    check_densities(ax, own[variable][(..., *entry)])
    assert ax.get_xlabel() == title and legend_labels(ax) == ["0", "1", "2"]


def test_the_group_alone_and_its_own_names(relabelled, ax):
    group = relabelled[0]["relabelled"].to_dataset().rename(means="mu")
    group = group.assign_attrs(means="mu")
    for variable in ("means", "mu"):
        plots.plot_relabelled(group, variable, ax=ax)
        assert ax.get_xlabel() == "mu (0)"
        ax.clear()


def test_features_have_their_names(fit, ax):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        tree = relabel(fit[0].posterior_)
    plots.plot_relabelled(tree, feature="width", ax=ax)
    assert ax.get_xlabel() == "means (width)"
    with pytest.raises(ValueError, match="Did you mean 'width'"):
        plots.plot_relabelled(tree, feature="widht", ax=ax)


def test_a_cluster_at_one_value_is_a_line(relabelled, ax):
    group = relabelled[0]["relabelled"].to_dataset().copy()
    group["weights"] = group["weights"] * 0 + 0.25
    plots.plot_relabelled(group, "weights", ax=ax)
    assert {tuple(line.get_xdata()) for line in ax.get_lines()} == {(0.25, 0.25)}


def test_what_is_not_relabelled(fit, relabelled, ax):
    with pytest.raises(
        ValueError, match=r"a group relabelled, found groups: .*posterior.* relabel\("
    ):
        plots.plot_relabelled(fit[0].posterior_, ax=ax)
    with pytest.raises(TypeError, match="DataTree with a group relabelled, got ndarray"):
        plots.plot_relabelled(DRAWS, ax=ax)
    tree, _ = relabelled
    with pytest.raises(
        ValueError, match="one of 'weights', 'means', 'covariances', .* got 'labels'"
    ):
        plots.plot_relabelled(tree, "labels", ax=ax)
    with pytest.raises(ValueError, match="feature must be left out for 'weights'"):
        plots.plot_relabelled(tree, "weights", feature=0, ax=ax)
    with pytest.raises(ValueError, match="one for each of .* of 'means'; got"):
        plots.plot_relabelled(tree, "means", feature=(0, 1), ax=ax)
    with pytest.raises(ValueError, match="feature must be indices from 0 to 1, got 2"):
        plots.plot_relabelled(tree, "means", feature=2, ax=ax)


# ---- ArviZ's ------------------------------------------------------------------------------------


def test_ranks_of_the_label_free_quantities_are_arviz_s(fit):
    """As the docstring of plot_trace says."""
    from arviz_plots import plot_rank

    model, _ = fit
    moving = list(model.diagnose().query("verdict != 'constant'").index)
    drawn = plot_rank(model.posterior_, var_names=moving)
    assert moving and set(moving) <= set(drawn.viz["plot"].data_vars)
