"""All commands but fit, and what they share with it: what they print and refuse.

One table of models is fitted, and one mixture saved, for all of the tests.
"""

import csv
import io
import json
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import bayesgmm
from bayesgmm import calibration, cli, datasets, report
from bayesgmm.calibration import Calibration
from bayesgmm.cli import main
from bayesgmm.commands import COMMANDS, reporting, select, words
from bayesgmm.core import FAMILIES
from bayesgmm.estimators import selection
from bayesgmm.text import WIDTH, small

CELLS = ["--components", "1:3", "--families", "E,V"]


class Said(NamedTuple):
    status: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)


def said(*arguments, stdin=None, monkeypatch=None):
    """What the command prints; `stdin` is what it reads."""
    out, err = io.StringIO(), io.StringIO()
    if stdin is not None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
    with redirect_stdout(out), redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return Said(status, out.getvalue(), err.getvalue())


def refused(*arguments):
    """The last line on stderr of a command that is refused."""
    found = said(*arguments)
    assert (found.status, found.out) == (2, "")
    return found.err.splitlines()[-1]


def table_of(text, title):
    """The rows of cells below the line that begins with this title, to the end of the paragraph."""
    lines = text.split("\n\n")
    paragraph = next(part for part in lines if part.startswith(title))
    return [line.split() for line in paragraph.splitlines()[1:]]


@pytest.fixture(scope="module")
def galaxies():
    return datasets.load_galaxies()[0]


# --- select ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    """Three numbers of components, two families: what is printed, and the folder."""
    folder = tmp_path_factory.mktemp("selected")
    save = ["--save", folder / "best.npz"]
    return said("select", "galaxies", *CELLS, "--output", folder, *save), folder


@pytest.fixture(scope="module")
def asked(galaxies):
    """The same in Python."""
    return bayesgmm.select_model(
        galaxies, range(1, 4), ["E", "V"], random_state=0, progress_bar=False
    )


def test_select_tells_what_select_model_finds(selected, asked):
    (status, out, err), _ = selected
    assert status == 0 and max(map(len, out.splitlines())) <= WIDTH
    assert out.startswith("galaxies: 82 points, 1 feature: velocity\n6 Gaussian mixtures fitted by")
    header, *best = table_of(out, "Best by BIC")
    assert " ".join(header) == "family components parameters log lik. BIC ICL probability"
    expected = asked.table[~asked.table["singular"]].sort_values("bic")
    cells = zip(expected["covariance_type"], expected["n_components"].map(str), strict=True)
    assert sorted((row[0], row[1]) for row in best) == sorted(cells)
    assert [row[4] for row in best] == [f"{bic:.2f}" for bic in expected["bic"]]
    _, *numbers = table_of(out, "Number of components")
    shares = asked.probabilities("n_components")
    assert [(row[0], row[-1]) for row in numbers] == [(str(K), small(p)) for K, p in shares.items()]
    assert "bayesgmm: fitting 1 to 3 components of 2 families to 82 rows" in err


def test_select_ends_with_a_command_that_fits_the_best(selected, asked, tmp_path):
    (_, out, _), _ = selected
    command = out.split("\n\n")[-1].splitlines()[-1].split()
    assert command[:3] == ["bayesgmm", "fit", "galaxies"]
    best = asked.best_estimator_
    options = ["--no-figures", "--quiet", "--output", tmp_path, "--json"]
    found = said(*command[1:], *options).json()
    np.testing.assert_allclose(found["bic"], asked.table["bic"].min(), rtol=1e-6)
    assert (found["n_components"], found["covariance_type"]) == (
        best.n_components,
        best.covariance_type,
    )


def test_select_writes_its_table_and_figure(selected, asked):
    (_, _, err), folder = selected
    written = pd.read_csv(folder / "table.csv")
    for column in ("n_components", "covariance_type", "singular"):
        assert written[column].tolist() == asked.table[column].tolist()
    np.testing.assert_allclose(written["bic"], asked.table["bic"], rtol=1e-12)
    assert plt.imread(folder / "selection.png")[..., :3].std() > 0.05
    assert "table.csv, selection.png" in err and "saved the mixture: bayesgmm predict" in err
    assert (
        bayesgmm.load(folder / "best.npz").means_.tolist() == asked.best_estimator_.means_.tolist()
    )


