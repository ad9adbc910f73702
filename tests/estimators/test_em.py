"""GaussianMixture: its iterations against scikit-learn's, weights, starts, criteria, compiling."""

import re
import warnings
from functools import partial

import jax
import numpy as np
import pytest
import sklearn.mixture
from scipy import stats
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from bayesgmm import GaussianMixture
from bayesgmm.core import FAMILIES
from bayesgmm.core.covariance import UNIVARIATE
from bayesgmm.inference.restarts import TRIAL

TYPES = ("full", "tied", "diag", "spherical")
PARAMETERS = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
ITERATIONS = (0, 1, 2, 5, 20)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


Plain = partial(GaussianMixture, acceleration=None, n_init=1)
"""EM iteration by iteration, as scikit-learn."""


class Reference(sklearn.mixture.GaussianMixture):
    """scikit-learn's mixture, started from the responsibilities that it is given."""

    def begin(self, resp):
        self.resp = resp
        return self

    def _initialize_parameters(self, X, *args, **kwargs):
        self._initialize(X, self.resp)


def one_hot(labels, K):
    return (np.asarray(labels)[:, None] == np.arange(K)).astype(float)


def close(found, expected, digits=1e-9):
    """Equal to so many digits of the largest entry."""
    expected = np.asarray(expected)
    assert np.shape(found) == expected.shape
    np.testing.assert_allclose(found, expected, rtol=digits, atol=digits * np.abs(expected).max())


def assert_same(ours, theirs, digits=1e-9):
    for name in PARAMETERS:
        close(getattr(ours, name), getattr(theirs, name), digits)


def clusters(N, D, K, seed):
    """Overlapping clusters, and labels that are wrong for a third of the rows."""
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % K
    means, roots = 3 * rng.standard_normal((K, D)), rng.standard_normal((K, D, D)) / np.sqrt(D)
    noise = rng.standard_normal((N, D))
    X = means[labels] + np.einsum("nij,nj->ni", roots[labels] + np.eye(D), noise)
    wrong = rng.random(N) < 1 / 3
    return X, np.where(wrong, rng.integers(0, K, N), labels)


def iris():
    X = load_iris().data
    return X, np.random.default_rng(1).integers(0, 3, len(X))


# The first two are of one size as the compiler sees it, and so share their programs.
TABLES = {
    "iris": iris,
    "overlapping": lambda: clusters(200, 4, 3, seed=2),
    "larger": lambda: clusters(5000, 10, 4, seed=3),
}


@pytest.fixture(scope="module")
def overlapping():
    return TABLES["overlapping"]()


# --- iteration by iteration ---------------------------------------------------------------------


TRIED = [
    pytest.param(name, covariance_type, marks=() if always else pytest.mark.slow)
    for name in TABLES
    for covariance_type in TYPES
    for always in [name != "larger" or covariance_type in ("full", "spherical")]
]


@pytest.mark.parametrize("name, covariance_type", TRIED)
def test_every_iteration_is_that_of_sklearn(name, covariance_type):
    X, labels = TABLES[name]()
    K = int(labels.max()) + 1
    for max_iter in ITERATIONS:
        options = dict(covariance_type=covariance_type, tol=0, max_iter=max_iter)
        theirs = Reference(K, **options).begin(one_hot(labels, K)).fit(X)
        ours = Plain(K, init_params=labels, **options).fit(X)
        assert_same(ours, theirs)
        assert ours.n_iter_ == max_iter and not ours.converged_
        assert len(ours.lower_bounds_) == max_iter
        if max_iter and hasattr(theirs, "lower_bounds_"):
            close(ours.lower_bounds_, theirs.lower_bounds_)
        close(ours.lower_bound_, theirs.score(X))  # of the parameters that are published
    close(ours.score_samples(X), theirs.score_samples(X))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    np.testing.assert_array_equal(ours.labels_, theirs.predict(X))
    np.testing.assert_array_equal(ours.predict(X), ours.labels_)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_it_stops_where_sklearn_stops(overlapping, covariance_type):
    X, labels = overlapping
    options = dict(covariance_type=covariance_type, tol=1e-4, max_iter=500)
    theirs = Reference(3, **options).begin(one_hot(labels, 3)).fit(X)
    ours = Plain(3, init_params=labels, **options).fit(X)
    assert ours.converged_ and theirs.converged_
    assert ours.n_iter_ == theirs.n_iter_
    assert_same(ours, theirs, 1e-8)


