"""Peak memory of a fit beside its data, in multiples of the data: a process for each program.

python benchmarks/em_memory.py
"""

import subprocess
import sys
import threading
import time
import warnings
from importlib import import_module

import numpy as np

N, D, K = 4_000_000, 10, 10
PROGRAMS = {"bayesgmm": "bayesgmm", "scikit-learn": "sklearn.mixture"}


def resident() -> int:
    """Resident bytes of this process (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def measure(program: str) -> float:
    """Peak of a fit above what the process held before, over the size of the data."""
    warnings.simplefilter("ignore")
    make = import_module(PROGRAMS[program]).GaussianMixture
    rng = np.random.default_rng(0)
    options = {"max_iter": 3, "tol": 0.0, "init_params": "random_from_data", "random_state": 0}
    make(K, **options).fit(rng.normal(size=(10_000, D)))
    X = rng.normal(size=(N, D))
    before, peak, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], resident())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    make(K, **options).fit(X)
    done.set()
    watcher.join()
    return (peak[0] - before) / X.nbytes


def main() -> None:
    """Print a line for each."""
    if len(sys.argv) > 1:
        print(f"{sys.argv[1]:15s} {measure(sys.argv[1]):.2f} times the data")
        return
    for program in PROGRAMS:
        subprocess.run([sys.executable, __file__, program], check=True)


if __name__ == "__main__":
    main()
