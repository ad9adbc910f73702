"""Fits to points in pieces: the same as in memory, flat memory, errors with their place."""

import copy
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from bayesgmm import BayesianGaussianMixture, Chunks, GaussianMixture, MCMCGaussianMixture
from bayesgmm.estimators import pieces
from bayesgmm.io import rows as io_rows

N, D, K = 2500, 2, 3
RNG = np.random.default_rng(0)
CENTRES = np.array([[0.0, 0.0], [4.0, 1.0], [-2.0, 5.0]])
LABELS = RNG.integers(0, K, N)
X = 1e3 + [1.0, 50.0] * (CENTRES[LABELS] + RNG.normal(size=(N, D)))
WEIGHT = RNG.integers(0, 3, N) * 0.5
START = {
    "weights_init": np.full(K, 1 / K),
    "means_init": 1e3 + [1.0, 50.0] * (CENTRES + 0.8),
    "precisions_init": np.tile(np.diag([1.0, 1 / 2500]), (K, 1, 1)),
}
FITTED = ("weights_", "means_", "covariances_", "precisions_")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 256 rows, so that there are ten of them."""
    monkeypatch.setattr(io_rows, "LEAST_ROWS", 256)
    monkeypatch.setattr(io_rows, "MOST_ROWS", 256)


def memory_map(folder, rows=X):
    rows.tofile(folder / "x.dat")
    return np.memmap(folder / "x.dat", mode="r", dtype=rows.dtype, shape=rows.shape)


def parquet(folder, rows=X, **columns):
    (folder / "table").mkdir()
    table = pd.DataFrame(rows, columns=["x0", "x1"]).assign(**columns)
    for i, part in enumerate(np.array_split(np.arange(N), 3)):
        table.iloc[part].to_parquet(folder / "table" / f"part-{i}.parquet", row_group_size=300)
    return folder / "table"


SOURCES = {
    "memory map": memory_map,
    "parquet": parquet,
    "list": lambda folder: np.array_split(X, 7),
    "function": lambda folder: lambda: iter(np.array_split(X, 7)),
}


def assert_alike(a, b, rtol=1e-10):
    for name in FITTED:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol, err_msg=name)
    np.testing.assert_allclose(a.lower_bound_, b.lower_bound_, rtol)
    assert len(a.lower_bounds_) == len(b.lower_bounds_) == a.n_iter_ == b.n_iter_
    np.testing.assert_allclose(a.lower_bounds_, b.lower_bounds_, rtol)
    assert a.converged_ == b.converged_


# --- the same fit


@pytest.mark.parametrize("kind", SOURCES)
def test_em_is_that_in_memory(kind, tmp_path):
    source = SOURCES[kind](tmp_path)
    whole = GaussianMixture(K, **START).fit(X)
    model = GaussianMixture(K, **START).fit(source)
    assert_alike(whole, model)
    assert not hasattr(model, "labels_")
    np.testing.assert_array_equal(model.predict(source), whole.labels_)
    np.testing.assert_allclose(model.predict_proba(source), whole.predict_proba(X), atol=1e-10)
    np.testing.assert_allclose(model.score_samples(source), whole.score_samples(X), rtol=1e-10)
    for criterion in ("score", "bic", "aic", "icl"):
        found, wanted = (getattr(m, criterion)(x) for m, x in ((model, source), (whole, X)))
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


OPTIONS = {
    "tied": {"covariance_type": "tied", "precisions_init": START["precisions_init"][0]},
    "diag": {"covariance_type": "diag", "precisions_init": np.tile([1.0, 1 / 2500], (K, 1))},
    "common units": {"covariance_type": "VEV"},
    "plain EM": {"acceleration": None, "tol": 1e-6},
    "prior": {"prior": "data-scaled"},
}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(name, marks=() if name in ("tied", "prior") else pytest.mark.slow)
        for name in OPTIONS
    ],
)
def test_em_with_options_is_that_in_memory(options, tmp_path):
    options = START | OPTIONS[options]
    source = memory_map(tmp_path)
    whole, model = (GaussianMixture(K, **options).fit(x) for x in (X, source))
    assert_alike(whole, model, 1e-9)


def test_float32(tmp_path):
    single = X.astype(np.float32)
    model = GaussianMixture(K, **START).fit(memory_map(tmp_path, single))
    assert model.means_.dtype == np.float32
    whole = GaussianMixture(K, **START).fit(single)
    np.testing.assert_allclose(model.means_, whole.means_, rtol=1e-5)
    np.testing.assert_allclose(model.lower_bound_, whole.lower_bound_, rtol=1e-5)


def test_weights(tmp_path):
    """In memory; as an array beside the pieces; as a column of them; rows of weight 0 left out."""
    whole = GaussianMixture(K, **START).fit(X, sample_weight=WEIGHT)
    source = memory_map(tmp_path)
    assert_alike(whole, GaussianMixture(K, **START).fit(source, sample_weight=WEIGHT))
    assert_alike(whole, GaussianMixture(K, **START).fit(source, sample_weight=list(WEIGHT)))
    table = parquet(tmp_path, w=WEIGHT, name="text")
    model = GaussianMixture(K, **START)
    model.fit(table, sample_weight="w", columns=["x0", "x1"])
    assert_alike(whole, model)
    assert model.feature_names_in_.tolist() == ["x0", "x1"]
    np.testing.assert_array_equal(model.predict(table), whole.predict(X))
    wanted = whole.score(X, sample_weight=WEIGHT)
    np.testing.assert_allclose(model.score(table, sample_weight="w"), wanted, rtol=1e-10)


def variational(**options):
    return BayesianGaussianMixture(4, random_state=0, max_iter=60, tol=1.0, **options)


def test_vb_is_that_in_memory_from_the_same_start(tmp_path):
    """Every update and removal; the moves draw at random, and are tested for what they find."""
    first = variational(warm_start=True, moves=False).fit(X[:400])
    whole, model = (copy.deepcopy(first).fit(x) for x in (X, memory_map(tmp_path)))
    assert_alike(whole, model)
    np.testing.assert_allclose(model.elbo_, whole.elbo_, rtol=1e-12)
    np.testing.assert_allclose(model.covariance_prior_, whole.covariance_prior_, rtol=1e-10)
    np.testing.assert_allclose(model.score(parquet(tmp_path)), whole.score(X), rtol=1e-10)
    np.testing.assert_array_equal(model.predict([X[:900], X[900:]]), whole.labels_)


@pytest.mark.slow
def test_vb_finds_what_it_finds_in_memory():
    model = variational().fit(np.array_split(X, 7), sample_weight=np.full(N, 2.0))
    whole = variational().fit(X, sample_weight=np.full(N, 2.0))
    assert model.n_components_ == whole.n_components_ == K
    np.testing.assert_allclose(model.elbo_, whole.elbo_, atol=0.05)


def test_a_fit_begins_with_a_sample(monkeypatch):
    """The same maximum from a start of its own; every row has its part in it."""
    monkeypatch.setattr(pieces, "SAMPLED", 300)
    model = GaussianMixture(K, random_state=0, n_init=2).fit(np.array_split(X, 7))
    whole = GaussianMixture(K, **START).fit(X)
    np.testing.assert_allclose(np.sort(model.weights_), np.sort(whole.weights_), atol=1e-4)
    np.testing.assert_allclose(model.lower_bound_, whole.lower_bound_, atol=1e-6)


def test_the_start_depends_on_the_seed_and_not_on_the_pieces(monkeypatch, tmp_path):
    monkeypatch.setattr(pieces, "SAMPLED", 300)
    first, second, third = (
        GaussianMixture(K, random_state=seed, max_iter=0).fit(x)
        for seed, x in ((0, memory_map(tmp_path)), (0, np.array_split(X, 7)), (1, [X]))
    )
    np.testing.assert_array_equal(first.means_, second.means_)
    assert not np.allclose(first.means_, third.means_)


def test_some_parts_of_a_start_may_be_given():
    model = GaussianMixture(K, means_init=START["means_init"], random_state=0).fit([X])
    whole = GaussianMixture(K, **START).fit(X)
    np.testing.assert_allclose(model.means_, whole.means_, rtol=1e-5)


def test_goes_on_from_a_fit(tmp_path):
    model = GaussianMixture(K, warm_start=True, max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X)
        whole = copy.deepcopy(model).fit(X)
        assert_alike(whole, copy.deepcopy(model).fit(memory_map(tmp_path)))


def test_offset_and_units_cost_no_digits():
    """A mean 1e8 standard deviations away, in units of 1e-150."""
    far = 1e-150 * (1e8 + X[:, :1] - 1e3)
    found = pieces.survey(Chunks(np.array_split(far, 9)), None, True, np.random.RandomState(0))
    units = found.units("column")
    np.testing.assert_allclose(units.centre, far.mean(0), rtol=1e-15)
    np.testing.assert_allclose(units.scale, (far - far.mean(0)).std(0), rtol=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_first_pass(weight):
    """Number, mean and covariance: those of NumPy."""
    found = pieces.survey(Chunks([X]), weight, True, np.random.RandomState(0))
    kept = found.kept(relative=False)
    units = kept.units("column")
    wanted = np.cov(X.T, aweights=weight, ddof=0)
    np.testing.assert_allclose(units.centre, np.average(X, axis=0, weights=weight), rtol=1e-14)
    np.testing.assert_allclose(units.scale**2, np.diag(wanted), rtol=1e-12)
    total = N if weight is None else WEIGHT.sum()
    assert kept.total == total
    assert kept.shape == (N if weight is None else (WEIGHT > 0).sum(), D)
    np.testing.assert_allclose(
        kept.covariance(units) * np.outer(units.scale, units.scale),
        wanted * total / (total - 1),
        rtol=1e-11,
    )


# --- what goes wrong


def changing(*passes):
    """A source that gives other pieces in a later pass."""
    left = iter(passes)
    return lambda: iter(next(left))


def test_points_that_change_between_passes():
    begin = dict(START, max_iter=5)
    bad = X.copy()
    bad[1700, 1] = np.nan
    for later, message in (
        ([bad[:1000], bad[1000:]], r"NaN: chunk 1, row 700 of it \(row 1,700\), column 1"),
        ([X[:1000]], "X had 2,500 rows in the first pass, and now 1,000"),
        ([X, X], "X had 2,500 rows in the first pass, and now more than 2,500"),
        ([X[:, :1]], "chunk 0 has 1 features, and the first pass found 2"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussianMixture(K, **begin).fit(changing([X], [X], later))


@pytest.mark.parametrize("kind", [GaussianMixture, BayesianGaussianMixture])
def test_nan_in_chunk_17(kind):
    chunks = np.array_split(X, 20)
    chunks[17] = chunks[17].copy()
    chunks[17][3, 1] = np.nan
    row = sum(map(len, chunks[:17])) + 3
    message = rf"NaN: chunk 17, row 3 of it \(row {row:,}\), column 1"
    model = kind(2)
    with pytest.raises(ValueError, match=message):
        model.fit(chunks)
    assert not hasattr(model, "n_features_in_"), "stays as it was"
    model = GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [np.eye(2)])
    for ask in (model.predict, model.predict_proba, model.score_samples, model.score):
        with pytest.raises(ValueError, match=message):
            ask(chunks)


def test_an_interrupt_leaves_the_last_fit():
    def interrupted():
        yield X[:1000]
        raise KeyboardInterrupt

    model = GaussianMixture(K, **START).fit(X[:500])
    before = copy.deepcopy(model.__dict__)
    for source in (interrupted, changing([X], [X], [X], interrupted())):
        with pytest.raises(KeyboardInterrupt):
            model.fit(source)
        assert model.__dict__.keys() == before.keys()
        np.testing.assert_array_equal(model.means_, before["means_"])
        assert len(model.labels_) == 500
    assert model.fit([X]).converged_


def test_what_cannot_be_asked_of_pieces(tmp_path):
    source = memory_map(tmp_path)
    for call, message in (
        (lambda: GaussianMixture(K, init_params=LABELS).fit(source), "init_params must be a name"),
        (
            lambda: GaussianMixture(K, support_fraction=0.9).fit(source),
            "support_fraction is for points in memory",
        ),
        (
            lambda: MCMCGaussianMixture(2).fit([X]),
            r"MCMCGaussianMixture looks at all of them at once.*Chunks\(X\).sample",
        ),
        (lambda: GaussianMixture(K).partial_fit(lambda: [X]), "GaussianMixture looks at all"),
        (lambda: GaussianMixture(K).fit(iter([X])), "can be gone through once only"),
        (lambda: GaussianMixture(K).fit(X, columns=[0]), r"take them yourself: X\[columns\]"),
        (lambda: GaussianMixture(N + 1).fit([X]), "n_components = 2501, n_samples = 2500"),
        (lambda: GaussianMixture(1).fit([X[:1]]), "a minimum of 2 rows of weight above 0"),
        (
            lambda: GaussianMixture(1).fit([X], sample_weight=np.zeros(N)),
            "sample_weight must not be zero in every row",
        ),
        (
            lambda: GaussianMixture(1).fit([X], sample_weight=np.ones((N, 2))),
            r"one weight a row or the name of a column, got an array of shape \(2500, 2\)",
        ),
        (lambda: GaussianMixture(2).fit([X[:, :0]]), "chunk 0 has no columns"),
        (lambda: GaussianMixture(2).fit([X[:0]]), "X has no rows"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    model = GaussianMixture(K, **START).fit(source)
    with pytest.raises(ValueError, match="chunk 0 has 1 features, and GaussianMixture was fitted"):
        model.predict([X[:, :1]])


def test_columns_of_other_names():
    table = pd.DataFrame(X, columns=["a", "b"])
    model = GaussianMixture(K, **START).fit([table])
    assert model.feature_names_in_.tolist() == ["a", "b"]
    shuffled = table.assign(c=1.0)[["c", "b", "a"]]
    np.testing.assert_array_equal(model.predict([shuffled]), model.predict(table))
    with pytest.raises(ValueError, match="chunk 0 has no column 'b'"):
        model.predict([table[["a"]]])


def test_fit_predict_and_clone(tmp_path):
    source = memory_map(tmp_path)
    model = GaussianMixture(K, **START)
    np.testing.assert_array_equal(
        clone(model).fit_predict(source), GaussianMixture(K, **START).fit(X).labels_
    )


def test_verbose_shows_the_rows(capfd):
    GaussianMixture(K, **START, verbose=1, verbose_interval=1).fit([X])
    found = capfd.readouterr()
    assert "iteration 1" in found.out
    assert "/2.50k [" in found.err and "rows/s" in found.err


# --- memory and compilation


MEMORY = """
import resource, sys
import numpy as np
from bayesgmm import BayesianGaussianMixture, GaussianMixture
N, D, path = int(sys.argv[1]), 8, sys.argv[2]
X = np.memmap(path, mode="r", dtype=np.float64, shape=(N, D))
start = dict(weights_init=[.5, .5], means_init=X[:2], precisions_init=np.tile(np.eye(D), (2, 1, 1)))
model = GaussianMixture(2, max_iter=3, tol=0, acceleration=None, **start)
import warnings; warnings.simplefilter("ignore")
model.fit(X)
model.score(X)
sum(len(model.predict(X[a:a + N // 10])) for a in range(0, N, N // 10))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes")
def test_memory_is_flat(tmp_path):
    """Ten times as many rows, 58 MB more of them: less than 20 MB more memory."""
    np.tile(np.random.default_rng(0).normal(size=(100_000, 8)), (10, 1)).tofile(tmp_path / "x.dat")
    peak = []
    for n in (100_000, 1_000_000):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(n), str(tmp_path / "x.dat")],
            env={**os.environ, "MALLOC_ARENA_MAX": "2"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        peak.append(float(done.stdout))
    assert peak[1] - peak[0] < 20, peak