def test_select_as_json(asked):
    cells = ["--components", "1,2", "--families", "E"]
    extra = ["--bootstrap", "20", "--test", "9", "--json", "--quiet"]
    status, out, err = said("select", "galaxies", *cells, *extra)
    found, table = json.loads(out), asked.table.set_index(["covariance_type", "n_components"])
    assert status == 0 and err == ""
    expected = table.loc[[("E", 1), ("E", 2)], "bic"]
    np.testing.assert_allclose([row["bic"] for row in found["table"]], expected, rtol=1e-6)
    K = found["n_components"]
    assert K == 1 + int(np.argmin(expected)) and len(found["means"]) == K
    assert len(found["bootstrap"]) == 3 * K
    (test,) = found["likelihood_ratio_test"]
    assert test["n_components"] == K and 0.1 <= test["p_value"] <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--components", "0:3"],
            "--components: must be numbers of at least 1 and ranges, such as",
        ),
        (["--components", "5:3"], "1:9 or 2,4:6, got '5:3'"),
        (["--components", "1,x"], "got '1,x'"),
        (["--components", "100"], "--components = 100, rows = 82"),
        (["--families", "full,EEEE"], "--families must be one of 'full', 'tied'"),
        (["--families", "EII,,"], "--families: must be names of families with commas between"),
        (
            ["--criterion", "BIC"],
            "--criterion with --method='em' must be one of 'bic', 'aic', 'icl'",
        ),
        (["--ridge", "1e-3", "--prior", "data-scaled"], "--ridge has no part beside --prior"),
        (["--test", "9", "--prior", "data-scaled"], "--test has no part beside --prior"),
        (["--method", "vb", "--test", 9], "--test has no part in --method vb: it is of em."),
        (["--samples", 9], "--samples has no part in --method em: it is of mcmc."),
        (["--criterion", "held_out"], "needs folds: give --cv, as in --cv=5."),
        (["--save", "best.nc"], "--save: the file of a fit by em must end in .npz, got 'best.nc'"),
        (["--save", "gone/best.npz"], "--save: there is no folder 'gone'"),
        (["--output", __file__], "test_commands.py' is a file, not a folder."),
    ],
)
def test_select_refuses(arguments, message):
    assert message in refused("select", "galaxies", *arguments)


# --- predict --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A mixture of named features, and one of features without names."""
    folder = tmp_path_factory.mktemp("saved")
    X, _ = datasets.load_faithful()
    bayesgmm.GaussianMixture(2, random_state=0).fit(X).save(folder / "named.npz")
    bayesgmm.GaussianMixture(2, random_state=0).fit(X.to_numpy()).save(folder / "bare.npz")
    return folder


def predicted(text, index="row"):
    return pd.read_csv(io.StringIO(text), index_col=index)


def test_predict_finds_columns_by_name(saved, tmp_path):
    """In another order, among others, with the rows named by a column."""
    X, _ = datasets.load_faithful()
    model = bayesgmm.load(saved / "named.npz")
    days = [f"day {i}" for i in range(len(X))]
    moved = X[["waiting", "eruptions"]].assign(day=days, height=1.0)
    moved.to_csv(tmp_path / "new.csv", index=False)
    status, out, err = said("predict", saved / "named.npz", tmp_path / "new.csv", "--index", "day")
    found = predicted(out, "day")
    assert (status, err) == (0, "") and found.index.tolist() == days
    columns = ["label", "probability_0", "probability_1", "uncertainty", "entropy", "log_density"]
    assert found.columns.tolist() == columns
    np.testing.assert_array_equal(found["label"], model.predict(X))
    expected = [*model.predict_proba(X).T, *model.uncertainty(X).to_numpy().T]
    expected.append(model.score_samples(X))
    np.testing.assert_allclose(found[columns[1:]].to_numpy().T, expected, rtol=1e-12)


def test_predict_writes_a_file(saved, tmp_path):
    file = tmp_path / "found.csv"
    status, out, err = said("predict", saved / "named.npz", "faithful", "--output", file)
    assert (status, out) == (0, "") and err == f"bayesgmm: wrote 272 rows to {file}\n"
    assert predicted(file.read_text()).index.tolist() == list(range(272))


