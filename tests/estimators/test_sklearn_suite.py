"""scikit-learn's own tests of its mixtures, with only the import changed.

Their source is read from the installed scikit-learn and executed here with ours in the place of
its class, so that pytest collects them, with their parametrizations, as tests of this file.
"""

import ast
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import sklearn.mixture

import bayesgmm
from bayesgmm import GaussianMixture
from tests.conftest import slow


class BayesianGaussianMixture(bayesgmm.BayesianGaussianMixture):
    """Ours with the defaults of scikit-learn, in what they differ."""

    def __init__(
        self,
        n_components=1,
        *,
        covariance_type="full",
        tol=1e-3,
        reg_covar=1e-6,
        max_iter=100,
        n_init=1,
        init_params="kmeans",
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=None,
        mean_precision_prior=None,
        mean_prior=None,
        degrees_of_freedom_prior=None,
        covariance_prior=None,
        prune=False,
        moves=False,
        random_state=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
    ):
        given = {name: value for name, value in locals().items() if name[0] != "_"}
        super().__init__(**{name: value for name, value in given.items() if name != "self"})


FILES = {
    "test_gaussian_mixture.py": (
        ("from sklearn.mixture import GaussianMixture", "from bayesgmm import GaussianMixture"),
        # scikit-learn's message has the two the wrong way round; ours has not
        (
            'f" max value {np.min(weights_bad_range):.5f}, "\n'
            '        f"min value {np.max(weights_bad_range):.5f}"',
            'f" max value {np.max(weights_bad_range):.5f}, "\n'
            '        f"min value {np.min(weights_bad_range):.5f}"',
        ),
        # one restart and several are two programs, whose sums may round differently: by a unit in
        # the last place where both keep the same restart
        ("assert train2 >= train1", "assert train2 >= train1 - 1e-12 * abs(train1)"),
        (
            "assert gmm2.lower_bound_ >= gmm1.lower_bound_",
            "assert gmm2.lower_bound_ >= gmm1.lower_bound_ - 1e-12 * abs(gmm1.lower_bound_)",
        ),
    ),
    "test_mixture.py": (
        ("from sklearn.mixture import BayesianGaussianMixture, GaussianMixture", ""),
    ),
    "test_bayesian_mixture.py": (("from sklearn.mixture import BayesianGaussianMixture\n", ""),),
}
"""File names, and what is replaced in them: everywhere it stands, and it must stand there."""

LEFT_OUT = {
    # of the private functions of scikit-learn: ours is never called
    "test_suffstat_sk_full": "private function of scikit-learn",
    "test_suffstat_sk_tied": "private function of scikit-learn",
    "test_suffstat_sk_diag": "private function of scikit-learn",
    "test_gaussian_suffstat_sk_spherical": "private function of scikit-learn",
    "test_compute_log_det_cholesky": "private function of scikit-learn",
    "test_gaussian_mixture_log_probabilities": "private function of scikit-learn",
    "test_gaussian_mixture_precisions_init": "private methods _initialize and _set_parameters",
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": (
        "counts the calls of a private function of scikit-learn"
    ),
    "test_log_dirichlet_norm": "private function of scikit-learn",
    "test_log_wishart_norm": "private function of scikit-learn",
    "test_compare_covar_type": "private methods _check_parameters and _initialize_parameters",
    # of arrays that are not NumPy's, which are not offered
    "test_gaussian_mixture_array_api_compliance": "array API dispatch",
    "test_gaussian_mixture_raises_where_array_api_not_implemented": "array API dispatch",
}


WITH_OUR_DEFAULTS = {
    "test_bayesian_mixture_weights_prior_initialisation": "reads the default prior of the weights",
    "test_check_covariance_precision": "counts the components: they are merged and removed",
    "test_mixture_n_components_greater_than_n_samples_error": (
        "asks for more components than points: n_components is the most that there may be"
    ),
    "test_gaussian_mixture_n_iter": "max_iter is of the iterations before each move",
}
"""Tests of scikit-learn's class that need its defaults, and why; the others pass with ours, too."""

