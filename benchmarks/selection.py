"""select_model against mclust: agreement cell by cell, and seconds cold and compiled.

    python benchmarks/selection.py [galaxies faithful iris diabetes thyroid]

Cold is a new process without a cache of compiled programs, from its first import; compiled is the
second call in it. The bar of a cell is the larger BIC of mclust's two fits (default tolerance, and
1e-12), in tests/reference/mclust_bic.json, which has none of the thyroid data.
"""

import json
import subprocess
import sys
import time

BEGAN = time.perf_counter()
NAMES = ("galaxies", "faithful", "iris", "diabetes", "thyroid")


def one(name: str) -> str:
    """A row of the table, measured in this process."""
    from pathlib import Path

    import numpy as np

    from bayesgmm import datasets, select_model

    folder = Path(__file__).parents[1] / "tests" / "reference"
    if name in ("iris", "faithful", "thyroid"):
        X = getattr(datasets, f"load_{name}")()[0].to_numpy()
    else:
        X = np.array(json.loads((folder / f"mclust_{name}.json").read_text())["x"])
    found = select_model(X, random_state=0, progress_bar=False)
    cold, began = time.perf_counter() - BEGAN, time.perf_counter()
    found = select_model(X, random_state=0, progress_bar=False)
    compiled = time.perf_counter() - began
    ours = found.table.set_index(["covariance_type", "n_components"])["bic"]
    bars = json.loads((folder / "mclust_bic.json").read_text()).get(name, {})
    bars = {(f, K): -b for f, row in bars.items() for K, b in enumerate(row, 1) if b is not None}
    worse = [cell for cell, bar in bars.items() if not ours[cell] <= bar + 1e-6 * abs(bar)]
    best = f"{found.best_covariance_type_},{found.best_n_components_}"
    least = found.table.loc[~found.table["singular"], "bic"].min()
    told = f"cells {len(bars):4}  worse {worse}  mclust {-min(bars.values()):.3f}" if bars else ""
    return (
        f"{name:10} cold {cold:6.1f} s  compiled {compiled:6.2f} s  "
        f"best {best} ({-least:.3f})  {told}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(one(sys.argv[2]))
    else:
        for data in sys.argv[1:] or NAMES:
            subprocess.run([sys.executable, __file__, "--one", data], check=True)