@pytest.mark.parametrize("reg_covar", [0, 1e-6, 0.1])
def test_ridge_is_in_the_square_of_the_features_units(overlapping, reg_covar):
    X, labels = overlapping
    X = X * [1, 100, 0.01, 5]
    for covariance_type in TYPES:
        options = dict(covariance_type=covariance_type, tol=0, max_iter=5, reg_covar=reg_covar)
        theirs = Reference(3, **options).begin(one_hot(labels, 3)).fit(X)
        ours = Plain(3, init_params=labels, **options).fit(X)
        for name in ("weights_", "means_"):
            close(getattr(ours, name), getattr(theirs, name))
        np.testing.assert_allclose(  # column by column: units differ
            np.reshape(ours.covariances_, -1), np.reshape(theirs.covariances_, -1), rtol=1e-8
        )


@pytest.mark.parametrize("share", [1e-6, 0.01])
def test_relative_ridge_is_a_share_of_the_variance(overlapping, share):
    X, labels = overlapping
    reg_covar = "relative" if share == 1e-6 else ("relative", share)
    options = dict(init_params=labels, max_iter=0)
    plain = Plain(3, reg_covar=0, **options).fit(X)
    ridged = Plain(3, reg_covar=reg_covar, **options).fit(X)
    added = ridged.covariances_ - plain.covariances_
    close(added, np.broadcast_to(share * np.diag(X.var(axis=0)), (3, 4, 4)), 1e-8)


@pytest.mark.parametrize("name, like", [("E", "tied"), ("V", "full")])
def test_one_feature(name, like):
    X = clusters(200, 1, 3, seed=5)[0]
    labels = (X[:, 0] > np.quantile(X, 0.3)).astype(int) + (X[:, 0] > np.quantile(X, 0.6))
    theirs = Reference(3, covariance_type=like, tol=0, max_iter=20).begin(one_hot(labels, 3)).fit(X)
    ours = Plain(3, covariance_type=name, tol=0, max_iter=20, init_params=labels).fit(X)
    close(ours.means_, theirs.means_)
    close(ours.weights_, theirs.weights_)
    close(ours.covariances_, np.broadcast_to(theirs.covariances_, (3, 1, 1)))
    close(ours.bic(X), theirs.bic(X))


# --- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_integer_weight_repeats_and_weight_0_drops_a_row(overlapping, name):
    X, labels = overlapping
    X = X[:180, :1] if name in UNIVARIATE else X[:180]
    labels = labels[:180]
    weight = np.repeat([1, 0, 2, 1], 45)  # 135 rows and 180: of one size to the compiler
    options = dict(covariance_type=name, tol=0, max_iter=10)
    weighted = Plain(3, init_params=labels, **options).fit(X, sample_weight=weight)
    rows, starts = np.repeat(X, weight, axis=0), np.repeat(labels, weight)
    repeated = Plain(3, init_params=starts, **options).fit(rows)
    digits = 1e-6 if name in ("EVE", "VVE") else 1e-9  # axes are turned to half the digits
    assert_same(weighted, repeated, digits)
    close(weighted.lower_bounds_, repeated.lower_bounds_, digits)
    close(weighted.lower_bound_, repeated.lower_bound_, digits)
    close(weighted.score(X, sample_weight=weight), repeated.score(rows), digits)
    close(weighted.bic(X, sample_weight=weight), repeated.bic(rows), digits)
    close(weighted.aic(X, sample_weight=weight), repeated.aic(rows), digits)
    close(weighted.icl(X, sample_weight=weight), repeated.icl(rows), digits)
    assert weighted.labels_.shape == (180,)  # rows of weight 0 too
    np.testing.assert_array_equal(weighted.labels_, repeated.predict(X))


