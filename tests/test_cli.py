"""The command line: what it prints, writes and refuses. Fits of one shape compile once, so the
runs here share theirs: iris with three components, and one feature of 82 rows."""

import gc
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bayesgmm import (
    BayesianGaussianMixture,
    GaussianMixture,
    __version__,
    datasets,
    fitting,
)
from bayesgmm.cli import main
from bayesgmm.commands import words
from bayesgmm.estimators import selection
from bayesgmm.text import LISTED, WIDTH, _rounded, _transposed, small

THREE = ["-k", "3", "--n-init", "2"]  # the shape that is compiled already


class Run(NamedTuple):
    status: int
    out: str
    err: str
    folder: Path

    def parameters(self):
        return json.loads((self.folder / "parameters.json").read_text(encoding="utf-8"))

    def assignments(self):
        """As Python reads the numbers: exactly, which pandas does not promise."""
        file = self.folder / "assignments.csv"
        rows = pd.read_csv(file, usecols=["row"])["row"]
        return pd.read_csv(file, dtype=str).drop(columns="row").map(float).set_index(rows)


def run(folder, *arguments):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([*map(str, arguments), "--output", str(folder)])
    return Run(status, out.getvalue(), err.getvalue(), folder)


def refused(*arguments):
    """The one line on stderr of a command that is refused."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    *notes, line, end = err.getvalue().split("\n")
    assert (status, out.getvalue(), end) == (2, "", "")
    assert all(re.match("bayesgmm: (fitting|left out)", note) for note in notes)
    assert line.startswith("bayesgmm: ")
    return line


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    return run(tmp_path_factory.mktemp("iris"), "fit", "iris", *THREE)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Iris as a file: an unnamed column of names, a text, row numbers and a constant besides."""
    X, species = datasets.load_iris()
    extra = {"species": species, "id": range(7, 157), "year": 1936}
    file = tmp_path_factory.mktemp("table") / "flowers.csv"
    X.assign(**extra).set_axis([f"flower-{i}" for i in range(150)]).to_csv(file)
    return file


# ---- what is printed ----------------------------------------------------------------------------


def test_report_names_the_fit(iris):
    found = iris.parameters()
    assert iris.status == 0
    assert iris.out.startswith("iris: 150 points, 4 features: sepal_length, sepal_width,")
    assert "Gaussian mixture of 3 components, full covariance, fitted by EM" in iris.out
    fitted = f"log likelihood {found['log_likelihood']:.3f}, BIC {found['bic']:.3f}, converged in "
    assert f"{fitted}{found['n_iter']} iterations" in iris.out


def test_variational_bayes(tmp_path, monkeypatch):
    """It finds the number of components, says its bound, and writes its own numbers.

    The evidence is not estimated here, which compiles for a minute: what is told of it is.
    """
    X, _ = datasets.load_galaxies()
    asked = []

    def evidence(model, points, n_draws):
        asked.append((len(points), n_draws))
        found = {"log_evidence": -234.5, "standard_error": 0.0123, "khat": 0.31, "n_draws": n_draws}
        model.evidence_ = pd.Series({"elbo": model.elbo_, **found}, dtype=object)

    monkeypatch.setattr(BayesianGaussianMixture, "evidence", evidence)
    found = run(tmp_path, "fit", "galaxies", "--method", "vb", "--max-iter", "300")
    model = BayesianGaussianMixture(reg_covar=("relative", 1e-6), max_iter=300, random_state=0)
    numbers, probabilities = found.parameters(), model.fit(X).predict_proba(X)
    assert found.status == 0 and numbers["estimator"] == "BayesianGaussianMixture"
    assert numbers["elbo"] == model.elbo_ and "bic" not in numbers
    assert numbers["means"] == model.means_.tolist()
    assert numbers["settings"]["weight_concentration_prior_type"] == "dirichlet_process"
    assert (numbers["settings"]["n_init"], numbers["settings"]["tol"]) == (1, 1e-3)
    words = f"{model.n_components_} components, full covariance, fitted by variational Bayes\n"
    assert words in found.out
    assert f"evidence lower bound {model.elbo_:.3f}, converged in" in found.out
    assert asked == [(82, 2000)] and numbers["evidence"]["khat"] == 0.31
    estimate = "log evidence -234.500 by importance sampling (standard error 0.012, 2000 draws;"
    assert f"{estimate} Pareto k-hat 0.31: reliable)" in " ".join(found.out.split())
    written = found.assignments().filter(regex=r"^probability_\d+$").to_numpy()
    np.testing.assert_array_equal(written, probabilities)
    said = refused("fit", "faithful", "--method", "vb", "--covariance", "VEV")
    assert "--covariance must be one of 'full'" in said
    assert "'em', 'vb'" in refused("fit", "faithful", "--method", "gibbs")


