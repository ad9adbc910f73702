"""Simulation-based calibration of the sampler under each kind of prior: figures and table.

    python benchmarks/calibration.py                  # those of docs/theory/calibration.md
    python benchmarks/calibration.py dp tied          # these alone

20 points a replicate in two features, hyperparameters those of points with mean 0 and standard
deviation 1. A figure of each case goes to docs/images/calibration_NAME.png, the table to standard
output.
"""

import sys
import time
from pathlib import Path

from bayesgmm import MCMCGaussianMixture, calibrate

REPLICATES = {"gibbs": 512, "nuts": 208}
STATED = dict(means=[0.0, 0.0], sds=[1.0, 1.0], n_points=20)
IMAGES = Path(__file__).parent.parent / "docs" / "images"

CONJUGATE = dict(component_prior="conjugate")
FEW = dict(n_components="mfm", n_components_prior=("uniform", 10))
CASES = {
    "finite": dict(n_components=3, **CONJUGATE),
    "dynamic": dict(**FEW, **CONJUGATE),
    "static": dict(**FEW, weight_prior="static", **CONJUGATE),
    "dp": dict(n_components="dp", **CONJUGATE),
    "py": dict(n_components="py", **CONJUGATE),
    "tied": dict(n_components=3, covariance_type="tied", **CONJUGATE),
    "diag": dict(n_components="dp", covariance_type="diag", **CONJUGATE),
    "spherical": dict(n_components=3, covariance_type="spherical", **CONJUGATE),
    "independent": dict(n_components=3, component_prior="independent"),
    "hierarchical": dict(n_components="dp", component_prior="hierarchical"),
    "nuts": dict(n_components=3, sampler="nuts", **CONJUGATE),
    "nuts-dp": dict(
        n_components="dp", sampler="nuts", component_prior="hierarchical", covariance_type="diag"
    ),
}


def main(names: list[str]) -> None:
    """The table, a row a case, and its figures."""
    print("| case | thin | least p-value | of | inside 95 % band | verdict | s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in names:
        begin = time.perf_counter()
        model = MCMCGaussianMixture(**CASES[name])
        number = REPLICATES[CASES[name].get("sampler", "gibbs")]
        found = calibrate(model, **STATED, n_replicates=number, random_state=0, progress_bar=False)
        took, table = time.perf_counter() - begin, found.table
        said = "uniform" if found.calibrated else "not uniform"
        print(
            f"| {name} | {found.thin} | {table['p_value'].min():.3f} | {table['p_value'].idxmin()} "
            f"| {int(table['inside'].sum())} of {len(table)} | {said} | {took:.0f} |",
            flush=True,
        )
        print(found, file=sys.stderr, flush=True)
        found.plot().savefig(IMAGES / f"calibration_{name}.png", dpi=80)


if __name__ == "__main__":
    main(sys.argv[1:] or list(CASES))
