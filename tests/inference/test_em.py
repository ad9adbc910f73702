"""EM: it climbs, it stands still at a maximum, it says when it fails; scikit-learn step by step."""

import logging
import warnings
from functools import partial

import jax
import numpy as np
import pytest
from scipy import special, stats
from sklearn.mixture import GaussianMixture as SklearnMixture

from bayesgmm.core import (
    FAMILIES,
    Data,
    Dirichlet,
    Hyperparameters,
    Mixture,
    NormalInverseWishart,
    choose_form,
    exact_form,
    flat_prior,
    float_scope,
    kappa,
)
from bayesgmm.core.forms import kappa_limit
from bayesgmm.inference import drive, em
from bayesgmm.inference.loop import CONVERGED, FAILED, SPAN
from bayesgmm.inference.restarts import best
from tests.conftest import assert_close, matrices, random_mixture

pytestmark = pytest.mark.usefixtures("x64")

NAMES = ("full", "tied", "diag", "spherical", "E")
N, SIZE, D, K = 90, 128, 2, 3
"""Every fit here has these shapes, and two restarts, so that programs are compiled once."""


def some_points(seed=0, n=N):
    """Three clusters that overlap, of different shapes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % K
    spread = np.array([[1.0, 0.3], [0.4, 0.9], [0.6, 0.6]])[labels]
    centres = np.array([[-1.2, 0.0], [1.2, 0.5], [0.0, -1.3]])[labels]
    return centres + spread * rng.normal(size=(n, D)), labels


def data_of(points, weight=None, size=SIZE):
    weight = np.ones(len(points)) if weight is None else weight
    fill = size - len(points)
    return Data(np.pad(points.T, ((0, 0), (0, fill))), np.pad(weight, (0, fill)))


def config_of(name, form=None):
    family = FAMILIES[name]
    return em.EMConfig(family, choose_form(D, family.axis_aligned) if form is None else form)


def objective_of(name, ridge=0.0, n_components=K):
    return em.Objective(flat_prior(FAMILIES[name], n_components, D), np.full(D, float(ridge)))


def two_starts(labels, seed=0):
    """The labels with a third of them redrawn, and entirely random ones."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, K, (2, len(labels)))
    return np.where(rng.uniform(size=len(labels)) < [[2 / 3], [0.0]], labels, drawn)


def fit(name, points, starts, *, ridge=0.0, tol=1e-10, max_iter=1000, weight=None, form=None, **kw):
    data, config, objective = (
        data_of(points, weight),
        config_of(name, form),
        objective_of(name, ridge),
    )
    mixtures = em.start_all([data], starts, objective, config, K)
    return em.run(em.begin(mixtures), [data], objective, config, tol, max_iter, **kw)


def of_run(run, r):
    """The mixture of one restart."""
    return jax.tree.map(lambda leaf: leaf[r], run.state.mixture)


# --- the oracle: one iteration in NumPy


def plain_joint(points, mixture):
    return np.stack(
        [
            log_weight + stats.multivariate_normal(mean, covariance).logpdf(points)
            for log_weight, mean, covariance in zip(
                mixture.log_weights, mixture.means, matrices(mixture), strict=True
            )
        ],
        axis=1,
    )


def plain_maximum(points, resp, name, ridge=0.0):
    """Weights, means and covariances by the formulas of maximum likelihood."""
    counts, eye = resp.sum(0), np.eye(D)
    means = resp.T @ points / counts[:, None]
    gap = points[:, None, :] - means
    scatter = np.einsum("nk,nki,nkj->kij", resp, gap, gap)
    if name in ("tied", "E"):
        scatter = np.broadcast_to(scatter.sum(0) / counts.sum(), scatter.shape)
    else:
        scatter = scatter / counts[:, None, None]
    if name == "diag":
        scatter = scatter * eye
    if name in ("spherical", "E"):
        scatter = np.einsum("kii->k", scatter)[:, None, None] / D * eye
    return np.log(counts / counts.sum()), means, scatter + ridge * eye


def plain_path(points, resp, name, n):
    """Parameters and mean log density before each of n iterations, and after them."""
    path = []
    for _ in range(n + 1):
        given = plain_maximum(points, resp, name)
        joint = plain_joint(points, Mixture(*given[:2], np.linalg.cholesky(given[2])))
        path.append((given, special.logsumexp(joint, axis=1).mean()))
        resp = special.softmax(joint, axis=1)
    return path