def test_markov_chain_monte_carlo(tmp_path):
    """The number of clusters with its probability, whether the chains agree, and their trace."""
    options = ("--samples", "100", "--chains", "2", "--thin", "2", "--warmup", "50")
    found = run(tmp_path, "fit", "galaxies", "--method", "mcmc", *options)
    numbers = found.parameters()
    assert found.status == 0 and numbers["estimator"] == "MCMCGaussianMixture"
    assert numbers["settings"]["n_samples"] == 100 and numbers["n_iter"] == 250
    rows = numbers["n_clusters_posterior"]
    assert 0.99 < sum(row["probability"] for row in rows) <= 1 and rows[0]["n_clusters"] >= 1
    assert {row["quantity"] for row in numbers["diagnostics"]} >= {"n_clusters", "log_likelihood"}
    assert "fitted by Markov chain Monte Carlo log predictive" in " ".join(found.out.split())
    assert "Number of clusters, its posterior probability\n" in found.out
    assert "Convergence of the chains\n" in found.out
    assert max(map(len, found.out.splitlines())) <= WIDTH
    assert found.folder.joinpath("trace.png").exists()
    assert not found.folder.joinpath("objective.png").exists()
    refusal = "--tol has no part in --method mcmc: it is of em and vb"
    assert refusal in refused("fit", "faithful", "--method", "mcmc", "--tol", "1")
    refusal = "--thin has no part in --method em: it is of mcmc"
    assert refusal in refused("fit", "faithful", "--thin", "2")
    assert "or auto, got 'some'" in refused("fit", "faithful", "--method", "mcmc", "--thin", "some")
    assert "--ridge is of the fit by --method em" in refused(
        "fit", "faithful", "--method", "mcmc", "--ridge", "1"
    )


def test_report_fits_a_terminal(iris):
    assert max(map(len, iris.out.splitlines())) <= WIDTH


def test_report_of_the_clusters(iris):
    """Sizes and uncertainties as assignments.csv has them, means and deviations as the model."""
    found, assigned = iris.parameters(), iris.assignments()
    rows = {line.split()[0]: line.split()[1:] for line in iris.out.splitlines() if line.strip()}
    assert rows["cluster"] == ["0", "1", "2"]
    assert rows["points"] == [str((assigned["label"] == k).sum()) for k in range(3)]
    assert rows["weight"] == [f"{weight:.3f}" for weight in found["weights"]]
    doubtful = assigned["uncertainty"] > 0.1
    assert rows["doubtful"] == [str((doubtful & (assigned["label"] == k)).sum()) for k in range(3)]
    means = np.array(rows["petal_length"], dtype=object).reshape(3, 3)  # mean, ±, deviation
    np.testing.assert_allclose(means[:, 0].astype(float), np.array(found["means"])[:, 2], atol=5e-3)
    variances = np.array(found["covariances"])[:, 2, 2]
    np.testing.assert_allclose(means[:, 2].astype(float) ** 2, variances, rtol=0.06)


def test_report_of_the_least_certain_points(iris):
    assigned = iris.assignments()
    least = assigned.nlargest(LISTED, "uncertainty")
    lines = iris.out.splitlines()[-LISTED:]
    assert [int(line.split()[0]) for line in lines] == least.index.tolist()
    first = re.findall(r"(\d) \((\d\.\d{3})\)", lines[0])
    probabilities = least.iloc[0][[f"probability_{k}" for k in range(3)]].to_numpy()
    best, second = np.argsort(-probabilities)[:2]
    assert first == [(str(k), f"{probabilities[k]:.3f}") for k in (best, second)]
    doubtful = (assigned["uncertainty"] > 0.1).sum()
    assert doubtful > 0 and f"({doubtful} of 150 doubtful)" in iris.out


