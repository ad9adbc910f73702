"""What estimators share: scikit-learn's contract, tables in and out, what a fit can be asked."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from bayesgmm import BayesianGaussianMixture, GaussianMixture, MCMCGaussianMixture
from tests.conftest import slow

TYPES = ("full", "tied", "diag", "spherical")

NAMES = ["sepal length", "sepal width", "petal length", "petal width"]


SHORT = {"n_chains": 2, "n_samples": 100, "moves": False, "progress_bar": False}
"""Chains long enough for what is checked."""


LONG = {
    GaussianMixture: (),
    BayesianGaussianMixture: ("check_estimators_dtypes",),
    MCMCGaussianMixture: (
        "check_dtype_object",
        "check_estimators_dtypes",
        "check_estimators_overwrite_params",
        "check_fit_idempotent",
        "check_fit_score_takes_y",
        "check_n_features_in_after_fitting",
        "check_positive_only_tag_during_fit",
        "check_sample_weight_equivalence_on_dense_data",
    ),
}
"""What compiles most, of chains above all: it is left to ``-m slow``."""


def shortened(checks):
    """The same parametrisation, with marks."""
    names, cases = checks.mark.args
    marked = [
        slow(*case) if case[1].func.__name__ in LONG[type(case[0])] else pytest.param(*case)
        for case in cases
    ]
    return pytest.mark.parametrize(names, marked, **checks.mark.kwargs)


@pytest.mark.filterwarnings("ignore:The posterior sample cannot be relied on yet")
@shortened(
    parametrize_with_checks(
        [
            GaussianMixture(),
            BayesianGaussianMixture(1, moves=False),
            MCMCGaussianMixture(2, **SHORT),
        ]
    )
)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([BayesianGaussianMixture()])
def test_scikit_learn_with_moves(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def flowers():
    """Iris with names, and an index that is not 0, 1, 2, ..."""
    iris = load_iris()
    index = [f"flower {i}" for i in range(150)]
    return pd.DataFrame(iris.data, columns=NAMES, index=index), iris.target


@pytest.fixture(scope="module")
def model(flowers):
    X, species = flowers
    return GaussianMixture(3, init_params=species, random_state=0).fit(X)


OPTIONS = {
    GaussianMixture: dict(n_components=3, random_state=0),
    BayesianGaussianMixture: dict(n_components=3, random_state=0, moves=False, tol=1e-2),
}
"""Of short fits."""

BOTH = pytest.mark.parametrize("kind", OPTIONS)


@pytest.fixture(scope="module", params=OPTIONS, ids=lambda kind: kind.__name__)
def either(request, flowers):
    """A fitted one of each class."""
    X, species = flowers
    return request.param(init_params=species, **OPTIONS[request.param]).fit(X)


def density(model, X):
    """Density under the published parameters, by SciPy."""
    return component_densities(model, X) @ model.weights_


def full(matrices, D=4):
    """Matrices [K, D, D] or [D, D] from what the four types publish."""
    if matrices.ndim == 1:
        matrices = np.repeat(matrices[:, None], D, axis=1)
    return matrices[..., None] * np.eye(D) if matrices.shape == (3, D) else matrices


def component_densities(model, X):
    parameters = zip(model.means_, model.covariances_, strict=True)
    return np.stack([stats.multivariate_normal(m, c).pdf(X) for m, c in parameters], axis=-1)


# --- a scikit-learn estimator -------------------------------------------------------------------


OWN = {
    GaussianMixture: dict(
        weights_init=[0.5, 0.5],
        means_init=[[0.0], [1.0]],
        precisions_init=[[1.0], [1.0]],
        acceleration=None,
        prior="data-scaled",
        support_fraction=0.8,
        learning_decay=0.9,
        learning_offset=5.0,
    ),
    BayesianGaussianMixture: dict(
        weight_concentration_prior_type="pitman_yor",
        weight_concentration_prior=("gamma", 2.0, 1.0),
        discount_prior=0.1,
        mean_precision_prior=0.5,
        mean_prior=[0.0],
        degrees_of_freedom_prior=2,
        covariance_prior=[1.0],
        prune=False,
        moves=False,
    ),
}


@BOTH
def test_parameters_are_stored_as_given(kind):
    labels = np.arange(10) % 2
    options = dict(
        n_components=2,
        covariance_type="diag",
        tol=0.5,
        reg_covar=("relative", 0.1),
        max_iter=7,
        n_init=2,
        init_params=labels,
        random_state=np.random.RandomState(0),
        warm_start=True,
        verbose=1,
        verbose_interval=3,
        **OWN[kind],
    )
    model = kind(**options)
    found = model.get_params()
    assert found.keys() == options.keys()
    assert all(found[name] is value for name, value in options.items())
    copy = clone(model)
    np.testing.assert_array_equal(copy.init_params, labels)
    assert copy.set_params(tol=1, n_components=4) is copy
    assert (copy.tol, copy.n_components, model.tol) == (1, 4, 0.5)


def test_signature_is_that_of_scikit_learn_and_defaults_differ_where_the_guide_says_so():
    import sklearn.mixture

    theirs = sklearn.mixture.GaussianMixture().get_params()
    own = dict(tol=None, max_iter=1000, init_params="cells", acceleration="squarem")
    new = dict(prior=None, support_fraction=None, learning_decay=0.7, learning_offset=2.0)
    assert GaussianMixture().get_params() == theirs | own | new
    assert GaussianMixture(3).n_components == 3
    theirs = sklearn.mixture.BayesianGaussianMixture().get_params()
    own = dict(n_components=None, weight_concentration_prior="gamma")
    new = dict(discount_prior=None, prune=True, moves=True)
    assert BayesianGaussianMixture().get_params() == theirs | own | new
    assert BayesianGaussianMixture(3).n_components == 3


def test_pickle_and_clone(flowers, either):
    X, _ = flowers
    copy = pickle.loads(pickle.dumps(either))
    np.testing.assert_array_equal(copy.predict_proba(X), either.predict_proba(X))
    np.testing.assert_array_equal(copy.score_samples(X), either.score_samples(X))
    assert list(copy.feature_names_in_) == NAMES
    fresh = clone(either)
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_what_leaves_is_numpy_of_the_dtype_of_x(flowers, either):
    X, species = flowers
    kind = type(either)
    single = kind(init_params=species, **OPTIONS[kind]).fit(X.to_numpy(np.float32))
    np.testing.assert_allclose(single.means_, either.means_, atol=0.05)
    names = ["weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"]
    names += ["mean_precision_", "degrees_of_freedom_"] * (kind is BayesianGaussianMixture)
    for fitted, data, dtype in (
        (either, X, np.float64),
        (single, X.to_numpy(np.float32), np.float32),
    ):
        for name in names:
            value = getattr(fitted, name)
            assert type(value) is np.ndarray and value.dtype == dtype, name
        assert all(type(leaf) is np.ndarray for leaf in fitted.mixture_)
        for value in (fitted.predict_proba(data), fitted.score_samples(data), fitted.sample(3)[0]):
            assert type(value) is np.ndarray and value.dtype == dtype
        assert type(fitted.labels_) is np.ndarray and fitted.labels_.dtype.kind == "i"
        assert type(fitted.predict(data)) is np.ndarray
        for name, of in (("converged_", bool), ("n_iter_", int), ("lower_bound_", float)):
            assert type(getattr(fitted, name)) is of
        number = fitted.bic(data) if kind is GaussianMixture else fitted.elbo_
        assert type(fitted.score(data)) is float and type(number) is float


def test_it_shows_itself_as_html(either):
    text = either._repr_html_()
    assert type(either).__name__ in text and "n_components" in text
    assert f"{type(either).__name__}(" in repr(either)


@BOTH
def test_in_a_pipeline(flowers, kind):
    X, species = flowers
    scaled = StandardScaler().fit_transform(X)
    options = OPTIONS[kind] | dict(init_params=species, reg_covar=0)
    pipeline = make_pipeline(StandardScaler(), kind(**options)).fit(X)
    alone = kind(**options).fit(scaled)
    np.testing.assert_array_equal(pipeline.predict(X), alone.labels_)
    np.testing.assert_allclose(pipeline.score(X), alone.score(scaled), rtol=1e-12)
    framed = make_pipeline(StandardScaler(), kind(**options))
    framed.set_output(transform="pandas").fit(X)
    assert list(framed[-1].feature_names_in_) == NAMES


@BOTH
def test_in_a_grid_search(flowers, kind):
    X, _ = flowers
    rows = KFold(2, shuffle=True, random_state=0)
    grid = {"covariance_type": ["full", "spherical"], "reg_covar": [1e-6, 10.0]}
    model = kind(init_params="kmeans", **OPTIONS[kind])
    search = GridSearchCV(model, grid, cv=rows).fit(X)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    train, test = next(rows.split(X))
    chosen = clone(model).set_params(**search.best_params_).fit(X.iloc[train])
    first = search.cv_results_["split0_test_score"][search.best_index_]
    np.testing.assert_allclose(chosen.score(X.iloc[test]), first, rtol=1e-12)
    assert search.best_params_["reg_covar"] == 1e-6


# --- tables in, tables out ----------------------------------------------------------------------


def test_names_and_index_of_a_table_are_kept(flowers, either):
    X, _ = flowers
    model = either
    assert list(model.feature_names_in_) == NAMES and model.n_features_in_ == 4
    found = model.uncertainty(X)
    assert list(found.columns) == ["uncertainty", "entropy"]
    assert found.index.equals(X.index)
    assert isinstance(model.uncertainty(X.iloc[:3]).index, pd.Index)
    plain = clone(model).set_params(max_iter=0).fit(X.to_numpy())
    assert not hasattr(plain, "feature_names_in_")
    assert list(plain.uncertainty(X.to_numpy()).index) == list(range(150))


def test_columns_in_another_order_are_refused(flowers, either):
    X, _ = flowers
    for ask in (either.predict, clone(either).partial_fit(X).partial_fit):
        with pytest.raises(ValueError, match="feature names should match"):
            ask(X[NAMES[::-1]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        either.predict(X.to_numpy())


@BOTH
def test_fit_takes_away_the_names_of_an_earlier_fit(flowers, kind):
    X, species = flowers
    model = kind(init_params=species, max_iter=0, **OPTIONS[kind]).fit(X)
    model.fit(X.to_numpy())
    assert not hasattr(model, "feature_names_in_")


def test_uncertainty_against_the_probabilities(flowers, model):
    X, _ = flowers
    found = model.uncertainty(X)
    joint = component_densities(model, X) * model.weights_
    proba = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), proba, atol=1e-9)
    np.testing.assert_allclose(found["uncertainty"], 1 - proba.max(axis=1), atol=1e-9)
    np.testing.assert_allclose(found["entropy"], stats.entropy(proba, axis=1), atol=1e-9)


def test_uncertainty_keeps_its_digits_when_it_is_tiny():
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [10.0]], [[[1.0]], [[1.0]]])
    found = model.uncertainty([[0.0], [1.0], [-20.0]])
    other = np.exp(-0.5 * (np.array([10, 9, 30]) ** 2 - np.array([0, 1, 20]) ** 2))
    np.testing.assert_allclose(found["uncertainty"], other, rtol=1e-12)
    assert (found["entropy"] >= 0).all()


def test_summary(flowers, either):
    X, _ = flowers
    model = either
    table = model.summary()
    columns = [f"mean({name})" for name in NAMES] + [f"sd({name})" for name in NAMES]
    assert list(table.columns) == ["weight", *columns]
    assert table.index.name == "component" and list(table.index) == [0, 1, 2]
    np.testing.assert_array_equal(table["weight"], model.weights_)
    np.testing.assert_array_equal(table[columns[:4]], model.means_)
    deviations = np.sqrt(np.diagonal(model.covariances_, axis1=1, axis2=2))
    np.testing.assert_allclose(table[columns[4:]], deviations, rtol=1e-10)
    plain = clone(model).set_params(max_iter=0).fit(X.to_numpy())
    assert "mean(x0)" in plain.summary() and "sd(x3)" in plain.summary()


def test_density_and_labels_against_scipy(flowers, model):
    X, _ = flowers
    np.testing.assert_allclose(model.score_samples(X), np.log(density(model, X)), rtol=1e-9)
    best = (component_densities(model, X) * model.weights_).argmax(axis=1)
    np.testing.assert_array_equal(model.labels_, best)
    np.testing.assert_array_equal(clone(model).fit_predict(X), model.labels_)
    weight = np.arange(150.0)
    expected = np.average(model.score_samples(X), weights=weight)
    np.testing.assert_allclose(model.score(X, sample_weight=weight), expected, rtol=1e-12)


def test_covariances_precisions_and_factors_agree(flowers):
    X, species = flowers
    for covariance_type in TYPES:
        model = GaussianMixture(3, covariance_type=covariance_type, init_params=species).fit(X)
        covariances, factors = model.covariances_, model.precisions_cholesky_
        if covariance_type in ("diag", "spherical"):
            np.testing.assert_allclose(model.precisions_, 1 / covariances, rtol=1e-10)
            np.testing.assert_allclose(factors**2, model.precisions_, rtol=1e-10)
        else:
            product = factors @ np.swapaxes(factors, -1, -2)
            np.testing.assert_allclose(product, model.precisions_, rtol=1e-9)
            inverse = np.linalg.inv(covariances)
            np.testing.assert_allclose(model.precisions_, inverse, rtol=1e-8, atol=1e-8)
            np.testing.assert_array_equal(np.tril(factors, -1), 0)


# --- a fitted mixture ---------------------------------------------------------------------------


def test_sample(model):
    X, components = model.sample(40_000)
    assert X.shape == (40_000, 4) and components.shape == (40_000,)
    assert (np.diff(components) >= 0).all()
    error = np.sqrt(model.weights_ * (1 - model.weights_) / 40_000)
    share = np.bincount(components, minlength=3) / 40_000
    assert (np.abs(share - model.weights_) < 5 * error).all()
    for k in range(3):
        own, S = X[components == k], model.covariances_[k]
        n = len(own)
        gap = own.mean(axis=0) - model.means_[k]
        assert n * gap @ np.linalg.solve(S, gap) < stats.chi2(4).ppf(1 - 1e-6)
        width = np.sqrt((S**2 + np.outer(np.diag(S), np.diag(S))) / n)  # of a Wishart matrix
        assert (np.abs(np.cov(own.T) - S) < 5 * width).all()
    np.testing.assert_array_equal(model.sample(5)[0], model.sample(5)[0])  # random_state=0


@pytest.mark.parametrize(
    "features", [["petal width", "sepal length"], [3, 0], [-1, "sepal length"]]
)
def test_marginal(flowers, either, features):
    X, _ = flowers
    model = either
    found = model.marginal(features)
    assert list(found.feature_names_in_) == ["petal width", "sepal length"]
    index = np.ix_([0, 1, 2], [3, 0], [3, 0])
    np.testing.assert_allclose(found.covariances_, model.covariances_[index], rtol=1e-10)
    np.testing.assert_allclose(found.means_, model.means_[:, [3, 0]], rtol=1e-12)
    np.testing.assert_allclose(found.weights_, model.weights_, rtol=1e-12)
    part = X[["petal width", "sepal length"]]
    np.testing.assert_allclose(found.score_samples(part), np.log(density(found, part)), rtol=1e-9)
    assert list(model.marginal("petal width").feature_names_in_) == ["petal width"]


def test_conditional_is_joint_over_marginal(flowers, model):
    X, _ = flowers
    known = {"petal width": 1.5, 0: 6.0}
    found = model.conditional(known)
    assert list(found.feature_names_in_) == ["sepal width", "petal length"]
    rows = np.tile(X.iloc[60].to_numpy(), (5, 1))
    rows[:, 1], rows[:, 2] = np.linspace(2, 4, 5), np.linspace(3, 6, 5)
    rows[:, 3], rows[:, 0] = 1.5, 6.0
    joint = np.log(density(model, rows))
    margin = np.log(density(model.marginal([0, 3]), rows[:, [0, 3]]))
    part = pd.DataFrame(rows[:, 1:3], columns=found.feature_names_in_)
    np.testing.assert_allclose(found.score_samples(part), joint - margin, rtol=1e-9)
    np.testing.assert_allclose(found.weights_.sum(), 1, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_sub_mixtures_of_every_type(flowers, covariance_type):
    X, species = flowers
    model = GaussianMixture(3, covariance_type=covariance_type, init_params=species).fit(X)
    rows = X.to_numpy()[::10]
    margin = model.marginal([1, 2])
    part = pd.DataFrame(rows[:, [0, 3]], columns=[NAMES[0], NAMES[3]])
    for i in (0, 7, 14):
        known = {1: rows[i, 1], 2: rows[i, 2]}
        total = margin.score_samples(X.iloc[::10, [1, 2]])[i]
        total += model.conditional(known).score_samples(part)[i]
        np.testing.assert_allclose(total, model.score_samples(X.iloc[::10])[i], rtol=1e-9)


def test_conditional_far_from_every_component(model):
    found = model.conditional({"petal length": 1e4})
    assert np.isfinite(found.weights_).all() and np.isfinite(found.means_).all()
    np.testing.assert_allclose(found.weights_.sum(), 1, rtol=1e-12)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda m: m.marginal(["petal widht"]),
            "features: there is no feature 'petal widht'. The features are 'sepal length', "
            "'sepal width', 'petal length', 'petal width'. Did you mean 'petal width'?",
        ),
        (lambda m: m.marginal([4]), "features must be positions from 0 to 3 or names, got 4."),
        (lambda m: m.marginal([1, "sepal width"]), "features must name features once each"),
        (lambda m: m.marginal([]), "features must name features once each, got []."),
        (lambda m: m.conditional({}), "known must name features once each, got []."),
        (lambda m: m.conditional({"x": 1}), "known: there is no feature 'x'."),
        (
            lambda m: m.conditional(dict.fromkeys(range(4), 0.0)),
            "known must leave a feature out, got values for all 4.",
        ),
        (
            lambda m: m.conditional({0: np.nan}),
            "known[0] must be a finite number, got nan.",
        ),
        (
            lambda m: m.conditional({"petal width": "wide"}),
            "known['petal width'] must be a finite number, got 'wide'.",
        ),
        (lambda m: m.sample(0), "Invalid value for 'n_samples': 0."),
        (lambda m: m.sample(2.5), "n_samples"),
    ],
)
def test_what_cannot_be_asked(either, call, message):
    with pytest.raises(ValueError) as caught:
        call(either)
    assert message in str(caught.value)


@BOTH
def test_names_are_needed_to_ask_by_name(flowers, kind):
    X, species = flowers
    model = kind(init_params=species, max_iter=0, **OPTIONS[kind]).fit(X.to_numpy())
    with pytest.raises(ValueError, match="none: the model was fitted without feature names"):
        model.marginal(["petal width"])
    assert not hasattr(model.marginal([1]), "feature_names_in_")


# --- parameters set by hand ---------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
def test_from_parameters_goes_round(flowers, covariance_type):
    X, species = flowers
    fitted = GaussianMixture(3, covariance_type=covariance_type, init_params=species).fit(X)
    model = GaussianMixture.from_parameters(
        fitted.weights_,
        fitted.means_,
        fitted.covariances_,
        covariance_type=covariance_type,
        feature_names=X.columns,
    )
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        np.testing.assert_allclose(getattr(model, name), getattr(fitted, name), rtol=1e-8)
    np.testing.assert_allclose(model.score_samples(X), fitted.score_samples(X), rtol=1e-10)
    np.testing.assert_allclose(model.bic(X), fitted.bic(X), rtol=1e-10)
    assert model.n_features_in_ == 4 and model.n_components_ == model.n_components == 3
    assert model.n_iter_ == 0 and not model.converged_
    assert clone(model).fit(X).converged_


PLANE = dict(means=np.zeros((2, 2)))


@pytest.mark.parametrize(
    "changed, message",
    [
        (dict(weights=[0.5, 0.6]), "normalized, but got sum(weights) = 1.10000"),
        (dict(weights=[0.5, 0.3, 0.2]), "the shape of (2,), but got (3,)"),
        (dict(weights=[1.5, -0.5]), "max value 1.50000, min value -0.50000"),
        (dict(weights=[np.nan, 1]), "'weights' should be finite"),
        (dict(means=[0.0, 1.0]), "means must have shape (K, D), got (2,)."),
        (dict(means=[[np.inf], [1.0]]), "'means' should be finite"),
        (dict(covariances=[[1.0], [1.0]]), "the shape of (2, 1, 1), but got (2, 1)"),
        (
            dict(covariances=[[[1.0]], [[-2.0]]]),
            "'full covariance' should be symmetric, positive-definite; "
            "the smallest eigenvalue is -2",
        ),
        (
            dict(means=np.zeros((2, 2)), covariances=[[[1.0, 0.5], [0.2, 1.0]]] * 2),
            "'full covariance' should be symmetric, positive-definite; it is not symmetric",
        ),
        (
            dict(covariances=[1.0, 0.0], covariance_type="spherical"),
            "'spherical covariance' should be positive; the smallest is 0",
        ),
        (dict(covariance_type="ful"), "got 'ful'. Did you mean 'full'?"),
        (
            dict(means=np.zeros((2, 3)), covariance_type="V"),
            "covariance_type='V' is for one feature, got 3.",
        ),
        (PLANE | dict(covariance_type="VVI", covariances=[np.eye(2) + 0.5] * 2), "VVI covariance"),
        (PLANE | dict(covariance_type="VII", covariances=[np.diag([1, 2])] * 2), "VII covariance"),
        (PLANE | dict(covariance_type="EEE", covariances=[np.eye(2), 2 * np.eye(2)]), "EEE cov"),
        (  # in other units too
            PLANE | dict(covariance_type="VVI", covariances=[1e-12 * (np.eye(2) + 0.5)] * 2),
            "VVI covariance",
        ),
        (
            PLANE | dict(covariances=1e-12 * np.array([[[1.0, 0.5], [0.2, 1.0]]] * 2)),
            "positive-definite; it is not symmetric",
        ),
        (dict(feature_names=["a", "b"]), "feature_names must name 1 features, got ['a', 'b']."),
    ],
)
def test_from_parameters_refuses(changed, message):
    given = dict(weights=[0.5, 0.5], means=[[0.0], [1.0]], covariances=[[[1.0]], [[1.0]]])
    with pytest.raises(ValueError) as caught:
        GaussianMixture.from_parameters(**given | changed)
    assert message in str(caught.value)


def test_from_parameters_with_an_absent_component():
    model = GaussianMixture.from_parameters([0.0, 1.0], [[0.0], [1.0]], [[[1.0]], [[4.0]]])
    X = np.array([[0.0], [2.0]])
    np.testing.assert_array_equal(model.predict(X), [1, 1])
    np.testing.assert_array_equal(model.predict_proba(X), [[0, 1], [0, 1]])
    np.testing.assert_allclose(model.score_samples(X), stats.norm(1, 2).logpdf(X[:, 0]))
    assert (model.sample(100)[1] == 1).all()
    assert (model.uncertainty(X) == 0).all(axis=None)


@pytest.mark.parametrize("lower", [False, True], ids=["upper", "lower"])
def test_parameters_set_one_by_one(lower):
    """The idiom of scikit-learn's users: no fit, attributes set by hand."""
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 4, 4)) / 4 + np.eye(4)
    covariances = root @ np.swapaxes(root, 1, 2)
    precisions = np.linalg.inv(covariances)
    factor = np.linalg.cholesky(precisions)  # precision = factor factor', either way
    upper = np.swapaxes(np.linalg.inv(np.linalg.cholesky(covariances)), 1, 2)
    model = GaussianMixture(3)
    model.weights_ = np.array([0.2, 0.3, 0.5])
    model.means_ = rng.standard_normal((3, 4))
    model.covariances_ = covariances
    model.precisions_cholesky_ = factor if lower else upper
    X = rng.standard_normal((150, 4))
    expected = component_densities(model, X) * model.weights_
    np.testing.assert_allclose(model.score_samples(X), np.log(expected.sum(axis=1)), rtol=1e-9)
    np.testing.assert_array_equal(model.predict(X), expected.argmax(axis=1))
    deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    columns = [f"sd(x{j})" for j in range(4)]
    np.testing.assert_allclose(model.summary()[columns], deviations, rtol=1e-9)
    assert model.sample(10)[0].shape == (10, 4)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_what_a_user_changes_after_a_fit_is_used(flowers, covariance_type):
    X, species = flowers
    model = GaussianMixture(3, covariance_type=covariance_type, init_params=species).fit(X)
    before = model.score_samples(X)
    model.means_ = model.means_ + 1.0
    shifted = X + 1.0
    np.testing.assert_allclose(model.score_samples(shifted), before, rtol=1e-9)
    model.weights_ = np.array([0.0, 0.0, 1.0])
    assert (model.predict(X) == 2).all()
    model.precisions_cholesky_ = model.precisions_cholesky_ / 2
    D = 4
    peak = model.score_samples(pd.DataFrame(model.means_[2:], columns=NAMES))[0]
    half = np.linalg.slogdet(np.broadcast_to(full(model.precisions_), (3, D, D))[2])[1] / 2
    expected = half - D * np.log(2) - D / 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(peak, expected, rtol=1e-9)
