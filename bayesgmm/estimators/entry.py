"""The points that a fit was given, wherever they are: checked, with the same questions to ask."""

from typing import Any

from sklearn.utils import check_random_state

from bayesgmm.estimators import partitioned, pieces
from bayesgmm.estimators.base import Entered, MixtureEstimator
from bayesgmm.estimators.pieces import Pieces
from bayesgmm.io.chunks import Chunks


def enter(
    model: MixtureEstimator, X: Any, sample_weight: Any, pairs: bool = True
) -> Entered | Pieces:
    """Points in memory, or after a first pass over the pieces or partitions.

    Parameters
    ----------
    model : MixtureEstimator
        Its features become those of the points.
    X : array-like, DataFrame or Chunks
    sample_weight : array-like [N], str or collection of Dask, optional
    pairs : bool
        Whether the covariances of the columns are asked for.

    Raises
    ------
    ValueError
        If the points are not as a fit needs them, with the place.
    """
    if not isinstance(X, Chunks):
        return model._enter(X, sample_weight)
    if not isinstance(model.init_params, str):
        raise ValueError(
            "init_params must be a name where X is read in pieces, got an array. Give "
            "weights_init, means_init and precisions_init, or go on from a fit to a sample by "
            "warm_start=True."
        )
    random_state = check_random_state(model.random_state)
    if X.partitioned:
        found = partitioned.survey(X, sample_weight, pairs, random_state)
    else:
        found = pieces.survey(X, sample_weight, pairs, random_state, model.verbose)
    model._learn_features(found.layout)
    return found