def test_few_features_have_a_row_a_cluster(tmp_path):
    """The names of the features fit beside each other; the line about uncertainty is no row."""
    X, _ = datasets.load_galaxies()
    X.to_csv(tmp_path / "g.csv", index=False)
    done = run(tmp_path / "out", "fit", tmp_path / "g.csv", "-k", 2, "--n-init", 2, "--no-figures")
    header = "cluster  points  weight  velocity  uncertainty  doubtful".split()
    lines = done.out.splitlines()
    top = next(i for i, line in enumerate(lines) if line.split() == header)
    assert [line.split()[0] for line in lines[top + 1 : top + 3]] == ["0", "1"]
    sizes = done.assignments()["label"].value_counts()
    assert [int(line.split()[1]) for line in lines[top + 1 : top + 3]] == [sizes[0], sizes[1]]


def test_many_clusters_are_laid_out_in_blocks():
    columns = [["cluster", *map(str, range(20))]]
    columns += [[f"feature_{j}", *(f"{j}.{k} ± 0.1" for k in range(20))] for j in range(30)]
    lines = _transposed(columns)
    assert max(map(len, lines)) <= WIDTH
    blocks = "\n".join(lines).split("\n\n")
    assert len(blocks) > 1 and all(len(block.splitlines()) == 31 for block in blocks)
    cells = [cell for line in lines if line.startswith("  feature_29") for cell in line.split()]
    assert [cell for cell in cells if "." in cell and cell != "0.1"] == [
        f"29.{k}" for k in range(20)
    ]


def test_long_names_are_shortened():
    name = "a_feature_that_has_a_name_of_its_own_of_many_letters"
    lines = _transposed([["cluster", "0"], [name, "1.0 ± 0.1"]])
    assert lines[1].split()[0] == f"{name[:35]}…"


@pytest.mark.parametrize(
    ("mean", "deviation", "shown"),
    [
        (4.2897, 0.4123, ("4.29", "0.41")),
        (79.968, 6.004, ("80.0", "6.0")),
        (5076.0, 502.1, ("5076", "502")),
        (-0.0001, 0.31, ("0.00", "0.31")),
        (5.77e-9, 8.9e-10, ("5.77e-09", "8.9e-10")),
        (1.107e9, 1.04e8, ("1.11e+09", "1.0e+08")),
    ],
)
def test_mean_and_deviation_have_sensible_digits(mean, deviation, shown):
    assert _rounded(mean, deviation) == shown


@given(
    st.floats(-1e9, 1e9),
    st.floats(-9, 9).map(lambda exponent: 10**exponent),
)
def test_digits_say_the_value_to_a_twentieth_of_the_deviation(mean, deviation):
    shown = [float(text) for text in _rounded(mean, deviation)]
    assert abs(shown[0] - mean) <= 0.051 * deviation + 1e-15 * abs(mean)
    assert math.isclose(shown[1], deviation, rel_tol=0.051)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.000"), (1e-9, "<0.001"), (0.3301, "0.330"), (math.nan, "-")]
)
def test_small_numbers(value, shown):
    assert small(value) == shown


def test_characters_that_a_stream_lacks_do_not_stop_it():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    words.say("1 ± 2", stream)
    stream.seek(0)
    assert stream.read() == f"1 ? 2{os.linesep}"


# ---- what is written ----------------------------------------------------------------------------


def test_parameters_are_those_of_the_log_likelihood(iris):
    """By SciPy's normal densities; 44 parameters: 2 weights, 12 means, 30 (co)variances."""
    found, (X, _) = iris.parameters(), datasets.load_iris()
    normals = map(multivariate_normal, found["means"], found["covariances"])
    joint = np.stack([normal.logpdf(X) for normal in normals]) + np.log(found["weights"])[:, None]
    total = logsumexp(joint, axis=0).sum()
    np.testing.assert_allclose(found["log_likelihood"], total, rtol=1e-10)
    np.testing.assert_allclose(found["bic"], -2 * total + 44 * np.log(150), rtol=1e-10)