def test_predict_one_row_of_standard_input(saved, monkeypatch):
    row = "eruptions,waiting\n3.6,79\n"
    found = said("predict", saved / "bare.npz", "-", stdin=row, monkeypatch=monkeypatch)
    assert found.status == 0 and found.out.count("\n") == 2
    model = bayesgmm.load(saved / "bare.npz")
    expected = model.score_samples(np.array([[3.6, 79.0]]))
    assert predicted(found.out)["log_density"].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("model", "text", "message"),
    [
        (
            "named",
            "eruptions,wait\n1,2\n",
            "DATA lacks 'waiting', of the columns that MODEL was fi",
        ),
        ("named", "eruptions,waiting\n1,\n", "values are missing in 1 of 1 rows (the first is row"),
        ("named", "eruptions,waiting\n1,\n", "Missing values are not modelled: drop or impute the"),
        ("named", "eruptions,waiting\n1,x\n", "column 'waiting' does not hold numbers, but such v"),
        ("named", "eruptions,waiting\n", "DATA has no rows."),
        ("bare", "a,b,c\n1,2,3\n", "MODEL was fitted to 2 columns without names, and DATA has 3"),
        ("gone", "a\n1\n", "MODEL: There is no file"),
    ],
)
def test_predict_refuses(saved, tmp_path, model, text, message):
    (tmp_path / "t.csv").write_text(text)
    assert message in refused("predict", saved / f"{model}.npz", tmp_path / "t.csv")


def test_predict_refuses_what_is_no_model(tmp_path):
    (tmp_path / "m.npz").write_text("not a model")
    assert "was not written by save()" in refused("predict", tmp_path / "m.npz", "faithful")
    assert "MODEL: path must end in .npz" in refused("predict", __file__, "faithful")


# --- units and names of rows ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def standardised(tmp_path_factory):
    """Spherical components, whose clusters depend on the units; rows by the names in a column."""
    folder = tmp_path_factory.mktemp("standardised")
    X, _ = datasets.load_faithful()
    X.assign(day=[f"day {i}" for i in range(len(X))]).to_csv(folder / "days.csv", index=False)
    options = ["-k", 2, "--covariance", "EII", "--n-init", 2, "--no-figures", "--index", "day"]
    options += ["--standardize", "--save", folder / "m.npz", "--output", folder]
    return said("fit", folder / "days.csv", *options), folder


def test_standardised_columns_are_those_of_the_estimator(standardised):
    (status, out, _), folder = standardised
    X, _ = datasets.load_faithful()
    Z = (X - X.mean()) / X.std(ddof=0)
    model = bayesgmm.GaussianMixture(
        2, covariance_type="EII", n_init=2, reg_covar=("relative", 1e-6), random_state=0
    ).fit(Z)
    found = json.loads((folder / "parameters.json").read_text())
    np.testing.assert_allclose(found["means"], model.means_, rtol=1e-9)
    assert found["feature_names"] == ["z(eruptions)", "z(waiting)"]
    assert found["standardized"]["columns"] == ["eruptions", "waiting"]
    assert found["standardized"]["means"] == X.mean().tolist()
    assert status == 0 and "z(eruptions)" in out and max(map(len, out.splitlines())) <= WIDTH


def test_standardised_mixture_predicts_columns_as_they_are(standardised):
    """The saved mixture knows its units; handed the columns by name in Python it says so."""
    _, folder = standardised
    assigned = pd.read_csv(folder / "assignments.csv")
    found = predicted(
        said("predict", folder / "m.npz", folder / "days.csv", "--index", "day").out, "day"
    )
    assert found.index.tolist() == assigned["day"].tolist()
    for column in ("label", "probability_0", "uncertainty"):
        np.testing.assert_allclose(found[column], assigned[column], rtol=1e-12)
    with pytest.raises(ValueError, match="feature names"):
        bayesgmm.load(folder / "m.npz").predict(datasets.load_faithful()[0])


def test_rows_are_called_by_their_names(standardised):
    (_, out, _), _ = standardised
    paragraph = out.split("\n\n")[-1].splitlines()
    assert paragraph[1].split()[0] == "day" and paragraph[2].split()[0] == "day"
    assert re.match(r" +day \d+ +0\.\d{3} ", paragraph[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index", "dya"], "--index: there is no column 'dya'. The columns are 'day', 'x', 'y'."),
        (["--index", "dya"], "Did you mean 'day'?"),
        (["--index", "day"], "--index: column 'day' is empty in row 2."),
        (["--index", "x", "--columns", "x,y"], "--index: column 'x' is among the --columns, too."),
        (["--columns", "x,y", "--standardize"], "--standardize: column 'y' is the same in every r"),
    ],
)
def test_names_and_units_that_cannot_be(arguments, message, tmp_path):
    (tmp_path / "t.csv").write_text("day,x,y\na,1,5\nb,2,5\n,4,5\n")
    assert message in refused("fit", tmp_path / "t.csv", *arguments)


