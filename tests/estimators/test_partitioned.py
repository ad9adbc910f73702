"""Fits to collections of Dask: the same as in memory, whatever becomes of the workers."""

import copy
import os
import signal
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest

from bayesgmm import (
    BayesianGaussianMixture,
    Chunks,
    GaussianMixture,
    MCMCGaussianMixture,
    select_model,
)
from bayesgmm.estimators import partitioned, pieces, points
from bayesgmm.io import rows as io_rows
from bayesgmm.io import workers
from tests.conftest import slow
from tests.estimators.test_chunks import (
    START,
    WEIGHT,
    D,
    K,
    N,
    X,
    assert_alike,
    memory_map,
    parquet,
    variational,
)

cloudpickle = pytest.importorskip("cloudpickle")
dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

CUTS = (700, 1, 0, 1299, 500)
"""Rows of the partitions: very few, none, and more than a block."""

SHIFTED = (1, 700, *CUTS[2:])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of at most 256 rows, as in `test_chunks`: the same programs."""
    monkeypatch.setattr(io_rows, "LEAST_ROWS", 256)
    monkeypatch.setattr(io_rows, "MOST_ROWS", 256)


def array(rows=X, cuts=CUTS):
    return da.from_array(rows, chunks=(cuts, *rows.shape[1:]))


def frame(rows=X, cuts=CUTS, **columns):
    """A table whose numbers of rows nobody knows."""
    table = pd.DataFrame(rows, columns=["x0", "x1"]).assign(**columns)
    ends = np.cumsum(cuts)
    parts = [table.iloc[end - n : end] for n, end in zip(cuts, ends, strict=True)]
    return dd.from_map(lambda part: part, parts, meta=table.iloc[:0])


COLLECTIONS = {
    "array": lambda folder: array(),
    "array cut both ways": lambda folder: da.from_array(X, chunks=(600, 1)),
    "frame": lambda folder: frame(),
    "array of a frame": lambda folder: frame().values,
    "files": lambda folder: Chunks(parquet(folder), dask=True),
}


@pytest.fixture(scope="module")
def whole():
    return GaussianMixture(K, **START).fit(X)


@pytest.mark.parametrize("kind", COLLECTIONS)
def test_em_is_that_in_memory(kind, whole, tmp_path):
    source = COLLECTIONS[kind](tmp_path)
    model = GaussianMixture(K, **START).fit(source)
    assert_alike(whole, model)
    assert not hasattr(model, "labels_")
    for criterion in ("score", "bic", "icl"):
        found, wanted = (getattr(m, criterion)(x) for m, x in ((model, source), (whole, X)))
        np.testing.assert_allclose(found, wanted, rtol=1e-10)
    labels = model.predict(source)
    assert isinstance(labels, da.Array) and labels.ndim == 1 and labels.dtype == int
    np.testing.assert_array_equal(labels.compute(), whole.labels_)


def test_all_ways_to_give_the_points_are_alike(whole, tmp_path, monkeypatch):
    """Memory map, chunks, and shards; those of Dask are tested above."""
    for source in (memory_map(tmp_path), np.array_split(X, 7)):
        assert_alike(whole, GaussianMixture(K, **START).fit(source))
    monkeypatch.setattr(points, "THREAD_WORK", 1)
    monkeypatch.setattr(points.devices, "places", lambda: [None, None])
    assert_alike(whole, GaussianMixture(K, **START).fit(X))


def test_answers_are_lazy_arrays_in_the_chunks_of_the_points(whole):
    for source, sizes in ((array(), [n for n in CUTS if n]), (frame(), [np.nan] * len(CUTS))):
        densities, proba = whole.score_samples(source), whole.predict_proba(source)
        np.testing.assert_array_equal(densities.chunks[0], sizes)
        np.testing.assert_array_equal(proba.chunks[0], sizes)
        assert proba.shape[1] == K
        found = dask.compute(densities, proba)
        np.testing.assert_allclose(found[0], whole.score_samples(X), rtol=1e-10)
        np.testing.assert_allclose(found[1], whole.predict_proba(X), atol=1e-10)


def test_weights_and_columns(tmp_path):
    weighted = GaussianMixture(K, **START).fit(X, sample_weight=WEIGHT)
    beside = array(WEIGHT)
    model = GaussianMixture(K, **START).fit(array(), sample_weight=beside)
    assert_alike(weighted, model)
    score = weighted.score(X, sample_weight=WEIGHT)
    np.testing.assert_allclose(model.score(array(), sample_weight=beside), score, rtol=1e-10)
    table = frame(w=WEIGHT, name="text")
    model = GaussianMixture(K, **START).fit(table, sample_weight="w", columns=["x0", "x1"])
    assert_alike(weighted, model)
    assert model.feature_names_in_.tolist() == ["x0", "x1"]
    np.testing.assert_array_equal(model.predict(table), weighted.predict(X))
    np.testing.assert_allclose(model.score(table, sample_weight="w"), score, rtol=1e-10)
    files = Chunks(parquet(tmp_path, w=WEIGHT, name="text"), ["x0", "x1"], dask=True)
    assert_alike(weighted, GaussianMixture(K, **START).fit(files, sample_weight="w"))
    turned = GaussianMixture(1, random_state=0).fit(array(), columns=[1])
    np.testing.assert_allclose(turned.means_, [[X[:, 1].mean()]], rtol=1e-12)


def test_float32():
    single = X.astype(np.float32)
    model = GaussianMixture(K, **START).fit(array(single))
    assert model.means_.dtype == np.float32
    assert model.score_samples(array(single)).dtype == np.float32
    np.testing.assert_allclose(model.means_, GaussianMixture(K, **START).fit(single).means_, 1e-5)


def test_the_start_does_not_depend_on_the_cut(monkeypatch):
    """The rows that are drawn are those drawn from pieces: a fit from them is the same."""
    monkeypatch.setattr(pieces, "SAMPLED", 300)
    models = [
        GaussianMixture(K, random_state=0, n_init=2, tol=1e-3).fit(source)
        for source in ([X], array(), array(cuts=(N,)), frame())
    ]
    for model in models[1:]:
        assert_alike(models[0], model, 1e-9)
    first = pieces.survey(Chunks([X]), WEIGHT, True, np.random.RandomState(0))
    source, weight = Chunks(array()), array(WEIGHT)
    second = partitioned.survey(source, weight, True, np.random.RandomState(0))
    np.testing.assert_array_equal(first.drawn.X, second.drawn.X)
    np.testing.assert_array_equal(first.drawn.weight, second.drawn.weight)
    few = np.where(np.arange(N) % 50 == 0, 1.0, 0.0)  # so few that the first draw is too small
    found = partitioned.survey(source, array(few), True, np.random.RandomState(0))
    np.testing.assert_array_equal(found.drawn.X, X[::50])


def test_vb_is_that_in_memory_from_the_same_start():
    first = variational(warm_start=True, moves=False).fit(X[:400])
    found, model = (copy.deepcopy(first).fit(x) for x in (X, array()))
    assert_alike(found, model)
    np.testing.assert_allclose(model.elbo_, found.elbo_, rtol=1e-12)
    np.testing.assert_allclose(model.score(frame()), found.score(X), rtol=1e-10)


def test_a_table_of_models_is_that_of_pieces():
    """Criteria are summed in the workers; what looks at distances is of the rows that are drawn."""
    options = {"covariance_type": "EEE", "init_params": "cells", "n_init": 1, "tol": 1e-3}
    options |= {"random_state": 0, "progress_bar": False}
    found, here = (select_model(x, [1, 3], **options) for x in (array(), np.array_split(X, 3)))
    names = ["log_likelihood", "bic", "icl", "inertia", "silhouette"]
    np.testing.assert_allclose(found.table[names], here.table[names], rtol=1e-9)
    assert found.best_n_components_ == 3


def test_rows_may_be_drawn_for_what_needs_them_in_memory():
    drawn = Chunks(frame()).sample(50, random_state=0)
    assert list(drawn.columns) == ["x0", "x1"]
    np.testing.assert_array_equal(drawn, Chunks(X).sample(50, random_state=0))
    with pytest.raises(ValueError, match=r"looks at all of them at once.*Chunks\(X\).sample"):
        MCMCGaussianMixture(2).fit(array())


def test_size_of_blocks_is_one_for_all_partitions():
    """Little of the blocks is padding, and none is larger than a block may be."""
    for counts in (CUTS, [256] * 9, [257] * 9, [3]):
        size = partitioned.even_size(counts, D)
        padding = sum(-(-n // size) * size for n in counts) / sum(counts)
        assert size <= 256 and (padding < 1.4 or size == 32), counts


# --- what goes wrong


def broken(i, make):
    """A table of which number i is made by something else."""
    whole, ends = pd.DataFrame(X, columns=["x0", "x1"]), np.arange(0, N, 250)
    parts = [whole.iloc[a : a + 250] for a in ends]
    made = lambda j: make(parts[j].copy()) if j == i else parts[j]  # noqa: E731
    return dd.from_map(made, range(len(parts)), meta=whole.iloc[:0], enforce_metadata=False)


def with_nan(part):
    part.iloc[3, 1] = np.nan
    return part


def unreadable(part):
    raise OSError("the disk is gone")


def test_what_is_wrong_is_told_with_its_place(tmp_path, monkeypatch):
    model = GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [np.eye(2)])
    for make, message in (
        (with_nan, r"NaN: partition 7, row 3 of it \(row 1,753\), column 'x1'"),
        (lambda part: part[["x0"]], "partition 7 has no column 'x1'"),
        (unreadable, "partition 7 could not be read: OSError: the disk is gone"),
    ):
        estimator = GaussianMixture(2)
        with pytest.raises(ValueError, match=message):
            estimator.fit(broken(7, make))
        assert not hasattr(estimator, "n_features_in_"), "stays as it was"
    narrow = da.concatenate([array(), da.from_delayed(dask.delayed(X[:9, :1]), (9, D), float)])
    with pytest.raises(ValueError, match="partition 5 has 1 features, and the first partition wit"):
        GaussianMixture(2).fit(narrow)
    for ask in (model.score, lambda x: model.predict(x).compute()):
        with pytest.raises(ValueError, match="NaN: partition 7, row 3 of it"):
            ask(broken(7, with_nan))
    for call, message in (
        (lambda: GaussianMixture(2).fit(frame()[[]]), "has no columns"),
        (lambda: GaussianMixture(2).fit(array(X[:0], (0, 0))), "X has no rows: its 2 partitions"),
        (lambda: GaussianMixture(2).fit(frame(), columns=["y"]), "no column 'y'.*'x0', 'x1'"),
        (lambda: GaussianMixture(2).fit(array()[:, 0]), "a Dask Array of 1 dimension"),
        (lambda: GaussianMixture(2).fit(frame()["x0"]), "a Dask Series of 1 dimension"),
        (
            lambda: GaussianMixture(2).fit(array(), sample_weight=WEIGHT),
            r"must lie where the points do, in partitions of Dask; got ndarray.*rechunk",
        ),
        (
            lambda: GaussianMixture(2).fit(array(), sample_weight=da.ones(N, chunks=N)),
            "must have the 5 partitions of X, got 1",
        ),
        (
            lambda: GaussianMixture(2).fit(array(), sample_weight=array(WEIGHT, SHIFTED)),
            "it has 1, and partition 0 has more",
        ),
        (
            lambda: GaussianMixture(2).fit(Chunks(tmp_path / "a.npy", dask=True)),
            "dask=True has the workers .* got .*a.npy",
        ),
        (lambda: model.predict(array()[:, :1]).compute(), "partition . has 1 features, and Gauss"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_points_that_change_between_passes(monkeypatch):
    before = workers.total
    calls = []

    def shrinking(partitions, *rest):
        calls.append(1)
        if len(calls) > 4:
            partitions = [partitions[0]._replace(n_rows=701), *partitions[1:]]
        return before(partitions, *rest)

    monkeypatch.setattr(workers, "total", shrinking)
    with pytest.raises(ValueError, match="partition 0 had 701 rows in the first pass, and now 700"):
        GaussianMixture(K, **START).fit(array())


# --- a cluster


@pytest.fixture(scope="module")
def client(shared_programs):
    """Two processes on this machine; one for all tests, as they take seconds to start."""
    distributed = pytest.importorskip("distributed")
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        # where the workers are lost for good a test is to fail, not to wait
        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": 10,
                "distributed.scheduler.no-workers-timeout": "60s",
            }
        ),
    ):
        warnings.simplefilter("ignore")
        for name, value in shared_programs.items():
            patch.setenv(name, value)
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        )
        # the workers cannot import the tests: functions of this file travel as they are
        this = sys.modules[__name__]
        cloudpickle.register_pickle_by_value(this)
        with cluster, distributed.Client(cluster) as client:
            client.wait_for_workers(2, timeout=120)
            yield client
        cloudpickle.unregister_pickle_by_value(this)


def perishing(flag):
    """What a partition is made by, whose process dies over it, once, where there is such a file."""

    def once(block):  # a function within one travels as it is, too
        try:
            os.remove(flag)
        except FileNotFoundError:
            return block
        os.kill(os.getpid(), signal.SIGKILL)

    return once


@pytest.mark.parametrize("within", [True, slow(False)])
def test_a_worker_that_is_killed_changes_nothing(client, whole, monkeypatch, tmp_path, within):
    """Between two passes, or over a partition: these are made again elsewhere, and the answer is
    the same to the last bit."""
    flag = tmp_path / "armed"
    source = array().map_blocks(perishing(str(flag)), dtype=float) if within else array().persist()
    undisturbed = GaussianMixture(K, **START).fit(source)
    assert_alike(whole, undisturbed)
    original, passes = partitioned.WorkersFeed.sum_over, []

    def sum_over(feed, function):
        passes.append(1)
        if len(passes) == 3 and within:
            flag.touch()
        elif len(passes) == 3:
            process = client.run(os.getpid)
            os.kill(next(iter(process.values())), signal.SIGKILL)
        return original(feed, function)

    monkeypatch.setattr(partitioned.WorkersFeed, "sum_over", sum_over)
    model = GaussianMixture(K, **START).fit(source)
    assert len(passes) > 3 and not flag.exists()
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(undisturbed, name))
    np.testing.assert_array_equal(model.predict(source), whole.labels_)


def test_an_interrupt_cancels_the_tasks(client, monkeypatch):
    source = array().persist()
    model = GaussianMixture(K, **START).fit(X[:500])
    before = copy.deepcopy(model.__dict__)
    gather = client.gather

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "gather", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(source)
    monkeypatch.setattr(client, "gather", gather)
    np.testing.assert_array_equal(model.means_, before["means_"])
    for _ in range(100):  # they are let go in another thread
        left = [key for key in client.futures if key not in source.__dask_graph__()]
        if not left:
            break
        time.sleep(0.05)
    assert not left


@pytest.mark.slow
def test_vb_and_prediction_by_a_cluster(client):
    model = variational(moves=False, prune=False).fit(frame())
    here = variational(moves=False, prune=False).fit(np.array_split(X, 3))
    assert_alike(model, here)
    np.testing.assert_array_equal(model.predict(frame()).compute(), here.predict(X))


def test_what_is_wrong_in_a_worker_is_told(client):
    with pytest.raises(ValueError, match=r"NaN: partition 7, row 3 of it \(row 1,753\)"):
        BayesianGaussianMixture(2).fit(broken(7, with_nan))
    with pytest.raises(ValueError, match="partition 7 could not be read: OSError: the disk is go"):
        GaussianMixture(2).fit(broken(7, unreadable))
