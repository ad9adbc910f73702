"""Points in pieces: every kind of source gives the same rows; what is wrong is told by place."""

import os

import numpy as np
import pandas as pd
import pytest

from bayesgmm import Chunks
from bayesgmm.core import Standardizer
from bayesgmm.estimators.points import transform_columns
from bayesgmm.io.chunks import Layout, check_complete, in_pieces
from bayesgmm.io.rows import block_rows

N, D = 3000, 3
NAMES = ["x0", "x1", "x2"]
X = np.random.default_rng(0).normal(size=(N, D))
EDGES = [0, 7, 1024, 1025, 2900]


def parts(rows=X):
    return [rows[a:b] for a, b in zip(EDGES, [*EDGES[1:], len(rows)], strict=True)]


def frames(**columns):
    found = pd.DataFrame(X, columns=NAMES).assign(**columns)
    return [found.iloc[a:b] for a, b in zip(EDGES, [*EDGES[1:], N], strict=True)]


def memory_map(folder, values=X, mode="r"):
    path = folder / "x.dat"
    values.tofile(path)
    return np.memmap(path, mode=mode, dtype=values.dtype, shape=values.shape)


def parquet(folder, tables=None):
    folder = folder / "table"
    folder.mkdir()
    for i, table in enumerate(frames() if tables is None else tables):
        table.to_parquet(folder / f"part-{i}.parquet", row_group_size=500)
    return folder


def npy(folder):
    np.save(folder / "x.npy", X)
    return folder / "x.npy"


SOURCES = {
    "array": lambda folder: X,
    "fortran": lambda folder: np.asfortranarray(X),
    "memory map": memory_map,
    "npy": npy,
    "list": lambda folder: parts(),
    "tables": lambda folder: frames(),
    "function": lambda folder: lambda: iter(parts()),
    "function of a list": lambda folder: parts,
    "parquet": parquet,
    "parquet path": lambda folder: str(parquet(folder)),
    "parquet file": lambda folder: parquet(folder, [pd.concat(frames())]) / "part-0.parquet",
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_gives_the_same_rows_in_every_pass(kind, tmp_path):
    chunks = Chunks(SOURCES[kind](tmp_path))
    for size in (None, 1000, 999):
        blocks = list(chunks.blocks(size=size))
        sizes = [len(block.rows) for block in blocks]
        assert set(sizes[:-1]) <= {size} and sum(sizes) == N
        assert [block.first for block in blocks] == np.cumsum([0, *sizes[:-1]]).tolist()
        np.testing.assert_array_equal(np.concatenate([block.rows for block in blocks]), X)
    np.testing.assert_array_equal(np.concatenate(list(chunks)), X)


def test_pyarrow_dataset(tmp_path):
    found = pytest.importorskip("pyarrow.dataset").dataset(parquet(tmp_path), format="parquet")
    np.testing.assert_array_equal(np.concatenate(list(Chunks(found, ["x2"]))), X[:, [2]])


def test_memory_map_that_may_be_written_keeps_what_was_written(tmp_path):
    """Pages of a private copy are not let go: they are nowhere else."""
    for mode in ("c", "r+"):
        rows = memory_map(tmp_path, mode=mode)
        rows[:] = rows + 1
        chunks = Chunks(rows[5:])
        for _ in range(2):
            found = np.concatenate([block.rows for block in chunks.blocks(size=100)])
            np.testing.assert_array_equal(found, X[5:] + 1)


def test_a_function_may_fill_the_same_array_again():
    def source():
        buffer = np.empty((100, D))
        for begin in range(0, N, 100):
            buffer[:] = X[begin : begin + 100]
            yield buffer

    blocks = list(Chunks(source).blocks(size=100))
    np.testing.assert_array_equal(np.concatenate([block.rows for block in blocks]), X)


def test_names_stay_with_the_rows(tmp_path):
    """As in a draw at random: what a fit by names predicts for without a warning."""
    folder = parquet(tmp_path)
    found = pd.concat(Chunks(folder, ["x2", "x0"]))
    whole = pd.concat(frames(), ignore_index=True)[["x2", "x0"]]
    pd.testing.assert_frame_equal(found, whole)
    assert list(Chunks(folder, ["x2"]).sample(5, 0).columns) == ["x2"]


def test_dtypes():
    single = X.astype(np.float32)
    assert next(iter(Chunks(single))).dtype == np.float32
    assert next(iter(Chunks([single, X]).blocks(size=2 * N))).rows.dtype == np.float64
    assert next(iter(Chunks([(X * 9).astype(int)]))).dtype == np.float64
    assert (next(iter(Chunks([pd.DataFrame(single)]))).dtypes == np.float32).all()


def test_columns_of_a_file_are_not_copied_and_keep_their_dtype(tmp_path):
    """float32 stays so, whatever is not chosen; rows can be cut, and are an array when asked."""
    single = [frame.astype(np.float32).assign(other=1.5) for frame in frames()]
    folder = parquet(tmp_path, single)
    blocks = list(Chunks(folder, NAMES).blocks(size=700))
    wanted = X.astype(np.float32)
    for block in blocks:
        assert block.rows.dtype == np.float32
        own = wanted[block.first : block.first + len(block.rows)]
        np.testing.assert_array_equal(block.rows, own)
        np.testing.assert_array_equal(block.rows[5:640], own[5:640])
        np.testing.assert_array_equal(block.rows[own[:, 0] > 0], own[own[:, 0] > 0])
        units = Standardizer(np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.0, 7.0]))
        out = np.empty((D, len(own)), np.float32)
        transform_columns(block.rows, units, out)
        np.testing.assert_array_equal(out, units.transform(own, np.empty_like(out)))
    assert not blocks[0].rows.parts[0][0].flags.owndata, "Arrow's memory"
    assert (next(iter(Chunks(folder))).dtypes == np.float64).all()