def test_rows_of_weight_0_have_no_part_in_a_start(overlapping):
    X, _ = overlapping
    weight = np.where(np.arange(len(X)) < 180, 1.0, 0.0)
    X = np.where(weight[:, None] > 0, X, 1e3)  # far out: any start would see them
    for init_params in ("kmeans", "k-means++", "random", "random_from_data"):
        options = dict(init_params=init_params, random_state=3, max_iter=2, reg_covar=1e-2)
        ours = Plain(3, **options).fit(X, sample_weight=weight)
        assert_same(ours, Plain(3, **options).fit(X[:180]))


def test_fractional_weights_count_by_their_ratios(overlapping):
    X, labels = overlapping
    weight = np.random.default_rng(0).uniform(0.1, 2, len(X))
    options = dict(tol=0, max_iter=10, init_params=labels)
    one = Plain(3, **options).fit(X, sample_weight=weight)
    other = Plain(3, **options).fit(X, sample_weight=3.7 * weight)
    assert_same(one, other)
    total = weight.sum()
    expected = -2 * total * one.score(X, sample_weight=weight) + 44 * np.log(total)
    close(one.bic(X, sample_weight=weight), expected)


def test_first_step_under_fractional_weights_by_hand(overlapping):
    X, labels = overlapping
    weight = np.random.default_rng(0).uniform(0.1, 2, len(X))
    model = Plain(3, init_params=labels, max_iter=0, reg_covar=0)
    model.fit(X, sample_weight=weight)
    for k in range(3):
        own = labels == k
        close(model.weights_[k], weight[own].sum() / weight.sum())
        close(model.means_[k], np.average(X[own], axis=0, weights=weight[own]))
        close(model.covariances_[k], np.cov(X[own].T, aweights=weight[own], ddof=0))


def test_weight_of_one_for_all(overlapping):
    X, labels = overlapping
    options = dict(init_params=labels, max_iter=3)
    plain = Plain(3, **options).fit(X)
    for weight in (2, np.ones(len(X)), [1] * len(X), np.ones(len(X), np.float32)):
        assert_same(Plain(3, **options).fit(X, sample_weight=weight), plain)


# --- where a fit begins -------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
def test_start_from_responsibilities(overlapping, covariance_type):
    X, _ = overlapping
    resp = np.random.default_rng(4).dirichlet(np.ones(3), len(X))
    options = dict(covariance_type=covariance_type, tol=0)
    for max_iter in (0, 3):
        theirs = Reference(3, max_iter=max_iter, **options).begin(resp).fit(X)
        ours = Plain(3, max_iter=max_iter, init_params=resp, **options).fit(X)
        assert_same(ours, theirs)


def test_labels_of_minus_one_belong_to_no_component(overlapping):
    X, labels = overlapping
    labels = np.where(np.arange(len(X)) % 4 == 0, -1, labels)
    by_labels = Plain(3, init_params=labels, max_iter=0, reg_covar=0).fit(X)
    by_resp = Plain(3, init_params=one_hot(labels, 3), max_iter=0, reg_covar=0).fit(X)
    assert_same(by_labels, by_resp)
    for k in range(3):
        own = X[labels == k]
        close(by_labels.weights_[k], len(own) / (labels >= 0).sum())
        close(by_labels.means_[k], own.mean(axis=0))
        close(by_labels.covariances_[k], np.cov(own.T, ddof=0))


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize(
    "given",
    [("weights",), ("means",), ("precisions",), ("weights", "means", "precisions")],
    ids=" ".join,
)
def test_parts_of_a_start_that_are_given(overlapping, covariance_type, given):
    X, labels = overlapping
    root = np.random.default_rng(6).standard_normal((3, 4, 4)) / 4 + np.eye(4)
    matrices = root @ root.swapaxes(1, 2)
    parts = {
        "weights": [0.5, 0.2, 0.3],
        "means": X[:3],
        "precisions": {
            "full": matrices,
            "tied": matrices[0],
            "diag": np.diagonal(matrices, axis1=1, axis2=2),
            "spherical": matrices[:, 0, 0],
        }[covariance_type],
    }
    options = {f"{name}_init": parts[name] for name in given}
    options |= dict(covariance_type=covariance_type, tol=0, init_params=labels)
    start = Plain(3, max_iter=0, **options).fit(X)
    plain = Plain(3, max_iter=0, covariance_type=covariance_type, init_params=labels)
    for name in ("weights", "means", "precisions"):
        expected = parts[name] if name in given else getattr(plain.fit(X), f"{name}_")
        close(getattr(start, f"{name}_"), expected)
    for max_iter in (1, 5):  # at 0 scikit-learn fails when precisions are given
        del options["init_params"]
        theirs = Reference(3, max_iter=max_iter, **options).begin(one_hot(labels, 3)).fit(X)
        options["init_params"] = labels
        assert_same(Plain(3, max_iter=max_iter, **options).fit(X), theirs, 1e-8)


