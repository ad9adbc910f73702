"""What is shipped and how it imports: the installed package, seen from outside the checkout."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from importlib import import_module, metadata, resources
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import make_blobs

import bayesgmm
import bayesgmm.core

ROOT = Path(__file__).parents[1]
PACKAGE = resources.files("bayesgmm")

# Loaded when first used, and not before.
HEAVY = ["numpyro", "arviz_base", "arviz_stats", "arviz_plots", "xarray", "matplotlib", "dask"]
# These too, but scikit-learn may load them by itself (sklearn.base 1.9 does, if they are there).
MAYBE = ["pandas", "pyarrow", "scipy.stats"]


def loaded_after(statement, folder):
    """Which of the heavy modules a fresh interpreter has after a statement run in `folder`."""
    names = f"{HEAVY + MAYBE!r}"
    code = f"import sys\n{statement}\nprint([name for name in {names} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(ast.literal_eval(done.stdout))


def project():
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"]


def estimators():
    objects = {name: getattr(bayesgmm, name) for name in bayesgmm.__all__}
    return [
        name
        for name, object_ in objects.items()
        if inspect.isclass(object_) and issubclass(object_, BaseEstimator)
    ]


# --- importing


def test_import_is_light(tmp_path):
    """With every estimator class at hand, nothing is loaded but what scikit-learn loads itself."""
    classes = f"import bayesgmm; [getattr(bayesgmm, name) for name in {estimators()!r}]"
    by_sklearn = loaded_after("import sklearn.base, sklearn.cluster", tmp_path)
    assert by_sklearn <= set(MAYBE)
    assert loaded_after(classes, tmp_path) <= by_sklearn


def test_import_leaves_jax_configured_as_it_was(tmp_path):
    code = "import jax\nbefore = dict(jax.config.values)\nimport bayesgmm\n"
    loaded_after(code + "assert dict(jax.config.values) == before", tmp_path)


@pytest.mark.smoke
@pytest.mark.parametrize("module", ["bayesgmm", "bayesgmm.core"])
def test_public_names_exist_and_are_listed(module):
    found = import_module(module)
    assert len(set(found.__all__)) == len(found.__all__)
    assert all(getattr(found, name) is not None for name in found.__all__)
    assert set(found.__all__) <= set(dir(found))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NoSuchMixture"):
        _ = bayesgmm.NoSuchMixture


@pytest.mark.smoke
def test_arviz_is_the_one_its_names_promise():
    """ArviZ 0.8 and 1.x: the names that the package relies on are in both."""
    base, stats, plots = map(import_module, ["arviz_base", "arviz_stats", "arviz_plots"])
    draws = np.random.default_rng(0).normal(size=(4, 200))
    tree = base.from_dict({"posterior": {"mu": draws}})
    assert 0.99 < float(stats.rhat(tree)["mu"]) < 1.05
    assert callable(plots.plot_trace)


# --- what is shipped


def test_typed_marker_is_shipped():
    assert (PACKAGE / "py.typed").is_file()


def test_every_data_file_is_shipped():
    ours = {path.name: path.read_bytes() for path in (ROOT / "bayesgmm" / "data").glob("*.csv")}
    shipped = {path.name: path.read_bytes() for path in (PACKAGE / "data").iterdir()}
    assert len(ours) >= 8
    assert {name: shipped.get(name) for name in ours} == ours


def test_version_has_one_source():
    version = project()["version"]
    assert metadata.version("bayesgmm") == version
    assert bayesgmm.__version__ == version
    headings = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    assert headings[:2] == ["Unreleased", version]


def test_python_versions_agree():
    low = project()["requires-python"].removeprefix(">=")
    named = [
        classifier.rpartition(" ")[2]
        for classifier in project()["classifiers"]
        if re.search(r":: 3\.\d+$", classifier)
    ]
    assert named[0] == low
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert running in named or sys.version_info[:2] > tuple(map(int, named[-1].split(".")))


def test_command_is_installed_where_python_is():
    (entry,) = metadata.entry_points(group="console_scripts", name="bayesgmm")
    assert callable(entry.load())


# --- one fit of each class


@pytest.mark.smoke
@pytest.mark.parametrize("name", estimators())
def test_each_estimator_fits(name):
    X, truth = make_blobs(n_samples=90, centers=[[-8, 0], [8, 0]], random_state=0)
    model = getattr(bayesgmm, name)(n_components=2, random_state=0)
    if hasattr(model, "moves"):  # which most of the time would go to
        model.set_params(moves=False)
    model.fit(X)
    assert model.predict(X).shape == (90,)
    same = model.predict(X) == truth
    assert same.all() or not same.any()
    density = np.exp(model.score_samples(X))
    assert np.all(np.isfinite(density) & (density > 0))
