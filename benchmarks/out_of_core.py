"""Fits to a memory map or Parquet beside fits in memory: rows a second, and peak memory.

python benchmarks/out_of_core.py            memory map and Parquet, 1e5, 1e6, 1e7 rows
python benchmarks/out_of_core.py --large    and 6.25e7 rows (5 GB), not in memory
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

D, K, PART = 10, 10, 100_000
PASSES = 2, 12


def make(folder: Path, n: int) -> None:
    """Files of n rows from ten clusters: x.dat, and a folder of Parquet files of 1e6 rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    centres = rng.normal(0, 3, (K, D))
    names, writer = [f"x{j}" for j in range(D)], None
    (folder / "table").mkdir()
    with open(folder / "x.dat", "wb") as file:
        for i in range(n // PART):
            rows = centres[rng.integers(0, K, PART)] + rng.normal(size=(PART, D))
            rows.tofile(file)
            if i % 10 == 0:
                writer = writer and writer.close()
                path = folder / "table" / f"part-{i // 10:03d}.parquet"
                writer = pq.ParquetWriter(path, pa.schema([(name, pa.float64()) for name in names]))
            writer.write_table(pa.table(list(rows.T), names=names))
    writer.close()


def measure(kind: str, folder: Path, n: int) -> dict:
    """Seconds of an iteration, of the first pass and start, and peak memory, in this process."""
    from bayesgmm import GaussianMixture

    warnings.simplefilter("ignore")
    rows = np.memmap(folder / "x.dat", mode="r", dtype=np.float64, shape=(n, D))
    source = {"memory": lambda: np.array(rows), "map": lambda: rows}
    source["parquet"] = lambda: folder / "table"
    X = source[kind]()
    options = {"tol": 0.0, "acceleration": None, "random_state": 0}
    options["weights_init"], options["means_init"] = np.full(K, 1 / K), np.array(rows[:K])
    options["precisions_init"] = np.tile(np.eye(D), (K, 1, 1))
    seconds, work = [], []
    for passes in (1, *PASSES):
        begin, began = time.perf_counter(), time.process_time()
        model = GaussianMixture(K, max_iter=passes, **options).fit(X)
        seconds.append(time.perf_counter() - begin)
        work.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begin = time.perf_counter()
    model.predict(X)
    predicted = time.perf_counter() - begin
    iteration = (seconds[2] - seconds[1]) / (PASSES[1] - PASSES[0])
    return {
        "iteration": iteration,
        "work": (work[2] - work[1]) / (PASSES[1] - PASSES[0]),
        "other": seconds[1] - PASSES[0] * iteration,
        "predict": predicted,
        "peak": peak,
    }


def main() -> None:
    """Print a line for each size and kind; each is a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--one", nargs=3)
    given = parser.parse_args()
    if given.one:
        kind, folder, n = given.one
        print(json.dumps(measure(kind, Path(folder), int(n))))
        return
    head = "rows", "from", "million rows a second", "of memory's rate", "by processor time"
    print("|", " | ".join([*head, "other s", "predict s", "peak MB of the fits"]), "|")
    print("|---" * 8 + "|")
    for n in [*given.rows, *([62_500_000] if given.large else [])]:
        with tempfile.TemporaryDirectory() as name:
            make(Path(name), n)
            kinds = ["memory", "map", "parquet"][n > 20_000_000 :]
            found: dict[str, list] = {kind: [] for kind in kinds}
            for _ in range(given.rounds):  # in turn: a machine is not always as fast
                for kind in kinds:
                    command = [sys.executable, __file__, "--one", kind, name, str(n)]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    found[kind].append(json.loads(done.stdout))
            best = {k: {q: min(r[q] for r in runs) for q in runs[0]} for k, runs in found.items()}
            for kind in kinds:
                own = best[kind]
                reference = best.get("memory", own)
                share, work = (reference[q] / own[q] for q in ("iteration", "work"))
                print(
                    f"| {n:,} | {kind} | {n / own['iteration'] / 1e6:.1f} | "
                    f"{share:.2f} | {work:.2f} | {own['other']:.2f} | "
                    f"{own['predict']:.2f} | {own['peak']:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
