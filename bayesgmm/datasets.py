"""Data sets of the mixture literature, each with its source: ``load_*() -> (X, labels)``.

``X`` is a pandas DataFrame of floats and ``labels`` a pandas Series of categories, or None where no
grouping is known. Every call reads the file anew, so what is returned may be altered freely.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, TypeAlias

from bayesgmm.messages import lookup

if TYPE_CHECKING:
    import pandas as pd

    Loaded: TypeAlias = tuple[pd.DataFrame, pd.Series | None]

__all__ = [
    "DATASETS",
    "load",
    "load_acidity",
    "load_banknote",
    "load_breast_cancer",
    "load_diabetes",
    "load_faithful",
    "load_galaxies",
    "load_iris",
    "load_overlap",
    "load_penguins",
    "load_thyroid",
    "load_wine",
]

# A row a bundled file, data/NAME.csv: the column that holds its known groups.
_BUNDLED: dict[str, str | None] = {
    "acidity": None,
    "banknote": "status",
    "diabetes": "class",
    "faithful": None,
    "galaxies": None,
    "overlap": "component",
    "penguins": "species",
    "thyroid": "diagnosis",
}

# A row a set that scikit-learn ships: what its classes are.
_FROM_SKLEARN: dict[str, str] = {
    "breast_cancer": "diagnosis",
    "iris": "species",
    "wine": "cultivar",
}


def _bundled(name: str) -> Loaded:
    """X and labels of ``data/NAME.csv``, from a folder, a wheel or a zip file alike."""
    import pandas as pd

    with (resources.files("bayesgmm") / "data" / f"{name}.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    label = _BUNDLED[name]
    if label is None:
        return table.astype(float), None
    return table.drop(columns=label).astype(float), table[label].astype("category")


def _from_sklearn(name: str) -> Loaded:
    """X and labels of ``sklearn.datasets.load_NAME``; category codes are its ``target``."""
    import pandas as pd
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    columns = [
        column.removesuffix(" (cm)").replace("/", "_").replace(" ", "_")
        for column in bunch.feature_names
    ]
    names = [str(target) for target in bunch.target_names]
    labels = pd.Categorical.from_codes(bunch.target, categories=names)
    return (
        pd.DataFrame(bunch.data, columns=columns, dtype=float),
        pd.Series(labels, name=_FROM_SKLEARN[name]),
    )


def load_acidity() -> Loaded:
    """Acidity of 155 lakes in north-central Wisconsin, one feature.

    Returns
    -------
    X : DataFrame [155, 1]
        ``acidity``: log(ANC + 50), ANC the acid-neutralizing capacity in microequivalents per
        litre.
    labels : None

    Notes
    -----
    Source: Crawford et al. [1]_; a test case of mixtures since [2]_.

    Licence: measured facts from the papers cited; no rights are claimed in them.

    References
    ----------
    .. [1] S. L. Crawford, M. H. DeGroot, J. B. Kadane and M. J. Small (1992), Modeling
       lake-chemistry distributions: approximate Bayesian methods for estimating a finite-mixture
       model, Technometrics 34, 441-453. S. L. Crawford (1994), An application of the Laplace method
       to finite mixture distributions, JASA 89, 259-267.
    .. [2] S. Richardson and P. J. Green (1997), On Bayesian analysis of mixtures with an unknown
       number of components, JRSS B 59, 731-792.

    Examples
    --------
    >>> from bayesgmm.datasets import load_acidity
    >>> X, labels = load_acidity()
    >>> X.shape, labels
    ((155, 1), None)
    """
    return _bundled("acidity")


def load_banknote() -> Loaded:
    """Size of 200 old Swiss 1000-franc notes, half of them counterfeit.

    Returns
    -------
    X : DataFrame [200, 6]
        In mm: ``length`` of the note; ``left`` and ``right``, its height at either edge; ``bottom``
        and ``top``, the margins of the printed image; ``diagonal`` of the image.
    labels : Series of categories [200]
        ``status``: genuine (100) or counterfeit (100).

    Notes
    -----
    Source: Flury and Riedwyl, Tables 1.1 and 1.2 [1]_.

    Licence: measured facts from the book cited; no rights are claimed in them.

    References
    ----------
    .. [1] B. Flury and H. Riedwyl (1988), Multivariate Statistics: A Practical Approach,
       Chapman & Hall, London.

    Examples
    --------
    >>> from bayesgmm.datasets import load_banknote
    >>> X, status = load_banknote()
    >>> X.shape, status.value_counts()["genuine"].item()
    ((200, 6), 100)
    """
    return _bundled("banknote")


def load_breast_cancer() -> Loaded:
    """Thirty shape features of the cell nuclei in 569 breast masses (Wisconsin, diagnostic).

    Returns
    -------
    X : DataFrame [569, 30]
        ``mean_radius`` to ``worst_fractal_dimension``: ten features of the nuclei, the mean, the
        standard error (``..._error``) and the mean of the three largest (``worst_...``) of each.
        Lengths and areas are in the units of the digitized image, which the source does not state;
        texture is in grey levels; the others are ratios.
    labels : Series of categories [569]
        ``diagnosis``: malignant (212) or benign (357).

    Notes
    -----
    Source: Street, Wolberg and Mangasarian [1]_, as shipped with scikit-learn.

    Licence: CC BY 4.0 (UCI Machine Learning Repository).

    References
    ----------
    .. [1] W. N. Street, W. H. Wolberg and O. L. Mangasarian (1993), Nuclear feature extraction for
       breast tumor diagnosis, Proc. SPIE 1905, 861-870.

    Examples
    --------
    >>> from bayesgmm.datasets import load_breast_cancer
    >>> X, diagnosis = load_breast_cancer()
    >>> X.shape, diagnosis.value_counts().to_dict()
    ((569, 30), {'benign': 357, 'malignant': 212})
    """
    return _from_sklearn("breast_cancer")


def load_diabetes() -> Loaded:
    """Glucose tolerance of 145 non-obese adults: the diabetes data of Reaven and Miller.

    This is not ``sklearn.datasets.load_diabetes`` (442 patients, ten standardized features and the
    progression of the disease, a regression problem): another study, with clinical classes.

    Returns
    -------
    X : DataFrame [145, 3]
        ``fasting_glucose``, fasting plasma glucose in mg / 100 ml; ``glucose_area``, area under the
        plasma glucose curve of a three-hour oral glucose tolerance test, in hours times
        mg / 100 ml; ``insulin_area``, area under the plasma insulin curve of the same test, in
        units that the copies of the data do not state.
    labels : Series of categories [145]
        ``class``, the clinical diagnosis: normal (76), chemical (36) or overt (33) diabetes.

    Notes
    -----
    Source: Reaven and Miller [1]_.

    Licence: measured facts from the paper cited; no rights are claimed in them.

    R's mclust ships these three columns, in this order, under the names ``glucose``, ``insulin``
    and ``sspg``, which are not what they hold, and with a slip: a ``glucose_area`` of 45 in row
    104. Its manual calls that set flawed. Here the value is **455**, as in R's rrcov and heplots,
    so that results published on the mclust set differ slightly from those on this one.

    References
    ----------
    .. [1] G. M. Reaven and R. G. Miller (1979), An attempt to define the nature of chemical
       diabetes using a multidimensional analysis, Diabetologia 16, 17-24.

    Examples
    --------
    >>> from bayesgmm.datasets import load_diabetes
    >>> X, diagnosis = load_diabetes()
    >>> X.shape, diagnosis.value_counts().to_dict()
    ((145, 3), {'normal': 76, 'chemical': 36, 'overt': 33})
    """
    return _bundled("diabetes")


def load_faithful() -> Loaded:
    """Eruptions of the Old Faithful geyser in Yellowstone: how long, and how long until the next.

    Returns
    -------
    X : DataFrame [272, 2]
        In minutes: ``eruptions``, the duration, and ``waiting``, the time to the next eruption.
    labels : None

    Notes
    -----
    Source: the recordings of Azzalini and Bowman [1]_, in the form of Härdle [2]_.

    Licence: measured facts from the papers cited; no rights are claimed in them.

    References
    ----------
    .. [1] A. Azzalini and A. W. Bowman (1990), A look at some data on the Old Faithful geyser,
       Applied Statistics 39, 357-365.
    .. [2] W. Härdle (1991), Smoothing Techniques with Implementation in S, Springer, New York.

    Examples
    --------
    >>> from bayesgmm.datasets import load_faithful
    >>> X, _ = load_faithful()
    >>> X.shape, round(X["waiting"].mean().item(), 3)
    ((272, 2), 70.897)
    """
    return _bundled("faithful")


def load_galaxies() -> Loaded:
    """Velocities of 82 galaxies in six conic sections of the Corona Borealis region, one feature.

    Returns
    -------
    X : DataFrame [82, 1]
        ``velocity``, in 1000 km/s, ascending.
    labels : None

    Notes
    -----
    Source: Roeder [1]_, from the survey of Postman et al. [2]_.

    Licence: measured facts from the papers cited; no rights are claimed in them.

    The 78th velocity is **26.960**. The copy in R's MASS, from which many others descend, has the
    typo 26.690 there (its manual says so), so that results computed on that copy differ slightly.

    References
    ----------
    .. [1] K. Roeder (1990), Density estimation with confidence sets exemplified by superclusters
       and voids in the galaxies, JASA 85, 617-624.
    .. [2] M. Postman, J. P. Huchra and M. J. Geller (1986), Probes of large-scale structures in
       the Corona Borealis region, Astronomical Journal 92, 1238-1247.

    Examples
    --------
    >>> from bayesgmm.datasets import load_galaxies
    >>> X, _ = load_galaxies()
    >>> X.shape, X["velocity"][77].item()
    ((82, 1), 26.96)
    """
    return _bundled("galaxies")


def load_iris() -> Loaded:
    """Flower measurements of 150 irises of three species.

    Returns
    -------
    X : DataFrame [150, 4]
        In cm: ``sepal_length``, ``sepal_width``, ``petal_length``, ``petal_width``.
    labels : Series of categories [150]
        ``species``: setosa, versicolor or virginica, 50 each.

    Notes
    -----
    Source: Anderson [1]_ and Fisher [2]_, as shipped with scikit-learn.

    Licence: CC BY 4.0 (UCI Machine Learning Repository).

    References
    ----------
    .. [1] E. Anderson (1935), The irises of the Gaspe peninsula, Bulletin of the American Iris
       Society 59, 2-5.
    .. [2] R. A. Fisher (1936), The use of multiple measurements in taxonomic problems, Annals of
       Eugenics 7, 179-188.

    Examples
    --------
    >>> from bayesgmm.datasets import load_iris
    >>> X, species = load_iris()
    >>> X.shape, list(species.cat.categories)
    ((150, 4), ['setosa', 'versicolor', 'virginica'])
    """
    return _from_sklearn("iris")


def load_overlap() -> Loaded:
    """Points simulated from four heavily overlapping Gaussian components in the plane.

    The hard case for samplers: the Bayes error is 0.36, so that even a classifier that knows the
    mixture mistakes the component of more than a third of the points.

    Returns
    -------
    X : DataFrame [1000, 2]
        ``x1`` and ``x2``, without units.
    labels : Series of categories [1000]
        ``component``, 0 to 3: the component that each point was drawn from.

    Notes
    -----
    Source: simulated for this package.

    Licence: that of the package.

    Examples
    --------
    >>> from bayesgmm.datasets import load_overlap
    >>> X, component = load_overlap()
    >>> X.shape, component.nunique()
    ((1000, 2), 4)
    """
    return _bundled("overlap")


def load_penguins() -> Loaded:
    """Body measurements of 342 penguins of three species, Palmer Archipelago, Antarctica.

    Returns
    -------
    X : DataFrame [342, 4]
        ``bill_length_mm``, ``bill_depth_mm`` and ``flipper_length_mm`` in mm; ``body_mass_g`` in g.
    labels : Series of categories [342]
        ``species``: Adelie (151), Chinstrap (68) or Gentoo (123).

    Notes
    -----
    Source: Gorman, Williams and Fraser [1]_; the values of the PyPI package ``palmerpenguins``
    0.1.6, a copy of [2]_. Of its 344 rows, **2 were dropped** because they lack all four
    measurements (rows 4 and 272).

    Licence: CC0 1.0 (public domain).

    References
    ----------
    .. [1] K. B. Gorman, T. D. Williams and W. R. Fraser (2014), Ecological sexual dimorphism and
       environmental variability within a community of Antarctic penguins (genus Pygoscelis),
       PLoS ONE 9(3), e90081.
    .. [2] A. M. Horst, A. P. Hill and K. B. Gorman (2020), palmerpenguins: Palmer Archipelago
       (Antarctica) penguin data, doi:10.5281/zenodo.3960218.

    Examples
    --------
    >>> from bayesgmm.datasets import load_penguins
    >>> X, species = load_penguins()
    >>> X.shape, species.value_counts().to_dict()
    ((342, 4), {'Adelie': 151, 'Gentoo': 123, 'Chinstrap': 68})
    """
    return _bundled("penguins")


def load_thyroid() -> Loaded:
    """Five laboratory tests of 215 patients and the state of their thyroid gland.

    Returns
    -------
    X : DataFrame [215, 5]
        ``RT3U``, T3-resin uptake (percent); ``T4``, total serum thyroxin; ``T3``, total serum
        triiodothyronine; ``TSH``, basal thyroid-stimulating hormone; ``DTSH``, greatest change of
        TSH after 200 micrograms of thyrotropin-releasing hormone, in the units of TSH. The source
        states no units for the last four.
    labels : Series of categories [215]
        ``diagnosis`` from the whole medical record: normal (150), hyper (35) or hypo (30).

    Notes
    -----
    Source: Coomans et al. [1]_, the file ``new-thyroid`` of the UCI Machine Learning Repository.

    Licence: CC BY 4.0 (UCI Machine Learning Repository).

    References
    ----------
    .. [1] D. Coomans, M. Broeckaert, M. Jonckheer and D. L. Massart (1983), Comparison of
       multivariate discriminant techniques for clinical data: application to the thyroid functional
       state, Methods of Information in Medicine 22, 93-101.

    Examples
    --------
    >>> from bayesgmm.datasets import load_thyroid
    >>> X, diagnosis = load_thyroid()
    >>> X.shape, diagnosis.value_counts().to_dict()
    ((215, 5), {'normal': 150, 'hyper': 35, 'hypo': 30})
    """
    return _bundled("thyroid")


def load_wine() -> Loaded:
    """Thirteen chemical measurements of 178 Italian wines from three cultivars.

    Returns
    -------
    X : DataFrame [178, 13]
        ``alcohol`` to ``proline``, the names of scikit-learn with ``_`` for a slash; the source
        states no units.
    labels : Series of categories [178]
        ``cultivar``: class_0 (59), class_1 (71) or class_2 (48).

    Notes
    -----
    Source: Forina et al. [1]_, as shipped with scikit-learn.

    Licence: CC BY 4.0 (UCI Machine Learning Repository).

    References
    ----------
    .. [1] M. Forina, C. Armanino, M. Castino and M. Ubigli (1986), Multivariate data analysis as a
       discriminating method of the origin of wines, Vitis 25, 189-201.

    Examples
    --------
    >>> from bayesgmm.datasets import load_wine
    >>> X, cultivar = load_wine()
    >>> X.shape, cultivar.nunique()
    ((178, 13), 3)
    """
    return _from_sklearn("wine")


DATASETS: dict[str, Callable[[], Loaded]] = {
    loader.__name__.removeprefix("load_"): loader
    for loader in (
        load_acidity,
        load_banknote,
        load_breast_cancer,
        load_diabetes,
        load_faithful,
        load_galaxies,
        load_iris,
        load_overlap,
        load_penguins,
        load_thyroid,
        load_wine,
    )
}
"""The loaders by the name of their data set."""


def load(name: str) -> Loaded:
    """Load a data set by its name in ``DATASETS``.

    Parameters
    ----------
    name : str
        "galaxies" for ``load_galaxies`` and so on.

    Returns
    -------
    X : DataFrame [N, D]
    labels : Series of categories [N] or None

    Raises
    ------
    ValueError
        If there is no such data set; the message lists those there are.

    Examples
    --------
    >>> from bayesgmm.datasets import load
    >>> X, labels = load("faithful")
    >>> X.shape
    (272, 2)
    """
    return lookup(DATASETS, name, "name")()
