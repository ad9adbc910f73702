import csv
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesgmm import datasets
from bayesgmm.datasets import DATASETS, load

# N, D and the number of members of each class, as the publications and repositories state them.
FACTS = {
    "acidity": (155, 1, None),
    "banknote": (200, 6, {"genuine": 100, "counterfeit": 100}),
    "breast_cancer": (569, 30, {"malignant": 212, "benign": 357}),
    "diabetes": (145, 3, {"normal": 76, "chemical": 36, "overt": 33}),
    "faithful": (272, 2, None),
    "galaxies": (82, 1, None),
    "iris": (150, 4, {"setosa": 50, "versicolor": 50, "virginica": 50}),
    "overlap": (1000, 2, {0: 248, 1: 266, 2: 314, 3: 172}),
    "penguins": (342, 4, {"Adelie": 151, "Chinstrap": 68, "Gentoo": 123}),
    "thyroid": (215, 5, {"normal": 150, "hyper": 35, "hypo": 30}),
    "wine": (178, 13, {"class_0": 59, "class_1": 71, "class_2": 48}),
}

# Class means as published or of another copy, to the digits given.
CLASS_MEANS = {
    # Flury and Riedwyl (1988)
    ("banknote", "genuine"): [214.97, 129.94, 129.72, 8.31, 10.17, 141.52],
    ("banknote", "counterfeit"): [214.82, 130.30, 130.19, 10.53, 11.13, 139.45],
    # Fisher (1936), Table 2
    ("iris", "setosa"): [5.006, 3.428, 1.462, 0.246],
    ("iris", "versicolor"): [5.936, 2.770, 4.260, 1.326],
    ("iris", "virginica"): [6.588, 2.974, 5.552, 2.026],
    # the copy in R's heplots; with mclust's slip in row 104 chemical has 482.6 in the middle
    ("diabetes", "normal"): [91.2, 350.0, 172.6],
    ("diabetes", "chemical"): [99.3, 493.9, 288.0],
    ("diabetes", "overt"): [217.7, 1043.8, 106.0],
}


def test_every_loader_is_tested_and_public():
    assert set(DATASETS) == set(FACTS)
    loaders = {name for name in vars(datasets) if name.startswith("load_")}
    assert loaders == {f"load_{name}" for name in DATASETS}
    assert set(datasets.__all__) == loaders | {"load", "DATASETS"}


@pytest.mark.parametrize("name", FACTS)
def test_shapes_types_and_class_sizes(name):
    N, D, sizes = FACTS[name]
    X, labels = load(name)
    assert isinstance(X, pd.DataFrame)
    assert X.shape == (N, D)
    assert (X.dtypes == np.float64).all()
    assert np.isfinite(X.to_numpy()).all()
    assert X.columns.is_unique
    assert all(column.isidentifier() for column in X.columns)
    if sizes is None:
        assert labels is None
        return
    assert isinstance(labels.dtype, pd.CategoricalDtype)
    assert labels.value_counts().to_dict() == sizes
    assert labels.index.equals(X.index)
    assert labels.name not in X.columns


@pytest.mark.parametrize(("name", "group"), CLASS_MEANS)
def test_class_means_are_the_published_ones(name, group):
    X, labels = load(name)
    published = CLASS_MEANS[name, group]
    digits = 1 if name == "diabetes" else 2 if name == "banknote" else 3
    half_a_unit = 0.5 * 10.0**-digits + 1e-9
    np.testing.assert_allclose(X[labels == group].mean(), published, rtol=0, atol=half_a_unit)