def test_columns_and_weights(tmp_path):
    weight = np.arange(N) % 4 / 2
    for source in (frames(w=weight), parquet(tmp_path, frames(w=weight))):
        chunks = Chunks(source, ["x2", "x0"])
        for chosen in (chunks, Chunks(source)):
            blocks = list(chosen.blocks("w", size=700))
            found = np.concatenate([block.weight for block in blocks])
            np.testing.assert_array_equal(found, weight)
        rows = np.concatenate([block.rows for block in chunks.blocks("w")])
        np.testing.assert_array_equal(rows, X[:, [2, 0]])
    blocks = list(Chunks(X, [2, 0]).blocks(weight, size=700))
    np.testing.assert_array_equal(np.concatenate([block.rows for block in blocks]), X[:, [2, 0]])
    np.testing.assert_array_equal(np.concatenate([block.weight for block in blocks]), weight)


def test_names_that_are_known_choose_the_columns_of_a_table():
    known = Layout(("x1", "x2"), 2)
    found = np.concatenate([block.rows for block in Chunks(frames()).blocks(layout=known)])
    np.testing.assert_array_equal(found, X[:, 1:])


def test_sample():
    chunks = Chunks(frames())
    drawn = chunks.sample(200, random_state=1)
    assert list(drawn.columns) == NAMES and len(drawn) == 200
    rows = [np.flatnonzero((row == X).all(1)).item() for row in drawn.to_numpy()]
    assert rows == sorted(set(rows)), "without replacement, in order"
    np.testing.assert_array_equal(Chunks(parts()).sample(200, random_state=1), drawn)
    assert not np.array_equal(chunks.sample(200, random_state=2), drawn)
    np.testing.assert_array_equal(chunks.sample(5000), X)


def test_sample_is_uniform():
    """Means of 400 samples of 50 rows of 3,000: within four standard errors of those of all."""
    numbers = np.arange(N, dtype=float)[:, None]
    means = [Chunks(numbers).sample(50, random_state=s).mean() for s in range(400)]
    error = N / np.sqrt(12 * 50 * 400)
    assert abs(np.mean(means) - numbers.mean()) < 4 * error
    assert abs(np.std(means) / (N / np.sqrt(12 * 50)) - 1) < 0.2


def test_what_is_a_source(tmp_path):
    for source in (memory_map(tmp_path), "a/path", tmp_path, parts(), frames(), parts):
        assert isinstance(in_pieces(source), Chunks)
    chunks = Chunks(X)
    assert in_pieces(chunks) is chunks
    assert in_pieces(chunks, [0]).columns == [0]
    for array in (X, pd.DataFrame(X), X.tolist(), list(X), [[1.0], [2.0]], X[:, 0], None):
        assert in_pieces(array) is None


def broken(i, values):
    """Chunks of which number i is something else."""
    return [*parts()[:i], values, *parts()[i:]]


def with_nan(value=np.nan):
    rows = X.copy()
    rows[1027, 1] = value
    return rows


def failing():
    yield X[:10]
    raise OSError("the disk is gone")