def test_names_that_come_twice_are_warned_of(tmp_path, monkeypatch):
    text = "id,x\na,1\nb,2\na,4\nc,9\n"
    options = ["-k", "1", "--index", "id", "--json", "--quiet"]
    found = said("fit", "-", *options, stdin=text, monkeypatch=monkeypatch)
    assert "warning: --index: several rows have the same name: a\n" in found.err
    assert found.json()["rows"] == ["a", "b", "a", "c"]


# --- standard input, JSON -------------------------------------------------------------------------


def test_json_of_standard_input(monkeypatch, tmp_path):
    """One object, and no file unless one is asked for."""
    monkeypatch.chdir(tmp_path)
    csv_of = said("datasets", "galaxies").out
    arguments = ["fit", "-", "-k", 2, "--n-init", 2, "--json"]
    found = said(*arguments, stdin=csv_of, monkeypatch=monkeypatch)
    numbers = found.json()
    assert numbers["data"] == "stdin" and numbers["rows"] == list(range(82))
    model = bayesgmm.GaussianMixture(2, n_init=2, reg_covar=("relative", 1e-6), random_state=0).fit(
        datasets.load_galaxies()[0]
    )
    assert numbers["means"] == model.means_.tolist()
    assert numbers["labels"] == model.labels_.tolist()
    assert found.err == "bayesgmm: fitting 82 rows, 1 feature\n" and not list(tmp_path.iterdir())


def test_standard_input_that_is_no_table(monkeypatch):
    found = said("fit", "-", stdin="", monkeypatch=monkeypatch)
    assert found.err == "bayesgmm: cannot read standard input: No columns to parse from file\n"


# --- datasets -------------------------------------------------------------------------------------


def test_datasets_are_listed_with_their_shapes():
    status, out, err = said("datasets")
    assert (status, err) == (0, "") and max(map(len, out.splitlines())) <= WIDTH
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line[0] != " "}
    assert rows.keys() == {"name", *datasets.DATASETS}
    assert rows["faithful"][1:3] == ["272", "2"] and rows["iris"][1:4] == ["150", "4", "3"]
    assert "Old Faithful" in " ".join(out.split())


def test_a_data_set_is_its_file():
    X, species = datasets.load_iris()
    out = said("datasets", "iris", "--labels").out
    found = pd.read_csv(io.StringIO(out))
    pd.testing.assert_frame_equal(found[X.columns], X)
    assert found["species"].tolist() == species.tolist()
    assert next(csv.reader([said("datasets", "iris").out.split("\n")[0]])) == list(X.columns)


def test_datasets_refuse():
    assert refused("datasets", "irs").endswith("Did you mean 'iris'?")
    assert refused("datasets", "faithful", "--labels").endswith(
        "no groups are known of 'faithful'."
    )
    assert "name it" in refused("datasets", "--labels")


# --- calibrate ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calibrated():
    """What a calibration of twenty replicates might find: one quantity of them is off."""
    rng = np.random.default_rng(0)
    names = ["n_clusters", "log_likelihood", "largest_cluster"]
    ranks = pd.DataFrame(rng.integers(0, 20, (20, 3)), columns=names).rename_axis("replicate")
    ranks["n_clusters"] = 0
    correlation = pd.Series([0.3, 0.01, -0.02], names)
    return Calibration(ranks, (ranks + 0.5) / 20, 19, 2, 200, correlation, 1e-3)


@pytest.fixture
def calls(calibrated, monkeypatch):
    """What the command asks `calibrate` for; the answer is that of Python."""
    made = []

    def calibrate(estimator, **options):
        made.append((estimator, options))
        return calibrated

    monkeypatch.setattr(calibration, "calibrate", calibrate)
    return made


