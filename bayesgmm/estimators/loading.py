"""load: an estimator from the file that its `save` has written."""

from typing import Any

from bayesgmm.estimators.em import GaussianMixture
from bayesgmm.estimators.mcmc import MCMCGaussianMixture
from bayesgmm.estimators.variational import BayesianGaussianMixture
from bayesgmm.io import saving

CLASSES = {
    kind.__name__: kind for kind in (GaussianMixture, BayesianGaussianMixture, MCMCGaussianMixture)
}


def load(path: Any) -> Any:
    """A fitted estimator that `save` has written, as it was.

    Nothing in the file is run: it is data, of which only classes of this package are made.

    Parameters
    ----------
    path : str or path
        Of an .npz or .nc file.

    Returns
    -------
    GaussianMixture, BayesianGaussianMixture or MCMCGaussianMixture
        Predicts, draws and goes on (`warm_start=True`) as the one that was saved, to the last bit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is none that `save` has written, is damaged, or was written by a version that kept
        other things.

    Examples
    --------
    >>> import numpy as np
    >>> import bayesgmm
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> bayesgmm.GaussianMixture(2, random_state=0).fit(X).save("two.npz")
    >>> bayesgmm.load("two.npz").predict(X).shape
    (50,)
    """
    kind, state = saving.read(path)
    model = CLASSES[kind]()
    vars(model).update(state)
    return model