def test_all_parts_given_need_no_start(overlapping):
    X, _ = overlapping
    parts = dict(weights_init=[0.5, 0.5], means_init=X[:2], precisions_init=[np.eye(4)] * 2)
    models = [Plain(2, init_params=p, **parts).fit(X) for p in ("kmeans", "random")]
    assert_same(*models)


def test_kmeans_is_not_misled_by_units():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.repeat([0.0, 10.0], 100), np.zeros(200)])
    X += rng.standard_normal(X.shape)
    X[:, 1] *= 1e6  # all of the variance, and none of the clusters
    labels = Plain(2, init_params="kmeans", max_iter=0, random_state=0).fit(X).labels_
    truth = np.repeat([0, 1], 100)
    assert min((labels != truth).sum(), (labels == truth).sum()) == 0


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_a_seed_repeats_a_fit(overlapping, init_params):
    X, _ = overlapping
    options = dict(init_params=init_params, max_iter=3)
    one = Plain(3, random_state=7, **options).fit(X)
    same = Plain(3, random_state=np.random.RandomState(7), **options).fit(X)
    other = Plain(3, random_state=8, **options).fit(X)
    np.testing.assert_array_equal(one.means_, same.means_)
    if init_params != "kmeans":  # which may find the same clusters again
        assert not np.array_equal(one.means_, other.means_)


# --- restarts, going on -------------------------------------------------------------------------


def one_by_one(X, seed, n_init, **options):
    """What each restart would have come to by itself, None where it fails: one random stream."""
    stream = np.random.RandomState(seed)
    found = []
    for _ in range(n_init):
        try:
            found.append(Plain(3, random_state=stream, **options).fit(X))
        except ValueError as error:
            assert "ill-defined empirical covariance" in str(error)
            found.append(None)
    return found


def test_of_several_restarts_the_best_is_kept():
    X = np.random.default_rng(0).random((200, 4))  # no clusters: many optima
    options = dict(init_params="random", tol=1e-5, max_iter=200)
    alone = one_by_one(X, 5, 5, **options)
    scores = [model.lower_bound_ for model in alone]
    assert len(set(np.round(scores, 3))) > 2  # or the test says nothing
    together = Plain(3, random_state=5, n_init=5, **options).fit(X)
    traces = together.restart_lower_bounds_
    assert len(traces) == 5 and sum(len(trace) == TRIAL for trace in traces) == 2
    for trace, model in zip(traces, alone, strict=True):
        close(trace, model.lower_bounds_[: len(trace)])
        assert len(trace) in (TRIAL, model.n_iter_)
    chosen = together.best_restart_
    assert chosen == np.argmax([trace[-1] for trace in traces])
    assert_same(together, alone[chosen], 1e-7)
    close(together.lower_bound_, scores[chosen])
    close(together.lower_bounds_, traces[chosen])
    assert together.n_iter_ == len(together.lower_bounds_)