def test_parameters_load_as_a_mixture(iris):
    found, (X, _) = iris.parameters(), datasets.load_iris()
    model = GaussianMixture.from_parameters(
        found["weights"],
        found["means"],
        found["covariances"],
        covariance_type=found["covariance_type"],
        feature_names=found["feature_names"],
    )
    assigned = iris.assignments()
    written = assigned[[f"probability_{k}" for k in range(3)]]
    np.testing.assert_allclose(model.predict_proba(X), written, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), assigned["label"])
    np.testing.assert_allclose(model.bic(X), found["bic"], rtol=1e-10)


def test_parameters_equal_the_estimator(iris):
    """The same settings in Python give the numbers that were written, to the last digit."""
    found, (X, _) = iris.parameters(), datasets.load_iris()
    settings = {**found["settings"], "reg_covar": tuple(found["settings"]["reg_covar"])}
    model = GaussianMixture(found["n_components"], random_state=found["seed"], **settings).fit(X)
    assert model.means_.tolist() == found["means"]
    assert model.covariances_.tolist() == found["covariances"]
    assert (model.converged_, model.n_iter_) == (found["converged"], found["n_iter"])
    assigned = iris.assignments()
    written = assigned[[f"probability_{k}" for k in range(3)]].to_numpy()
    np.testing.assert_array_equal(model.predict_proba(X), written)
    assert found["version"] == __version__
    assert found["tried"] == []