def test_calibrate_tells_what_calibrate_finds(calls, calibrated, tmp_path):
    few, before = ["--replicates", 20, "--samples", 19, "--thin", 2], plt.get_fignums()
    given = ["calibrate", "--points", 8, "-k", 2, "--prior", "conjugate", *few]
    status, out, err = said(*given, "--output", tmp_path)
    ((estimator, options),) = calls
    assert (estimator.n_components, estimator.component_prior) == (2, "conjugate")
    asked = {"means": [0.0], "sds": [1.0], "n_points": 8, "n_replicates": 20, "n_samples": 19}
    asked |= {"thin": 2, "n_warmup": None, "random_state": 0, "progress_bar": False}
    assert options == asked
    assert status == 0 and max(map(len, out.splitlines())) <= WIDTH
    rows = {row[0]: row[1] for row in table_of(out, "Ranks of the truth")}
    found = calibrated.table["p_value"]
    assert all(rows[name] == small(p) for name, p in found.items())
    assert "not calibrated: the ranks of n_clusters are not uniform" in " ".join(out.split())
    assert out.endswith(
        "ranks other than uniform: raise --thin.\n\n"
        "1.0e-03 of the sweeps had no room for another component.\n"
    )
    assert "bayesgmm: sampling 20 posteriors of 8 points, 1 feature" in err
    assert plt.imread(tmp_path / "calibration.png")[..., :3].std() > 0.02
    assert plt.get_fignums() == before
    written = pd.read_csv(tmp_path / "table.csv")
    assert written["quantity"].tolist() == list(calibrated.table.index)


def test_calibrate_as_json_of_a_table(calls, calibrated, galaxies):
    numbers = said("calibrate", "galaxies", "--points", 20, "--json", "--quiet").json()
    ((estimator, options),) = calls
    assert estimator.n_components == "mfm" and options["n_points"] == 20
    pd.testing.assert_frame_equal(options["X"], galaxies)
    assert numbers["calibrated"] is calibrated.calibrated
    assert numbers["ranks"] == {name: ranks.tolist() for name, ranks in calibrated.ranks.items()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give DATA, or how many --points there are"),
        (["galaxies", "--features", 2], "--features has no part beside DATA"),
        (["--points", 9, "--columns", "a"], "--columns has no part without DATA"),
        (["--points", 1], "--points must be an integer of at least 2, got 1"),
        (["--points", 9, "--samples", 2], "--samples must be an integer of at least 4, got 2"),
        (["--points", 9, "--replicates", 1], "--replicates must be an integer of at least 2"),
        (["--points", 9, "--prior", "flat"], "--prior must be one of"),
    ],
)
def test_calibrate_refuses(arguments, message):
    assert message in refused("calibrate", *arguments)