WRONG = {
    "NaN in an array": (lambda: with_nan(), "contains NaN: row 1,027, column 1. Missing"),
    "NaN in a chunk": (
        lambda: parts(with_nan()),
        r"contains NaN: chunk 3, row 2 of it \(row 1,027\), column 1",
    ),
    "infinity": (lambda: with_nan(-np.inf), "contains infinity: row 1,027, column 1"),
    "columns change": (
        lambda: broken(2, X[:4, :2]),
        "chunk 2 has 2 features, and the chunks before it 3",
    ),
    "names change": (
        lambda: [*frames()[:1], frames()[1].rename(columns={"x1": "y"})],
        r"chunk 1 has the columns 'x0', 'y', 'x2', and the chunks before it 'x0', 'x1', 'x2'",
    ),
    "a chunk is no table": (lambda: broken(3, None), "chunk 3 must be an array or DataFrame"),
    "a chunk is flat": (lambda: broken(3, X[0]), r"chunk 3 must be .* ndarray of shape \(3,\)"),
    "a chunk is text": (lambda: broken(1, X[:5].astype(str)), "chunk 1 must hold numbers"),
    "a column is text": (
        lambda: frames(name="a"),
        "chunk 0: column 'name' holds no numbers .* columns=.*'x0', 'x1', 'x2'",
    ),
    "no rows": (lambda: [X[:0], X[:0]], "X has no rows: a list of arrays is empty"),
    "no chunks": (lambda: lambda: iter([]), "X has no rows: a function .* is empty"),
    "no columns": (lambda: [X[:, :0]], "chunk 0 has no columns"),
    "a chunk cannot be made": (
        lambda: failing,
        "chunk 1 could not be read: OSError: the disk is gone",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_told_with_its_place(wrong):
    make, message = WRONG[wrong]
    with pytest.raises(ValueError, match=message):
        list(Chunks(make()))


def test_wrong_files(tmp_path):
    with pytest.raises(ValueError, match="there is no file or folder 'nowhere'"):
        list(Chunks("nowhere"))
    folder = parquet(tmp_path)
    with pytest.raises(ValueError, match="no column 'x9'.*'x0', 'x1', 'x2'"):
        list(Chunks(folder, ["x9"]))
    table = tmp_path / "x.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"x.csv' could not be read as Parquet.*read_csv"):
        list(Chunks(table))
    (tmp_path / "x.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"x.npy' could not be read"):
        list(Chunks(tmp_path / "x.npy"))


def test_corrupt_file_of_many(tmp_path):
    folder = parquet(tmp_path)
    size = os.path.getsize(folder / "part-3.parquet")
    with open(folder / "part-3.parquet", "r+b") as file:
        file.seek(size // 3)
        file.write(b"\x00" * (size // 3))
    with pytest.raises(ValueError, match=r"part-3.parquet could not be read"):
        list(Chunks(folder))


def test_missing_value_in_a_file_of_many(tmp_path):
    tables = frames()
    tables[4] = tables[4].astype({"x2": "Float64"})
    tables[4].iloc[50, 2] = pd.NA
    with pytest.raises(
        ValueError, match=r"NaN: part-4.parquet, row 50 of it \(row 2,950\), column 'x2'"
    ):
        list(Chunks(parquet(tmp_path, tables)))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(N - 1), "it has 2,999, and X has more"),
        (np.ones(N + 1), "it has 3,001, and X has 3,000 rows"),
        (np.where(np.arange(N) == 1026, -1.0, 1.0), "at least 0; chunk 3, row 1 has -1.0"),
        ("w", "sample_weight='w' names a column, but chunk 0 is an array"),
    ],
)
def test_wrong_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        list(Chunks(parts()).blocks(weight))


def test_rows_must_be_the_same_in_every_pass():
    for n, message in ((2999, "now 2,999"), (2000, "now 2,000")):
        with pytest.raises(ValueError, match=f"X had 3,000 rows in the first pass, and {message}"):
            list(Chunks(X[:n]).blocks(layout=Layout(None, D, N)))
    with pytest.raises(ValueError, match="had 2,000 rows in the first pass, and now more than"):
        list(Chunks(parts()).blocks(layout=Layout(None, D, 2000)))


def test_wrong_sources_and_columns():
    with pytest.raises(
        ValueError, match="generator, which can be gone through once only.*function"
    ):
        Chunks(row for row in X)
    with pytest.raises(ValueError, match="X must be one of a path, .*; got int"):
        Chunks(3)
    with pytest.raises(ValueError, match=r"columns must name columns once each, got \['a', 'a'\]"):
        Chunks("path", ["a", "a"])
    with pytest.raises(ValueError, match="positions from 0 to 2, got 3"):
        list(Chunks(X, [3]))
    with pytest.raises(ValueError, match=r"columns are named twice: \[0\] by X, and now \[1\]"):
        in_pieces(Chunks(X, [0]), [1])
    with pytest.raises(ValueError, match=r"of a table in memory take them yourself: X\[columns\]"):
        in_pieces(X, [0])
    with pytest.raises(ValueError, match="n must be an integer of at least 1, got 0"):
        Chunks(X).sample(0)


def test_size_of_blocks():
    assert [block_rows(D) for D in (1, 4, 8, 10, 100, 10_000)] == [
        131072, 131072, 131072, 131072, 16384, 1024,
    ]  # fmt: skip


def test_check_complete_counts_the_rows():
    rows = X.copy()
    rows[[5, 9], 0] = np.nan
    (block,) = Chunks(rows).blocks()
    with pytest.raises(ValueError, match=r"row 5, column 0 \(2 such rows within 3,000\)"):
        check_complete(block)