@pytest.mark.parametrize("weighted", [False, True])
def test_of_many_points_a_sample_chooses_among_the_restarts(overlapping, monkeypatch, weighted):
    X, _ = overlapping
    weight = np.tile([1.0, 2.0], 100) if weighted else None
    monkeypatch.setattr("bayesgmm.estimators.em.SCREENED", 150)
    model = GaussianMixture(3, random_state=0).fit(X, sample_weight=weight)
    traces, chosen = model.restart_lower_bounds_, model.best_restart_
    assert len(traces) == 8 and model.converged_
    close(model.lower_bounds_, traces[chosen])
    assert model.n_iter_ == len(model.lower_bounds_)
    close(model.lower_bound_, model.score(X, sample_weight=weight))
    # all points were fitted, and to the end
    on = GaussianMixture(3, weights_init=model.weights_, means_init=model.means_, tol=1e-12)
    on.set_params(precisions_init=model.precisions_).fit(X, sample_weight=weight)
    assert abs(on.lower_bound_ - model.lower_bound_) * 200 < 0.01
    again = GaussianMixture(3, random_state=0).fit(X, sample_weight=weight)
    assert_same(again, model, 1e-12)


def test_a_restart_that_collapses_is_not_kept():
    X = np.random.default_rng(0).standard_normal((200, 4))
    X[194:] = 2.5  # some runs end with these six for themselves: no covariance, no bound
    options = dict(reg_covar=0, tol=1e-6, max_iter=300, init_params="random")
    alone = one_by_one(X, 1, 5, **options)
    scores = [-np.inf if model is None else model.lower_bound_ for model in alone]
    assert 0 < sum(model is None for model in alone) < 5
    together = Plain(3, random_state=1, n_init=5, **options).fit(X)
    close(together.lower_bound_, scores[together.best_restart_])
    assert all(np.isfinite(getattr(together, name)).all() for name in PARAMETERS)


def test_the_bound_never_falls_without_a_ridge(overlapping):
    X, labels = overlapping
    for covariance_type in TYPES:
        options = dict(covariance_type=covariance_type, reg_covar=0, tol=0, max_iter=200)
        model = Plain(3, init_params=labels, **options).fit(X)
        gains = np.diff([*model.lower_bounds_, model.lower_bound_])
        assert len(gains) == 200 and gains.min() > -1e-13  # two calls of the compiled loop


@pytest.mark.parametrize("covariance_type", TYPES)
def test_warm_start_goes_on(overlapping, covariance_type):
    X, labels = overlapping
    options = dict(covariance_type=covariance_type, tol=0, init_params=labels)
    whole = Plain(3, max_iter=6, **options).fit(X)
    parts = Plain(3, max_iter=2, warm_start=True, **options)
    for _ in range(3):
        parts.fit(X)
    assert_same(parts, whole)
    cold = Plain(3, max_iter=2, **options)
    assert_same(cold.fit(X), cold.fit(X))


def test_warm_start_sees_that_it_has_arrived(overlapping):
    X, labels = overlapping
    model = Plain(3, tol=1e-3, init_params=labels, warm_start=True).fit(X)
    assert model.converged_ and model.n_iter_ > 1
    model.fit(X)
    assert model.converged_ and model.n_iter_ == 1


# --- what it says -------------------------------------------------------------------------------


def test_it_warns_when_it_has_not_converged(overlapping):
    X, labels = overlapping
    with pytest.warns(ConvergenceWarning, match="did not converge") as caught:
        model = Plain(3, init_params=labels, max_iter=4, tol=1e-12).fit(X)
    text = str(caught[0].message)
    gain = model.lower_bounds_[-1] - model.lower_bounds_[-2]
    for part in ("after 4 iterations", "max_iter=4", "tol=1e-12", f"{gain:.1e}"):
        assert part in text
    assert caught[0].filename == __file__  # the caller of fit is pointed at
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Plain(3, init_params=labels, max_iter=500).fit(X)
        Plain(3, init_params=labels, max_iter=0).fit(X)


def test_fit_predict_warns_its_caller(overlapping):
    X, labels = overlapping
    with pytest.warns(ConvergenceWarning) as caught:
        Plain(3, init_params=labels, max_iter=1, tol=0).fit_predict(X)
    assert caught[0].filename == __file__