# --- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_teaches(command, monkeypatch):
    """Within the width, with examples, each of which is a command that there is."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    status, out, err = said(command.name, "--help")
    assert (status, err) == (0, "") and max(map(len, out.splitlines())) <= WIDTH
    examples = re.findall(r"^  (?:.*\| )?bayesgmm (\w+ .*?)(?: >.*| \|.*)?$", out, flags=re.M)
    mine = [example for example in examples if example.startswith(command.name)]
    assert len(mine) >= 2
    for example in examples:
        assert cli._parser().parse_args(example.split()).command in COMMANDS
    assert "COMMAND" in said("--help").out and command.help in " ".join(said("--help").out.split())


def test_help_lists_what_options_take():
    for name in ("fit", "select"):
        words = set(re.findall(r"[\w-]+", said(name, "--help").out))
        assert words >= {*datasets.DATASETS, *FAMILIES}


def test_a_word_for_every_option(tmp_path):
    """No option without an explanation."""
    for command in COMMANDS:
        parser = cli._Parser()
        command.add(parser)
        assert all(action.help for action in parser._actions)
        assert not Path(command.name).exists()


def test_what_is_said_in_python_is_said_in_options():
    said = words.spoken(
        "raise thin, or go on with warm_start=True; n_components = 3, n_samples = 2"
    )
    assert said == "raise --thin, or take more --samples; --components = 3, rows = 2"
    assert words.spoken("raise thin (thin='auto' does)") == "raise --thin (--thin auto does)"
    assert words.spoken("raise cv or n_bootstrap", select.WORDS_OF_SELECT) == (
        "raise --cv or --bootstrap"
    )


def test_progress_is_shown_on_terminals(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert words.watched(quiet=False) and not words.watched(quiet=True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert not words.watched(quiet=False)


def test_select_by_variational_bayes():
    """More is better, and the best one is first."""
    cells = ["--components", "1,2", "--families", "spherical", "--method", "vb"]
    status, out, err = said("select", "galaxies", *cells)
    assert status == 0 and "fitted by variational Bayes\n" in out and "To fit" not in out
    header, *best = table_of(out, "Best by lower bound of the log evidence, nats: more is better")
    assert " ".join(header) == "family components clusters lower bound probability"
    assert float(best[0][3]) > float(best[1][3])
    asked = bayesgmm.select_model(
        datasets.load_galaxies()[0], [1, 2], "spherical", method="vb", random_state=0
    )
    assert best[0][3] == f"{asked.table['lower_bound'].max():.2f}"


def test_select_prints_what_was_asked_of_the_best(selected):
    """With the errors of the parameters, and the test, within the width."""
    cells = ["--components", "2", "--families", "E", "--bootstrap", "20", "--test", "9"]
    status, out, _ = said("select", "galaxies", *cells)
    assert status == 0 and max(map(len, out.splitlines())) <= WIDTH
    assert len(table_of(out, "Parameters of the best, 95 % intervals (20 replicates, ")) == 1 + 6
    row = table_of(out, "One component more than the best")[1]
    assert row[:3] == ["2", "against", "3"] and row[-1] == "9"


# --- report ---------------------------------------------------------------------------------------


@pytest.fixture
def page(monkeypatch):
    """What the command asks for, fits and report, of which none is made."""
    asked = {"fits": []}

    def selected(X, **options):
        asked["compared"] = options
        return "the table of models"

    def fitted(method, X, n_components, settings, note, progress_bar):
        asked["fits"].append((method, settings))
        return method, []

    def written(X, models, path, **options):
        asked.update(X=X, models=models, path=path, **options)

    monkeypatch.setattr(selection, "select_model", selected)
    monkeypatch.setattr(reporting, "fit_mixture", fitted)
    monkeypatch.setattr(report, "write_report", written)
    return asked


def test_report_has_all_methods_side_by_side(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"x": [1.0, 2.0, 4.0], "kind": ["a", "b", "c"]}).to_csv("t.csv", index=False)
    given = ["report", "t.csv", "--index", "kind", "--standardize", "--seed", "3", "--thin", "2"]
    status, out, err = said(*given, "--title", "A & B")
    assert (status, out) == (0, "") and err.endswith("bayesgmm: wrote bayesgmm-t.html\n")
    settings = {"random_state": 3}
    chains = settings | {"n_samples": None, "thin": 2}
    assert page["fits"] == [("vb", settings), ("mcmc", chains)]
    assert page["models"] == ["vb", "mcmc"]
    assert page["compared"] == {"random_state": 3, "progress_bar": False}
    assert page["selection"] == "the table of models"
    assert (page["title"], page["name"]) == ("A & B", "t")
    assert page["command"] == f"bayesgmm {' '.join(given)} --title 'A & B'"
    assert page["X"].columns.tolist() == ["z(x)"] and page["X"].index.tolist() == ["a", "b", "c"]
    assert any("standard deviation 1" in line for line in page["notes"])


def test_report_of_one_method_says_what_was_left_out(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"x": [1.0, 2.0, 4.0], "kind": ["a", "b", "c"]}).to_csv("t.csv", index=False)
    assert said("report", "t.csv", "--method", "em", "-o", "r.html", "--quiet") == (0, "", "")
    assert (page["fits"], page["models"], page["path"].name) == ([], [], "r.html")
    assert page["notes"] == ["left out, not numbers: kind"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "em,gibs"], "--method: must be of 'em', 'vb', 'mcmc', got 'gibs'"),
        (["--method", "em", "--samples", 9], "--samples and --thin are of --method mcmc, which is"),
        (["-o", "."], "--output: '.' is a folder, not a file."),
        (["-o", "gone/r.html"], "--output: there is no folder 'gone'."),
    ],
)
def test_report_refuses(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused("report", "faithful", *arguments)


@pytest.mark.slow
def test_report_is_a_page(tmp_path):
    """By the methods that are quick."""
    file = tmp_path / "r.html"
    status, out, _ = said("report", "galaxies", "--method", "em", "-o", file)
    text = file.read_text(encoding="utf-8")
    assert (status, out) == (0, "") and text.startswith("<!DOCTYPE html>")
    assert f"bayesgmm report galaxies --method em -o {file}" in text