def parameters(mixture):
    return mixture.log_weights, mixture.means, matrices(mixture)


# ------------------------------------------------------------------------- one contract for all


def check_family(name):
    points, labels = some_points()
    starts = two_starts(labels)
    run = fit(name, points, starts)
    assert run.converged.all() and not run.failed.any()
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(run.state.mixture))
    for r in range(2):
        check_history(run, r)
        check_fixed_point(name, points, of_run(run, r))
    data, config, objective = data_of(points), config_of(name), objective_of(name)
    begin = em.start_all([data], starts, objective, config, K)
    few = em.run(em.begin(begin), [data], objective, config, 0.0, 4)
    for r, labels in enumerate(starts):
        path = plain_path(points, np.eye(K)[labels], name, 4)
        mixture = jax.tree.map(lambda leaf, r=r: leaf[r], begin)
        assert_close(parameters(mixture), path[0][0])
        assert_close(parameters(of_run(few, r)), path[4][0], rtol=1e-8)
        assert_close(run.history[r][:5], np.array([value for _, value in path]))
    check_best(run, points, config)


def check_history(run, r):
    """The objective never falls, and the last is the one that is reported."""
    assert len(run.history[r]) == run.n_iter[r] and run.history[r][-1] == run.objective[r]
    assert np.diff(run.history[r]).min() > -1e-13


def check_fixed_point(name, points, mixture):
    """One more iteration, in NumPy, changes nothing."""
    resp = special.softmax(plain_joint(points, mixture), axis=1)
    expected = plain_maximum(points, resp, name)
    assert_close(parameters(mixture), expected, rtol=1e-3, atol=1e-3)


def check_best(run, points, config):
    scores = [
        special.logsumexp(plain_joint(points, of_run(run, r)), axis=1).mean() for r in range(2)
    ]
    assert best(run) == int(np.argmax(scores))
    one_failed = run._replace(failed=np.arange(2) == np.argmax(scores))
    assert best(one_failed) == int(np.argmin(scores))
    assert best(run._replace(failed=np.ones(2, bool))) is None


@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    check_family(name)