@pytest.mark.parametrize("name", sorted(datasets._BUNDLED))
def test_values_are_the_doubles_nearest_to_the_decimals_in_the_file(name):
    X, _ = load(name)
    with Path(datasets.__file__).with_name("data").joinpath(f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    exact = [[float(row[column]) for column in X.columns] for row in rows]
    np.testing.assert_array_equal(X, exact)


def test_galaxies_are_corrected_and_otherwise_those_of_mass():
    velocity = datasets.load_galaxies()[0]["velocity"]
    assert velocity[77] == 26.960
    # the mean of the MASS copy, 20828.17 km/s, moved by the correction of one value of 82
    assert velocity.mean() == pytest.approx(20.82817 + (26.960 - 26.690) / 82, abs=1e-5)
    # Richardson and Green (1997): midpoint 21.73, range 25.11
    assert round((velocity.max() + velocity.min()) / 2, 2) == 21.73
    assert round(velocity.max() - velocity.min(), 2) == 25.11


def test_acidity_has_the_published_start_and_range():
    acidity = datasets.load_acidity()[0]["acidity"]
    assert acidity[:5].round(2).tolist() == [2.93, 3.91, 3.73, 3.69, 3.82]
    # Richardson and Green (1997): midpoint 5.02, range 4.18
    assert round((acidity.max() + acidity.min()) / 2, 2) == 5.02
    assert round(acidity.max() - acidity.min(), 2) == 4.18


def test_faithful_has_the_published_moments():
    X, _ = datasets.load_faithful()
    np.testing.assert_allclose(X.mean(), [3.487783, 70.89706], atol=5e-6)
    np.testing.assert_allclose(X.std(), [1.141371, 13.59497], atol=5e-6)


def test_diabetes_is_not_that_of_scikit_learn_and_has_row_104_right():
    X, labels = datasets.load_diabetes()
    assert X.loc[103].to_dict() == {
        "fasting_glucose": 75,
        "glucose_area": 455,
        "insulin_area": 392,
    }
    assert labels[103] == "chemical"
    assert "sklearn.datasets.load_diabetes" in datasets.load_diabetes.__doc__


def test_thyroid_starts_as_the_file_of_the_repository():
    X, labels = datasets.load_thyroid()
    assert X.loc[0].tolist() == [107, 10.1, 2.2, 0.9, 2.7]
    assert labels[0] == "normal"


def test_penguins_have_the_published_means():
    X, species = datasets.load_penguins()
    means = X.groupby(species, observed=True).mean()
    np.testing.assert_allclose(means["flipper_length_mm"], [189.95, 195.82, 217.19], atol=5e-3)
    np.testing.assert_allclose(means["body_mass_g"], [3700.66, 3733.09, 5076.02], atol=5e-3)


def test_overlap_has_a_bayes_error_of_about_a_third():
    from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

    X, component = datasets.load_overlap()
    rule = QuadraticDiscriminantAnalysis().fit(X, component)
    # four standard errors of a share of 0.36 among 1000 points
    assert 1 - rule.score(X, component) == pytest.approx(0.36, abs=0.06)
    assert component.cat.categories.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_category_codes_are_the_targets_of_scikit_learn(name):
    import sklearn.datasets

    X, labels = load(name)
    data, target = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    np.testing.assert_array_equal(X, data)
    np.testing.assert_array_equal(labels.cat.codes, target)


def test_columns_are_easy_to_type():
    assert list(datasets.load_iris()[0]) == [
        "sepal_length",
        "sepal_width",
        "petal_length",
        "petal_width",
    ]
    assert "od280_od315_of_diluted_wines" in datasets.load_wine()[0]


@pytest.mark.parametrize("name", FACTS)
def test_altering_what_was_returned_does_not_alter_the_next(name):
    X, labels = load(name)
    before = X.copy(deep=True)
    X.iloc[:, :] = -1.0
    if labels is not None:
        first = labels.iloc[0]
        labels.iloc[0] = labels.iloc[-1]
        assert load(name)[1].iloc[0] == first
    pd.testing.assert_frame_equal(load(name)[0], before)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("irsi", "iris"), ("Faithful", "faithful"), ("breast-cancer", "breast_cancer")],
)
def test_a_misspelt_name_is_answered_with_the_nearest(name, meant):
    with pytest.raises(ValueError) as caught:
        load(name)
    message = str(caught.value)
    assert message.startswith("name must be one of 'acidity', 'banknote', ")
    assert message.endswith(f"; got {name!r}. Did you mean {meant!r}?")
    assert all(repr(known) in message for known in DATASETS)


@pytest.mark.parametrize("name", ["qqqq", "", 3, None, ["iris", "wine"]])
def test_an_unknown_name_is_refused_without_a_guess(name):
    with pytest.raises(ValueError, match="name must be one of") as caught:
        load(name)
    assert str(caught.value).endswith(f"got {name!r}.")


@pytest.mark.parametrize("name", FACTS)
def test_docstrings_state_source_licence_and_shape(name):
    N, D, _ = FACTS[name]
    text = DATASETS[name].__doc__
    for part in ("Source:", "Licence:", f"DataFrame [{N}, {D}]", "Examples"):
        assert part in text


LIGHT_AND_ZIPPED = """
import sys
from bayesgmm import datasets
assert not {"pandas", "sklearn", "numpy"} & set(sys.modules), "importing datasets must be light"
assert ".zip" in datasets.__file__
print(*(datasets._bundled(name)[0].shape[0] for name in sorted(datasets._BUNDLED)))
"""


def test_import_is_light_and_files_are_read_from_a_zipped_package(tmp_path):
    """No path on disk exists for the files here, so only importlib.resources can find them."""
    source = Path(datasets.__file__)
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("bayesgmm/__init__.py", "")
        for module in ("datasets.py", "messages.py"):
            file.write(source.with_name(module), f"bayesgmm/{module}")
        for table in source.with_name("data").glob("*.csv"):
            file.write(table, f"bayesgmm/data/{table.name}")
    code = f"import sys; sys.path.insert(0, {str(archive)!r})\n{LIGHT_AND_ZIPPED}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = [FACTS[name][0] for name in sorted(datasets._BUNDLED)]
    assert [int(count) for count in done.stdout.split()] == expected