def test_verbose(overlapping, capsys):
    X, labels = overlapping
    options = dict(init_params=labels, tol=1e-3, verbose_interval=2)
    model = Plain(3, **options).fit(X)
    assert capsys.readouterr().out == ""
    Plain(3, verbose=1, **options).fit(X)
    lines = capsys.readouterr().out.splitlines()
    shown = [int(m.group(1)) for line in lines if (m := re.search(r"iteration (\d+)$", line))]
    assert shown == list(range(2, model.n_iter_ + 1, 2))
    assert lines[-1] == f"restart 0  converged after {model.n_iter_} iterations"
    Plain(3, verbose=2, **options).fit(X)
    found = re.findall(r"iteration 4  gain (\S+)", capsys.readouterr().out)
    gain = model.lower_bounds_[3] - model.lower_bounds_[2]
    assert found == [f"{gain:.2e}"]


# --- criteria -----------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
def test_criteria(overlapping, covariance_type):
    X, labels = overlapping
    options = dict(covariance_type=covariance_type, tol=0, max_iter=5)
    theirs = Reference(3, **options).begin(one_hot(labels, 3)).fit(X)
    ours = Plain(3, init_params=labels, **options).fit(X)
    close(ours.bic(X), theirs.bic(X))
    close(ours.aic(X), theirs.aic(X))
    free = {"full": 3 * 10, "tied": 10, "diag": 3 * 4, "spherical": 3}[covariance_type]
    full = np.broadcast_to(
        {
            "full": lambda c: c,
            "tied": lambda c: c,
            "diag": lambda c: c[:, :, None] * np.eye(4),
            "spherical": lambda c: c[:, None, None] * np.eye(4),
        }[covariance_type](ours.covariances_),
        (3, 4, 4),
    )
    parameters = zip(ours.weights_, ours.means_, full, strict=True)
    joint = [w * stats.multivariate_normal(m, c).pdf(X) for w, m, c in parameters]
    density = sum(joint)
    deviance = -2 * np.log(density).sum()
    close(ours.bic(X), deviance + (2 + 3 * 4 + free) * np.log(200))
    close(ours.aic(X), deviance + 2 * (2 + 3 * 4 + free))
    close(ours.icl(X), ours.bic(X) - 2 * np.log(np.max(joint, axis=0) / density).sum())
    close(ours.score(X), -deviance / 2 / 200)


# --- compiling ----------------------------------------------------------------------------------


@pytest.fixture
def compilations():
    """The durations of the compilations since the test began."""
    found = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def test_what_does_not_compile_anew(compilations):
    X = np.random.default_rng(0).standard_normal((400, 3))

    def fit(rows=400, **options):
        labels = np.arange(rows) % 2
        options = dict(tol=1e-4, max_iter=5, init_params=labels, reg_covar=0) | options
        model = Plain(2, **options).fit(X[:rows])
        model.predict(X[: rows - 7])
        return model

    fit(), fit(init_params="random")  # from labels, from responsibilities
    fit(init_params="cells", max_iter=50)  # from several at once
    assert compilations  # this shape is new, and the listener listens
    compilations.clear()
    weight = np.ones(400)
    for changed in (
        dict(rows=300),
        dict(tol=1e-2),
        dict(max_iter=50),
        dict(max_iter=150, tol=0),
        dict(reg_covar=1e-2),
        dict(reg_covar=1),
        dict(reg_covar="relative"),
        dict(init_params="kmeans", random_state=0),
        dict(init_params="cells", random_state=0, n_init=3, max_iter=50, tol=0.01),
        dict(init_params="kmeans", random_state=1),
        dict(init_params="k-means++", random_state=1, reg_covar=1),
        dict(covariance_type="VVV"),
        dict(means_init=X[:2]),
    ):
        fit(**changed)
        assert not compilations, changed
    model = Plain(np.int64(2), init_params=np.arange(400) % 2, max_iter=3)
    model.fit(X, sample_weight=weight)
    model.set_params(warm_start=True).fit(X, sample_weight=weight)
    model.score(X), model.bic(X), model.predict_proba(X), model.uncertainty(X), model.sample(5)
    assert not compilations