@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical"])
def test_scikit_learn_iteration_by_iteration(name):
    """Seven steps from the same start, with its ridge; the lower bounds agree too."""
    points, labels = some_points()
    starts, ridge, n = two_starts(labels), 1e-2, 7
    begin = fit(name, points, starts, ridge=ridge, max_iter=0)
    run = fit(name, points, starts, ridge=ridge, tol=0.0, max_iter=n)
    for r in range(2):
        first = matrices(of_run(begin, r))
        precisions = np.linalg.inv(first)
        shape = {
            "full": precisions,
            "tied": precisions[0],
            "diag": np.einsum("kii->ki", precisions),
            "spherical": precisions[:, 0, 0],
        }[name]
        model = SklearnMixture(
            K,
            covariance_type=name,
            tol=0.0,
            reg_covar=ridge,
            max_iter=n,
            weights_init=np.exp(begin.state.mixture.log_weights[r]),
            means_init=begin.state.mixture.means[r],
            precisions_init=shape,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(points)
        assert_close(run.history[r], np.array(model.lower_bounds_), rtol=1e-9)
        found = parameters(of_run(run, r))
        log_weights, means, _ = found
        assert_close((log_weights, means), (np.log(model.weights_), model.means_), rtol=1e-8)
        own = {"full": found[2], "tied": found[2][0], "diag": np.einsum("kii->ki", found[2])}
        assert_close(own.get(name, found[2][:, 0, 0]), model.covariances_, rtol=1e-8)


def test_weights_are_repetitions():
    points, labels = some_points()
    points, starts = points[:50], two_starts(labels)[:, :50]
    weight = np.where(np.arange(50) < 20, 3.0, 1.0)
    twice = np.repeat(np.arange(50), weight.astype(int))
    found = fit("full", points, starts, weight=weight)
    expected = fit("full", points[twice], starts[:, twice])
    assert_close(found.state.mixture, expected.state.mixture, rtol=1e-7, atol=1e-7)
    assert_close(found.objective, expected.objective)


def test_labels_are_responsibilities():
    points, labels = some_points()
    starts, rng = two_starts(labels), np.random.default_rng(0)
    soft = rng.dirichlet(np.ones(K), (2, N))
    for resp in (np.eye(K)[starts], soft):
        begin = fit("full", points, np.swapaxes(resp, 1, 2), max_iter=0)
        for r in range(2):
            expected = plain_maximum(points, resp[r], "full")
            assert_close(parameters(of_run(begin, r)), expected)


def test_only_labelled_points_make_the_start():
    """A label of -1 belongs to no component, and padding neither."""
    points, labels = some_points()
    some = np.where(np.arange(N) < 40, labels, -1)
    begin = fit("full", points, np.stack([some, labels]), max_iter=0)
    expected = plain_maximum(points[:40], np.eye(K)[labels[:40]], "full")
    assert_close(parameters(of_run(begin, 0)), expected)
    assert begin.n_iter.tolist() == [0, 0] and not begin.converged.any()
    assert [len(trace) for trace in begin.history] == [0, 0]


# -------------------------------------------------------------------------------------- endings


def collapsing():
    """Eight copies of one point amid the others: a component shrinks to them until it is flat."""
    points, labels = some_points(n=82)
    points = np.vstack([points, np.tile([[0.3, 0.1]], (8, 1))])
    near = np.linalg.norm(points - [0.3, 0.1], axis=1) < 0.8
    return points, np.where(near, 2, np.append(labels, np.full(8, 2)) % 2)


def test_a_collapse_is_a_failure_and_the_last_sound_mixture_stays():
    points, labels = collapsing()
    starts = np.stack([labels, two_starts(labels)[0]])
    run = fit("full", points, starts)
    assert run.failed.tolist() == [True, False] and run.converged.tolist() == [False, True]
    assert run.n_iter[0] > 1  # it was sound at first
    assert np.all(np.isfinite(run.history[0])) and len(run.history[0]) == run.n_iter[0]
    assert all(np.isfinite(leaf).all() for leaf in of_run(run, 0))
    before = fit("full", points, starts, tol=0.0, max_iter=int(run.n_iter[0]))
    assert not before.failed[0]
    assert_close(of_run(before, 0), of_run(run, 0))
    beside = fit("full", points, np.stack([starts[1], starts[1]]))
    assert_close(of_run(run, 1), of_run(beside, 0))  # the other went its way
    assert best(run) == 1


def test_a_ridge_keeps_it_from_collapsing():
    points, labels = collapsing()
    run = fit("full", points, np.stack([labels, labels]), ridge=1e-4)
    assert run.converged.all()
    assert np.linalg.eigvalsh(matrices(of_run(run, 0))).min() >= 1e-4 * (1 - 1e-9)


def test_nan_never_converges():
    points, labels = some_points()
    data, config, objective = data_of(points), config_of("full"), objective_of("full")
    begin = em.start_all([data], two_starts(labels), objective, config, K)
    means = begin.means.copy()
    means[0, 1, 0] = np.nan
    run = em.run(em.begin(begin._replace(means=means)), [data], objective, config, np.inf, 1000)
    assert run.failed.tolist() == [True, False] and run.converged.tolist() == [False, True]
    assert run.n_iter[0] == 0 and run.objective[0] == -np.inf


def test_a_singular_start_fails():
    points, labels = some_points()
    alone = np.where(np.arange(N) == 5, 2, labels % 2)
    run = fit("full", points, np.stack([alone, labels]))
    assert run.failed.tolist() == [True, False] and run.n_iter[0] == 0


def test_long_runs_make_several_calls():
    points, labels = some_points()
    seen = []
    n = 2 * SPAN + 44
    run = fit("full", points, two_starts(labels), tol=0.0, max_iter=n, watch=seen.append)
    assert run.n_iter.tolist() == [n, n] and not run.converged.any() and not run.failed.any()
    assert [len(trace) for trace in run.history] == [n, n]
    assert [progress.n_iter[0] for progress in seen] == [SPAN, 2 * SPAN, n]
    short = fit("full", points, two_starts(labels), tol=0.0, max_iter=40)
    assert_close(run.history[0][:40], short.history[0])


def test_a_run_is_taken_up_where_it_stood():
    points, labels = some_points()
    data, config, objective = data_of(points), config_of("full"), objective_of("full")
    whole = fit("full", points, two_starts(labels), tol=0.0, max_iter=30)
    first = fit("full", points, two_starts(labels), tol=0.0, max_iter=12)
    rest = em.run(
        em.begin(first.state.mixture, first.objective), [data], objective, config, 0.0, 18
    )
    assert_close(rest.state.mixture, whole.state.mixture)
    converged = fit("full", points, two_starts(labels))
    again = em.run(
        em.begin(converged.state.mixture, converged.objective), [data], objective, config, 1e-8, 9
    )
    assert again.converged.all() and again.n_iter.tolist() == [1, 1]


def test_iterations_a_call_fit_half_a_second():
    size = partial(drive.iterations_a_call, K=K, form=config_of("full").form)
    assert size([data_of(some_points()[0])]) == SPAN
    counts = [size([Data(np.empty((D, 10**power)), None)]) for power in range(3, 9)]
    assert counts == sorted(counts, reverse=True) and counts[-1] == 1


# ---------------------------------------------------------------------------------------- forms


def tight():
    """Clusters ten thousand times smaller than the gaps between them."""
    points, labels = some_points()
    centres = np.array([[-1.0, 0.0], [1.0, 0.5], [0.0, -1.0]])[labels]
    return centres + 1e-4 * (points - centres), labels


@pytest.mark.parametrize("name", ["full", "diag"])
def test_tight_clusters_are_finished_in_the_exact_form(name):
    """It starts fast, stops where digits would be lost, and goes on: as if exact throughout."""
    points, labels = tight()
    starts, states = two_starts(labels), []
    starts[1] = starts[0]
    watch = lambda progress: states.append(progress.status)  # noqa: E731
    found = fit(name, points, starts, watch=watch)
    exact = fit(name, points, starts, form=exact_form(FAMILIES[name].axis_aligned))
    assert np.any([status == FAILED for status in states])  # the fast form gave up
    assert states[-1].tolist() == [CONVERGED, CONVERGED]
    assert kappa(of_run(found, 0)) > kappa_limit(np.float64)
    assert found.converged.all() and exact.converged.all()
    assert found.n_iter.tolist() == exact.n_iter.tolist()
    assert_close(found.history[0], exact.history[0], rtol=1e-8)
    scales = np.abs(exact.state.mixture.scales).max()
    assert_close(
        found.state.mixture.scales / scales, exact.state.mixture.scales / scales, atol=1e-6
    )
    assert_close(found.state.mixture[:2], exact.state.mixture[:2], rtol=1e-8)
    expected = plain_maximum(points, np.eye(K)[labels], name)
    gap = np.abs(matrices(of_run(found, 0)) - expected[2]).max()
    assert gap < 1e-9 * np.abs(expected[2]).max() or name == "diag" and gap < 1e-12


def test_round_clusters_stay_in_the_fast_form():
    points, labels = some_points()
    states = []
    watch = lambda progress: states.append(progress.status)  # noqa: E731
    fit("full", points, two_starts(labels), watch=watch)
    assert not np.any([status == FAILED for status in states])


def test_float32():
    """The same fit to single precision, and single precision throughout."""
    points, labels = some_points()
    points = points.astype(np.float32)
    double, starts = points.astype(np.float64), two_starts(labels)
    begin = fit("full", double, starts, max_iter=0).state.mixture
    expected = fit("full", double, starts, tol=1e-6)
    with float_scope("float32"):
        prior = flat_prior(FAMILIES["full"], K, D, np.float32)
        objective = em.Objective(prior, np.zeros(D, np.float32))
        single = jax.tree.map(np.float32, (begin, data_of(points)))
        run = em.run(em.begin(single[0]), [single[1]], objective, config_of("full"), 1e-6, 1000)
    assert {leaf.dtype for leaf in jax.tree.leaves(run.state.mixture)} == {np.dtype("float32")}
    assert run.converged.all()
    assert_close(run.objective, expected.objective, rtol=1e-4)


# ------------------------------------------------------------------------------------- invariance


def test_padded_with_an_absent_component():
    """A component without points changes nothing and stays without."""
    points, labels = some_points()
    starts, data, config = two_starts(labels), data_of(points), config_of("full")
    expected = fit("full", points, starts)
    objective = objective_of("full", n_components=K + 1)
    renamed = np.array([0, 2, 3])[starts]  # component 1 is absent
    begin = em.start_all([data], renamed, objective, config, K + 1)
    run = em.run(em.begin(begin), [data], objective, config, 1e-10, 1000)
    assert run.n_iter.tolist() == expected.n_iter.tolist()
    assert np.all(run.state.mixture.log_weights[:, 1] == -np.inf)
    assert all(np.isfinite(leaf).all() for leaf in run.state.mixture[1:])
    keep = np.array([0, 2, 3])
    found = jax.tree.map(lambda leaf: leaf[:, keep], run.state.mixture)
    assert_close(found, expected.state.mixture, rtol=1e-8)


def test_two_shards_are_one():
    """Swept by two threads and added: the same to 1e-12, iteration by iteration."""
    points, labels = some_points()
    starts, config, objective = two_starts(labels), config_of("full"), objective_of("full")
    shards = [data_of(points[:50], size=64), data_of(points[50:], size=64)]
    begin = em.start_all(shards, starts, objective, config, K)
    whole = fit("full", points, starts, max_iter=0).state.mixture
    assert_close(begin, whole, rtol=1e-12)
    seen = []
    run = em.run(em.begin(begin), shards, objective, config, 0.0, 12, watch=seen.append)
    expected = fit("full", points, starts, tol=0.0, max_iter=12)
    assert_close(run.history, expected.history, rtol=1e-12)
    assert_close(run.state.mixture, expected.state.mixture, rtol=1e-11, atol=1e-12)
    assert seen[-1].n_iter.tolist() == run.n_iter.tolist() == [12, 12]
    assert best(run) == best(expected)


# -------------------------------------------------------------------------------- informative prior


def proper_prior(family):
    groups = 1 if family.pooled else K
    components = NormalInverseWishart(
        np.full((K, D), 0.2),
        np.array([0.5, 1.0, 2.0]),
        np.linspace(6.0, 8.0, groups),
        np.stack([np.array([[2.0, 0.3], [0.3, 1.0]])] * groups),
    )
    return Hyperparameters(Dirichlet(np.array([2.0, 1.5, 3.0])), components)


def log_posterior(points, mixture, prior):
    """Up to a constant, by SciPy."""
    own, covariances = prior.components, matrices(mixture)
    total = special.logsumexp(plain_joint(points, mixture), axis=1).sum()
    total += stats.dirichlet.logpdf(np.exp(mixture.log_weights), prior.weights.concentration)
    for k in range(K):
        spread = covariances[k] / own.mean_precision[k]
        total += stats.multivariate_normal(own.mean[k], spread).logpdf(mixture.means[k])
    for dof, scale, covariance in zip(own.dof, own.scale, covariances, strict=False):
        total += stats.invwishart.logpdf(covariance, dof, scale)
    return total


@pytest.mark.parametrize("name", ["full", "tied", "VVE", "VEV"])
def test_under_a_proper_prior_the_posterior_density_never_falls(name):
    points, labels = some_points()
    config, prior = config_of(name), proper_prior(FAMILIES[name])
    objective, data = em.Objective(prior, np.zeros(D)), data_of(points)
    mixture = em.start_all([data], two_starts(labels), objective, config, K)
    path = []
    for _ in range(25):
        path.append(log_posterior(points, jax.tree.map(lambda leaf: leaf[1], mixture), prior))
        mixture = em.run(em.begin(mixture), [data], objective, config, 0.0, 1).state.mixture
    gains = np.diff(path)
    assert gains.min() > -1e-10 and gains.sum() > 1.0


# ------------------------------------------------------------------------------------ compilation


def test_other_sizes_and_options_compile_nothing(caplog):
    """N within its bucket, tolerance, iterations and ridge are not compiled in."""

    def compiled(work):
        caplog.clear()
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            work()
        return [r.message for r in caplog.records if r.message.startswith("Compiling")]

    def whole_fit(n, **options):
        points, labels = some_points(n=n)
        fit("full", points, two_starts(labels, seed=n), **options)

    whole_fit(90, tol=1e-3, max_iter=5)
    again = partial(whole_fit, 71, tol=1e-6, max_iter=60, ridge=1e-3)
    assert compiled(again) == []
    assert len(compiled(lambda: jax.jit(lambda x: x + 1)(1.0))) == 1  # it would have been seen


def test_no_batch_of_lapack():
    """Two of them that wait for each other in XLA's pool of two threads would wait for ever."""
    points = np.random.default_rng(0).normal(size=(64, 5))
    mixture = random_mixture(0, K, 5, "full")
    state = em.EMState(mixture, *np.zeros(5))
    objective = em.Objective(flat_prior(FAMILIES["full"], K, 5), np.zeros(5))
    step = jax.jit(partial(em.step, config=config_of("full")))
    program = step.lower(state, data_of(points), objective).compile().as_text()
    assert program.count('custom_call_target="lapack_') == 0