LONG = (
    "test_bayesian_mixture_mean_prior_initialisation",
    "test_bayesian_mixture_weights",
    "test_monotonic_likelihood",
    "test_bayesian_mixture_fit_predict",
    "test_bayesian_mixture_fit_predict_n_init",
    "test_bayesian_mixture_predict_predict_proba",
    "test_bayesian_mixture_precisions_prior_initialisation",
    "test_invariant_translation",
)
"""Those that take longest with ours, and are left to ``-m slow``."""


def altered(name):
    """The code of one of scikit-learn's test files, with ours in place of its class."""
    folder = Path(importlib.util.find_spec("sklearn.mixture.tests").submodule_search_locations[0])
    source = (folder / name).read_text(encoding="utf-8")
    for old, new in FILES[name]:
        assert old in source, f"{name} of scikit-learn {sklearn.__version__} has no {old!r}"
        source = source.replace(old, new)
    tree = ast.parse(source, str(folder / name))
    tree.body = [node for node in tree.body if getattr(node, "name", None) not in LEFT_OUT]
    for node in tree.body:
        if getattr(node, "name", "").startswith("test_") and node.name in globals():
            node.name += "_too"  # the name of a test in another of the files
    return compile(tree, str(folder / name), "exec")


for _name in FILES:
    exec(altered(_name), globals())

# a quarter of a minute each: variational Bayes one iteration at a time, for which there is
# test_the_bound_never_falls of our own, and ten components in each family
for _name in ("test_monotonic_likelihood_too", "test_regularisation"):
    globals()[_name] = pytest.mark.slow(globals()[_name])


def with_our_defaults():
    """Tests of the class itself, not of the subclass above, by their names."""
    found = {"BayesianGaussianMixture": bayesgmm.BayesianGaussianMixture}
    found |= {"GaussianMixture": GaussianMixture, "__name__": __name__}
    for name in ("test_mixture.py", "test_bayesian_mixture.py"):
        exec(altered(name), found)
    tests = {name.removesuffix("_too"): test for name, test in found.items()}
    return {
        f"{name}_with_our_defaults": pytest.mark.slow(test) if name in LONG else test
        for name, test in tests.items()
        if name.startswith("test_") and name not in WITH_OUR_DEFAULTS
    }


globals().update(with_our_defaults())


@pytest.fixture(  # scikit-learn, too, leaves out float32 unless asked for it
    params=[np.float64, slow(np.float32)],
    ids=["float64", "float32"],
)
def global_dtype(request):
    return request.param


@pytest.fixture
def global_random_seed():
    return 42


def test_it_is_ours_that_was_tested():
    assert GaussianMixture.__module__ == "bayesgmm.estimators.em"
    assert not issubclass(GaussianMixture, sklearn.mixture.GaussianMixture)
    ours = bayesgmm.BayesianGaussianMixture
    assert issubclass(BayesianGaussianMixture, ours)
    assert not issubclass(ours, sklearn.mixture.BayesianGaussianMixture)
    own = {"prune", "moves", "discount_prior"}
    theirs = sklearn.mixture.BayesianGaussianMixture().get_params()
    mine = BayesianGaussianMixture().get_params()
    assert {name: mine[name] for name in theirs} == theirs
    assert set(ours().get_params()) - set(theirs) == own
    collected = [name for name in globals() if name.startswith("test_")]
    assert len(collected) > 40 and not set(collected) & set(LEFT_OUT)
    again = [name for name in collected if name.endswith("_with_our_defaults")]
    assert len(again) == 9
    assert globals()[again[0]].__globals__["BayesianGaussianMixture"] is ours
    assert set(WITH_OUR_DEFAULTS) <= set(collected)  # they pass under scikit-learn's
