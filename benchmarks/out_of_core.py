"""Fits to a memory map, Parquet or by Dask beside fits in memory: rows a second, and peak memory.

python benchmarks/out_of_core.py                   1e5, 1e6 and 1e7 rows
python benchmarks/out_of_core.py --large           and 6.25e7 rows (5 GB of Parquet), not in memory
python benchmarks/out_of_core.py --kinds parquet dask --rows 1000000
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

D, K, PART = 10, 10, 100_000
KINDS = "memory", "map", "parquet", "dask"
LARGE = 62_500_000
KEEPING = {"MALLOC_TRIM_THRESHOLD_": 1 << 26, "MALLOC_MMAP_THRESHOLD_": 1 << 25}


def make(folder: Path, n: int, kinds: list) -> None:
    """Files of n rows from ten clusters: x.dat, and a folder of Parquet files of 1e6 rows.

    One large file is written where only Parquet is asked for.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    centres = rng.normal(0, 3, (K, D))
    names, writer = [f"x{j}" for j in range(D)], None
    (folder / "table").mkdir()
    with open(folder / "x.dat", "wb") as file:
        for i in range(n // PART):
            rows = centres[rng.integers(0, K, PART)] + rng.normal(size=(PART, D))
            if i == 0 or {"memory", "map"} & set(kinds):
                rows.tofile(file)
            if i == 0 or (i % 10 == 0 and kinds != ["parquet"]):
                writer = writer and writer.close()
                path = folder / "table" / f"part-{i // 10:03d}.parquet"
                writer = pq.ParquetWriter(path, pa.schema([(name, pa.float64()) for name in names]))
            writer.write_table(pa.table(list(rows.T), names=names))
    writer.close()


def peak() -> float:
    """Most memory that this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def meters(kind: str) -> Iterator[tuple]:
    """Functions that tell the processor seconds of all processes, and the peak memory of one."""
    if kind != "dask":
        yield time.process_time, peak
        return
    import dask
    from dask.distributed import Client, LocalCluster

    dask.config.set({"distributed.nanny.pre-spawn-environ": KEEPING})  # see docs/big_data.md
    here = {"host": "127.0.0.1", "dashboard_address": None}
    with LocalCluster(n_workers=2, threads_per_worker=1, **here) as cluster, Client(cluster) as own:
        yield (
            lambda: time.process_time() + sum(own.run(time.process_time).values()),
            lambda: max(peak(), *own.run(peak).values()),
        )


def measure(kind: str, folder: Path, n: int, most: int) -> dict:
    """Seconds of an iteration, of the first pass and start, and peak memory."""
    from bayesgmm import Chunks, GaussianMixture

    warnings.simplefilter("ignore")
    rows = np.fromfile(folder / "x.dat", count=K * D).reshape(K, D)
    if kind in ("memory", "map"):
        rows = np.memmap(folder / "x.dat", mode="r", dtype=np.float64, shape=(n, D))
    source = {"memory": lambda: np.array(rows), "map": lambda: rows}
    source["parquet"] = lambda: folder / "table"
    source["dask"] = lambda: Chunks(folder / "table", dask=True)
    X = source[kind]()
    options = {"tol": 0.0, "acceleration": None, "random_state": 0}
    options["weights_init"], options["means_init"] = np.full(K, 1 / K), np.array(rows[:K])
    options["precisions_init"] = np.tile(np.eye(D), (K, 1, 1))
    seconds, work = [], []
    with meters(kind) as (processor, memory):
        for passes in (1, 2, most):  # the first compiles
            begin, began = time.perf_counter(), processor()
            model = GaussianMixture(K, max_iter=passes, **options).fit(X)
            seconds.append(time.perf_counter() - begin)
            work.append(processor() - began)
        found = {"peak": memory()}
        begin = time.perf_counter()
        if n < LARGE:  # as many labels would be half a GB
            np.asarray(model.predict(X))
        found["predict"] = time.perf_counter() - begin
    found["iteration"] = (seconds[2] - seconds[1]) / (most - 2)
    found["work"] = (work[2] - work[1]) / (most - 2)
    found["other"] = seconds[1] - 2 * found["iteration"]
    return found


def main() -> None:
    """Print a line for each size and kind; each is a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--passes", type=int, default=12)
    parser.add_argument("--one", nargs=3)
    given = parser.parse_args()
    if given.one:
        kind, folder, n = given.one
        print(json.dumps(measure(kind, Path(folder), int(n), given.passes)))
        return
    head = "rows", "from", "million rows a second", "of memory's rate"
    tail = "processor s an iteration and million rows", "of memory's", "other s", "predict s"
    print("|", " | ".join([*head, *tail, "peak MB of the fits"]), "|")
    print("|---" * 9 + "|")
    for n in given.rows:
        table(n, list(given.kinds), given.rounds, given.passes)
    if given.large:
        table(LARGE, ["parquet"], 1, min(given.passes, 4))


def table(n: int, kinds: list, rounds: int, passes: int) -> None:
    """Print the lines of one size."""
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), n, kinds)
        found: dict[str, list] = {kind: [] for kind in kinds}
        for _ in range(rounds):  # in turn: a machine is not always as fast
            for kind in kinds:
                command = [sys.executable, __file__, "--one", kind, name, str(n)]
                command += ["--passes", str(passes)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found[kind].append(json.loads(done.stdout.splitlines()[-1]))
    best = {k: {q: min(r[q] for r in runs) for q in runs[0]} for k, runs in found.items()}
    for kind in kinds:
        own = best[kind]
        reference = best.get("memory", own)
        share, work = (reference[q] / own[q] for q in ("iteration", "work"))
        print(
            f"| {n:,} | {kind} | {n / own['iteration'] / 1e6:.1f} | {share:.2f} | "
            f"{own['work'] / n * 1e6:.3f} | {work:.2f} | {own['other']:.2f} | "
            f"{own['predict']:.2f} | {own['peak']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
