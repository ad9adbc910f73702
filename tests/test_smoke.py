"""The subset for another interpreter: imports, one fit of each kind, one plot."""

import importlib
import pkgutil

import numpy as np
import pytest

import bayesgmm
from tests.conftest import slow

pytestmark = pytest.mark.smoke


def test_every_module_imports():
    found = [module.name for module in pkgutil.walk_packages(bayesgmm.__path__, "bayesgmm.")]
    assert "bayesgmm.core.sweep" in found and "bayesgmm.plots" in found
    for name in found:
        importlib.import_module(name)


def test_every_public_name_is_there():
    for name in bayesgmm.__all__:
        assert getattr(bayesgmm, name) is not None
    assert set(bayesgmm.__all__) <= set(dir(bayesgmm))
    assert bayesgmm.__version__


@pytest.mark.parametrize(
    "covariance_type",
    [
        "full",
        *(slow(name) for name in ("tied", "diag", "spherical")),
    ],
)
def test_one_fit(covariance_type):
    X, _ = bayesgmm.datasets.load_faithful()
    model = bayesgmm.GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    assert model.converged_
    short = model.means_[:, 0].argmin()
    np.testing.assert_allclose(model.means_[short, 0], 2.04, atol=0.1)  # minutes
    np.testing.assert_allclose(model.weights_[short], 0.36, atol=0.02)
    assert len(model.uncertainty(X)) == len(X) and len(model.summary()) == 2


def test_one_plot():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    X, _ = bayesgmm.datasets.load_faithful()
    model = bayesgmm.GaussianMixture(2, random_state=0).fit(X)
    ax = Figure().subplots()
    assert bayesgmm.plots.plot_components(model, X, ax=ax) is ax
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    assert np.asarray(canvas.buffer_rgba()).std() > 0