def test_assignments_agree_with_themselves(iris):
    assigned = iris.assignments()
    probabilities = assigned[[f"probability_{k}" for k in range(3)]].to_numpy()
    assert assigned.index.tolist() == list(range(150))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(assigned["label"], probabilities.argmax(axis=1))
    np.testing.assert_allclose(
        assigned["uncertainty"], 1 - probabilities.max(axis=1), rtol=0, atol=1e-12
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(probabilities * np.log(probabilities), axis=1)
    np.testing.assert_allclose(assigned["entropy"], entropy, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("file", "inches"),
    [
        ("components.png", (5.0, 3.6)),
        ("uncertainty.png", (5.0, 4.4)),
        ("pairs.png", (7.2, 6.0)),
        ("objective.png", (5.0, 3.6)),
    ],
)
def test_figures(iris, file, inches):
    """At 150 dots an inch, with something on them."""
    pixels = plt.imread(iris.folder / file)
    assert pixels.shape[1::-1] == tuple(round(150 * inch) for inch in inches)
    assert pixels[..., :3].std() > 0.05


def test_what_was_written_is_said(iris):
    files = "parameters.json, assignments.csv, components.png, uncertainty.png, pairs.png"
    assert iris.err.splitlines() == [
        "bayesgmm: fitting 150 rows, 4 features",
        f"bayesgmm: wrote to {iris.folder}{os.sep}: {files}, objective.png",
    ]


def test_same_seed_same_files(iris, tmp_path):
    again = run(tmp_path, "fit", "iris", *THREE, "--no-figures")
    for file in ("parameters.json", "assignments.csv"):
        assert (again.folder / file).read_bytes() == (iris.folder / file).read_bytes()
    assert again.out == iris.out


def test_starts_and_priors_are_used_and_written(tmp_path):
    options = ["--start", "hierarchical", "--prior", "data-scaled", "--covariance", "VEV"]
    found = run(
        tmp_path, "fit", "iris", "-k", 3, "--n-init", 1, *options, "--no-figures"
    ).parameters()
    assert found["settings"]["init_params"] == "hierarchical"
    assert found["settings"]["prior"] == "data-scaled"
    X, _ = datasets.load_iris()
    own = dict(covariance_type="VEV", init_params="hierarchical", prior="data-scaled")
    model = GaussianMixture(3, random_state=0, **own).fit(X)
    np.testing.assert_allclose(found["means"], model.means_, rtol=1e-9)
    np.testing.assert_allclose(found["log_likelihood"], len(X) * model.score(X), rtol=1e-9)


def test_seed_is_used_and_written(iris, tmp_path):
    other = run(tmp_path, "fit", "iris", *THREE, "--no-figures", "--seed", 5).parameters()
    assert other["seed"] == 5
    assert other["means"] != iris.parameters()["means"]


def test_figures_of_an_earlier_run_are_removed(tmp_path):
    (tmp_path / "pairs.png").write_text("not of this fit")
    (tmp_path / "mine.png").write_text("nobody's business")
    run(tmp_path, "fit", "iris", *THREE, "--no-figures")
    assert (tmp_path / "pairs.png").exists()  # the folder was not ours: nothing is removed
    run(tmp_path, "fit", "iris", *THREE, "--no-figures")
    assert {file.name for file in tmp_path.iterdir()} == {
        "parameters.json",
        "assignments.csv",
        "mine.png",
    }


def test_folder_is_named_after_the_data(table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", str(table), *THREE, "--no-figures", "--quiet"]) == 0
    assert (tmp_path / "bayesgmm-flowers" / "parameters.json").is_file()
    assert capsys.readouterr().err == ""


def test_nothing_global_changes(tmp_path):
    before = (
        dict(mpl.rcParams),
        list(warnings.filters),
        warnings.showwarning,
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        plt.get_fignums(),
    )
    run(tmp_path, "fit", "iris", *THREE, "--max-iter", 1)
    after = (
        dict(mpl.rcParams),
        list(warnings.filters),
        warnings.showwarning,
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        plt.get_fignums(),
    )
    assert before == after


# ---- the table ----------------------------------------------------------------------------------


def test_columns_that_are_no_features_are_left_out(table, iris, tmp_path):
    """Of a file with a column of names, the same fit as of the bundled set."""
    done = run(tmp_path, "fit", table, *THREE, "--no-figures")
    assert done.err.splitlines()[:3] == [
        "bayesgmm: left out, not numbers: species",
        "bayesgmm: left out, counts the rows: id",
        "bayesgmm: left out, the same in every row: year",
    ]
    assert done.parameters()["feature_names"] == iris.parameters()["feature_names"]
    np.testing.assert_allclose(done.parameters()["means"], iris.parameters()["means"], rtol=1e-9)
    assert done.assignments().index.tolist() == [f"flower-{i}" for i in range(150)]


def test_columns_that_are_asked_for_are_used(table, tmp_path):
    names = ["petal_width", "id", "sepal_width", "petal_length"]
    done = run(tmp_path, "fit", table, *THREE, "--no-figures", "--columns", ", ".join(names))
    assert done.parameters()["feature_names"] == names
    assert "left out" not in done.err


def test_parquet(iris, tmp_path):
    pytest.importorskip("pyarrow")
    datasets.load_iris()[0].to_parquet(tmp_path / "iris.parquet")
    done = run(tmp_path / "out", "fit", tmp_path / "iris.parquet", *THREE, "--no-figures")
    assert done.parameters()["means"] == iris.parameters()["means"]


def test_tabs_between_columns(iris, tmp_path):
    datasets.load_iris()[0].to_csv(tmp_path / "iris.tsv", index=False, sep="\t")
    done = run(tmp_path / "out", "fit", tmp_path / "iris.tsv", *THREE, "--no-figures")
    assert done.parameters()["means"] == iris.parameters()["means"]


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "iris.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    line = refused("fit", tmp_path / "iris.parquet")
    assert "needs pyarrow" in line and "pip install 'bayesgmm[parquet]'" in line


def test_numbers_for_names_of_columns_are_warned_of(tmp_path):
    X, _ = datasets.load_iris()
    X.to_csv(tmp_path / "iris.csv", index=False, header=False)
    done = run(tmp_path / "out", "fit", tmp_path / "iris.csv", *THREE, "--no-figures", "--quiet")
    assert done.err.startswith("bayesgmm: warning: the columns are called 5.1, 3.5, 1.4, 0.2: ")
    assert done.err.count("\n") == 1


def test_missing_values_are_refused_by_place(tmp_path):
    X, _ = datasets.load_iris()
    X.loc[3, ["sepal_length", "petal_width"]] = np.nan
    X.loc[100:106, "petal_length"] = np.nan
    X.to_csv(tmp_path / "counted.csv", index=False)
    line = refused("fit", tmp_path / "counted.csv")
    assert "values are missing in 8 of 150 rows (the first is row 0): row 3 (sepal_length, " in line
    assert "petal_width); row 100 (petal_length); " in line
    assert "row 103 (petal_length) and 3 more. " in line and "--columns" in line
    X.set_axis([f"flower-{i}" for i in range(150)]).to_csv(tmp_path / "named.csv")
    line = refused("fit", tmp_path / "named.csv")
    assert "missing in 8 of 150 rows: row flower-3 (sepal_length, petal_width); " in line


def test_gaps_in_columns_that_are_not_used_do_not_matter(iris, tmp_path):
    X, _ = datasets.load_iris()
    X.assign(age=np.where(X.index == 3, np.nan, X.index)).to_csv(tmp_path / "t.csv", index=False)
    assert "missing in 1 of 150 rows (the first is row 0): row 3 (age)" in refused(
        "fit", tmp_path / "t.csv"
    )
    names = ",".join(X.columns)
    done = run(tmp_path, "fit", tmp_path / "t.csv", *THREE, "--columns", names, "--no-figures")
    assert done.parameters()["means"] == iris.parameters()["means"]


# ---- how many components ------------------------------------------------------------------------


@pytest.fixture
def up_to_two(monkeypatch):
    monkeypatch.setattr(fitting, "LARGEST_AUTO", 2)


def test_number_of_components_by_bic(up_to_two, tmp_path):
    """One component has its likelihood in closed form."""
    done = run(tmp_path, "fit", "galaxies", "--n-init", 2, "--no-figures")
    one, two = done.parameters()["tried"]
    velocity = datasets.load_galaxies()[0]["velocity"]
    likelihood = -41 * (np.log(2 * np.pi * velocity.var(ddof=0)) + 1)
    np.testing.assert_allclose(one["log_likelihood"], likelihood, rtol=1e-6)
    np.testing.assert_allclose(one["bic"], -2 * likelihood + 2 * np.log(82), rtol=1e-6)
    assert two["bic"] < one["bic"]
    assert done.parameters()["n_components"] == 2
    shown = [f"{trial['n_components']} {trial['bic']:.3f}" for trial in (one, two)]
    rows = [line.split() for line in done.out.splitlines()]
    assert [f"{row[0]} {row[2]}" for row in rows if len(row) in (3, 4)][1:3] == shown
    assert rows[next(i for i, row in enumerate(rows) if row[:1] == ["2"])][-1] == "kept"
    assert "BIC is smallest for the most components tried; for more than 2 use -k" in done.err


def test_a_spike_of_the_likelihood_is_no_cluster(up_to_two, tmp_path):
    """Two rows almost equal and far away: BIC would take them for a cluster, with no end to it."""
    values = [*np.linspace(-2, 2, 80), 9.0, 9.00001]
    pd.DataFrame({"x": values}).to_csv(tmp_path / "spike.csv", index=False)
    done = run(tmp_path / "o", "fit", tmp_path / "spike.csv", "--n-init", 2, "--no-figures")
    one, two = done.parameters()["tried"]
    assert two["bic"] < one["bic"] and two["verdict"] == "singular"
    assert done.parameters()["n_components"] == 1
    assert "singular: a component collapses, or holds no more than 2 points" in done.out
    assert "Least certain" not in done.out


@pytest.mark.parametrize(
    ("rows", "largest"), [(7, "1 component"), (12, "2 components"), (60, "6 components")]
)
def test_few_rows_bound_the_number_of_components(rows, largest, tmp_path, monkeypatch):
    """A full covariance in four features takes five points."""

    def refuse(X, numbers, *given, **options):
        assert len(numbers) == int(largest[0])
        raise ValueError("not today")

    monkeypatch.setattr(selection, "select_model", refuse)
    datasets.load_iris()[0].iloc[::2].head(rows).to_csv(tmp_path / "few.csv")
    done = run(tmp_path / "o", "fit", tmp_path / "few.csv")
    assert done.err.splitlines() == [
        f"bayesgmm: fitting {rows} rows, 4 features with 1 to {largest}",
        "bayesgmm: not today",
    ]


# ---- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: COMMAND (see 'bayesgmm --help')"),
        (["fix"], "invalid choice: 'fix'"),
        (["fit"], "required: DATA (see 'bayesgmm fit --help')"),
        (["fit", "faithfull"], "'faithfull' is neither a file nor a data set."),
        (["fit", "faithfull"], "Did you mean 'faithful'?"),
        (["fit", "gone.csv"], "'gone.csv' is neither a file nor a data set. The bundled data sets"),
        (["fit", "."], "'.' is a folder, not a file"),
        (["fit", "faithful", "-k", "0"], "an integer of at least 1 or auto, got '0'"),
        (
            ["fit", "faithful", "-k", "two"],
            "--components: must be an integer of at least 1",
        ),
        (["fit", "faithful", "-k", "300"], "--components = 300, rows = 272"),
        (["fit", "faithful", "--seed", "-1"], "--seed: must be an integer from 0 to 4294967295"),
        (["fit", "faithful", "--n-init", "0"], "--n-init: must be an integer of at least 1, got"),
        (["fit", "faithful", "--max-iter", "0"], "--max-iter: must be an integer of at least 1"),
        (["fit", "faithful", "--tol", "x"], "--tol: invalid float value: 'x'"),
        (["fit", "faithful", "--tol", "nan"], "--tol must be a finite number of at least 0, got n"),
        (["fit", "faithful", "--ridge", "-1"], "--ridge must be a finite number of at least 0"),
        (["fit", "faithful", "--covariance", "ful"], "--covariance must be one of 'full', 'tied'"),
        (["fit", "faithful", "--covariance", "ful"], "got 'ful'. Did you mean 'full'?"),
        (["fit", "faithful", "--start", "kmean"], "--start must be one of 'cells', 'kmeans'"),
        (["fit", "faithful", "--prior", "flat"], "--prior"),
        (
            ["fit", "faithful", "--method", "mcmc", "--quiet", "--prior", "flat"],
            "--prior must be one of",
        ),
        (["fit", "faithful", "--prior", "data-scaled", "--ridge", "1e-3"], "--ridge has no part"),
        (["fit", "faithful", "--covariance", "E"], "--covariance='E' is for one feature, got 2."),
        (["fit", "iris", "--columns", "petal_lenght"], "there is no column 'petal_lenght'. The"),
        (["fit", "iris", "--columns", "petal_lenght"], "Did you mean 'petal_length'?"),
        (["fit", "iris", "--columns", "a,,b"], "with commas between them, each once, got 'a,,b'"),
        (["fit", "iris", "--columns", "a,a"], "with commas between them, each once, got 'a,a'"),
        (["fit", "faithful", "--component", "2"], "unrecognized arguments: --component 2"),
        (["fit", "faithful", "--output", __file__], "test_cli.py' is a file, not a folder."),
    ],
)
def test_refused(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(*arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot read 't.csv': No columns to parse"),
        ("a,b\n", "DATA has no rows."),
        ("a,b\n1,2\n3,4,5,6\n7,8,9,10\n", "cannot read 't.csv': Error tokenizing data."),
        ("a,b\nx,y\nz,w\n", "DATA has no numeric columns to fit: 'a' (not numbers), 'b' (not "),
        ("a;b\n1;2\n3;5\n", "DATA has no numeric columns to fit: 'a;b' (not numbers)"),
        ("a\n1.5\n1.5\n", "DATA has no numeric columns to fit: 'a' (the same in every row)"),
        ("a,b\n1,2\n", "Found array with 1 row(s)"),
        ("a,b\n1,2\n0,3\n7,inf\n", "DATA contains infinity: row 2 column 'b' (1 of 3 rows)"),
        ("a,b\n1,2\n\udcff,3\n", "cannot read 't.csv': 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_refused_tables(text, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert said in refused("fit", "t.csv")


def test_a_file_of_nearly_that_name_is_suggested(table, monkeypatch):
    monkeypatch.chdir(table.parent)
    assert refused("fit", "flowrs.csv").endswith("Did you mean 'flowers.csv'?")


def test_a_column_of_text_cannot_be_asked_for(table):
    line = refused("fit", table, "--columns", "petal_width,species")
    assert line.endswith("column 'species' does not hold numbers, but such values as 'setosa'.")


def test_a_folder_that_cannot_be_made(table):
    folder = table / "below-a-file"
    line = refused("fit", "iris", *THREE, "--output", folder)
    assert f"cannot write to {str(folder)!r}: " in line


def test_no_convergence_is_one_line(tmp_path):
    done = run(tmp_path, "fit", "iris", *THREE, "--no-figures", "--max-iter", 2, "--quiet")
    assert done.status == 0 and done.err.count("\n") == 1
    assert done.err.startswith("bayesgmm: warning: Best performing initialization did not converge")
    assert "after 2 iterations" in done.err and "--max-iter=2, --tol=None" in done.err
    assert "NOT converged in 2 iterations" in done.out


def test_fits_that_end_early_are_named(up_to_two, tmp_path):
    done = run(tmp_path, "fit", "galaxies", "--n-init", 2, "--max-iter", 1, "--no-figures")
    best, other = [line for line in done.err.splitlines() if " warning: " in line]
    assert "The best cell (full, --components=2) has not converged" in best
    said = "fits with --components = 1 did not converge in --max-iter=1 iterations, so that their"
    assert said in other


def test_interrupt(monkeypatch, capsys):
    def interrupted(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(GaussianMixture, "fit", interrupted)
    assert main(["fit", "faithful", "-k", "2", "--quiet"]) == 130
    assert capsys.readouterr() == ("", "bayesgmm: interrupted\n")


def test_interrupt_within_the_garbage_collector(monkeypatch, capsys):
    """Where Python drops it, as it does whatever a callback raises; JAX has such a callback."""

    def interrupted(*given, **options):
        gc.callbacks.append(lambda phase, info: signal.raise_signal(signal.SIGINT))
        try:
            gc.collect()
        finally:
            gc.callbacks.pop()
        time.sleep(10)

    monkeypatch.setattr(GaussianMixture, "fit", interrupted)
    before = sys.unraisablehook
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
    try:
        assert main(["fit", "faithful", "-k", "2", "--quiet"]) == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert capsys.readouterr() == ("", "bayesgmm: interrupted\n")
    assert sys.unraisablehook is before


def test_a_reader_who_leaves_is_no_error(tmp_path, monkeypatch, capsys):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        arguments = ["fit", "iris", *THREE, "--no-figures", "--quiet", "--output", str(tmp_path)]
        assert main(arguments) == 1
    assert capsys.readouterr().err == ""
    assert (tmp_path / "assignments.csv").is_file()


def test_our_own_mistakes_are_not_hidden(monkeypatch):
    def broken(*given, **options):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(GaussianMixture, "fit", broken)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main(["fit", "faithful", "-k", "2", "--quiet"])


# ---- help, and the command itself ---------------------------------------------------------------


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr() == (f"bayesgmm {__version__}\n", "")


@pytest.mark.smoke
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["fit", "faithful", "-k", "x"]])
def test_nothing_heavy_is_loaded_to_parse(arguments):
    code = (
        "import sys\nfrom bayesgmm.cli import main\n"
        f"main({arguments!r})\n"
        "print({'jax', 'matplotlib', 'numpy', 'pandas', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_installed_command(tmp_path):
    """Without a display, into the folder it names after the data."""
    command = Path(sys.executable).with_name("bayesgmm")
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = subprocess.run(
        [command, "fit", "galaxies", "-k", "2", "--n-init", "2"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("galaxies: 82 points, 1 feature: velocity\n")
    assert {file.name for file in (tmp_path / "bayesgmm-galaxies").iterdir()} == {
        "parameters.json",
        "assignments.csv",
        "components.png",
        "uncertainty.png",
        "objective.png",
    }
