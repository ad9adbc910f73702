"""The references of a methods paragraph: a row each, listed only where they were used."""

from typing import NamedTuple


class Reference(NamedTuple):
    """How a work is cited in the text, and how it is listed."""

    short: str
    full: str


REFERENCES = {
    "attias2000": Reference(
        "Attias, 2000",
        "Attias, H. (2000). A variational Bayesian framework for graphical models. Advances in "
        "Neural Information Processing Systems 12, 209–215.",
    ),
    "blei2006": Reference(
        "Blei and Jordan, 2006",
        "Blei, D. M. and Jordan, M. I. (2006). Variational inference for Dirichlet process "
        "mixtures. Bayesian Analysis 1, 121–144.",
    ),
    "celeux1995": Reference(
        "Celeux and Govaert, 1995",
        "Celeux, G. and Govaert, G. (1995). Gaussian parsimonious clustering models. Pattern "
        "Recognition 28, 781–793.",
    ),
    "dempster1977": Reference(
        "Dempster et al., 1977",
        "Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). Maximum likelihood from incomplete "
        "data via the EM algorithm. Journal of the Royal Statistical Society B 39, 1–38.",
    ),
    "escobar1995": Reference(
        "Escobar and West, 1995",
        "Escobar, M. D. and West, M. (1995). Bayesian density estimation and inference using "
        "mixtures. Journal of the American Statistical Association 90, 577–588.",
    ),
    "fraley2002": Reference(
        "Fraley and Raftery, 2002",
        "Fraley, C. and Raftery, A. E. (2002). Model-based clustering, discriminant analysis, and "
        "density estimation. Journal of the American Statistical Association 97, 611–631.",
    ),
    "fraley2007": Reference(
        "Fraley and Raftery, 2007",
        "Fraley, C. and Raftery, A. E. (2007). Bayesian regularization for normal mixture "
        "estimation and model-based clustering. Journal of Classification 24, 155–181.",
    ),
    "fruhwirth2021": Reference(
        "Frühwirth-Schnatter et al., 2021",
        "Frühwirth-Schnatter, S., Malsiner-Walli, G. and Grün, B. (2021). Generalized mixtures of "
        "finite mixtures and telescoping sampling. Bayesian Analysis 16, 1279–1307.",
    ),
    "gelman1996": Reference(
        "Gelman et al., 1996",
        "Gelman, A., Meng, X.-L. and Stern, H. (1996). Posterior predictive assessment of model "
        "fitness via realized discrepancies. Statistica Sinica 6, 733–807.",
    ),
    "hoffman2014": Reference(
        "Hoffman and Gelman, 2014",
        "Hoffman, M. D. and Gelman, A. (2014). The No-U-Turn sampler: adaptively setting path "
        "lengths in Hamiltonian Monte Carlo. Journal of Machine Learning Research 15, 1593–1623.",
    ),
    "hubert1985": Reference(
        "Hubert and Arabie, 1985",
        "Hubert, L. and Arabie, P. (1985). Comparing partitions. Journal of Classification 2, "
        "193–218.",
    ),
    "hughes2013": Reference(
        "Hughes and Sudderth, 2013",
        "Hughes, M. C. and Sudderth, E. B. (2013). Memoized online variational inference for "
        "Dirichlet process mixture models. Advances in Neural Information Processing Systems 26, "
        "1133–1141.",
    ),
    "jain2004": Reference(
        "Jain and Neal, 2004",
        "Jain, S. and Neal, R. M. (2004). A split-merge Markov chain Monte Carlo procedure for the "
        "Dirichlet process mixture model. Journal of Computational and Graphical Statistics 13, "
        "158–182.",
    ),
    "kallioinen2024": Reference(
        "Kallioinen et al., 2024",
        "Kallioinen, N., Paananen, T., Bürkner, P.-C. and Vehtari, A. (2024). Detecting and "
        "diagnosing prior and likelihood sensitivity with power-scaling. Statistics and Computing "
        "34, 57.",
    ),
    "kass1995": Reference(
        "Kass and Raftery, 1995",
        "Kass, R. E. and Raftery, A. E. (1995). Bayes factors. Journal of the American Statistical "
        "Association 90, 773–795.",
    ),
    "meila2007": Reference(
        "Meilă, 2007",
        "Meilă, M. (2007). Comparing clusterings – an information based distance. Journal of "
        "Multivariate Analysis 98, 873–895.",
    ),
    "newton1994": Reference(
        "Newton and Raftery, 1994",
        "Newton, M. A. and Raftery, A. E. (1994). Approximate Bayesian inference with the weighted "
        "likelihood bootstrap. Journal of the Royal Statistical Society B 56, 3–48.",
    ),
    "ohagan2019": Reference(
        "O’Hagan et al., 2019",
        "O’Hagan, A., Murphy, T. B., Scrucca, L. and Gormley, I. C. (2019). Investigation of "
        "parameter uncertainty in clustering using a Gaussian mixture model via jackknife, "
        "bootstrap and weighted likelihood bootstrap. Computational Statistics 34, 1779–1813.",
    ),
    "papastamoulis2010": Reference(
        "Papastamoulis and Iliopoulos, 2010",
        "Papastamoulis, P. and Iliopoulos, G. (2010). An artificial allocations based solution to "
        "the label switching problem in Bayesian analysis of mixtures of distributions. Journal of "
        "Computational and Graphical Statistics 19, 313–331.",
    ),
    "pitman1997": Reference(
        "Pitman and Yor, 1997",
        "Pitman, J. and Yor, M. (1997). The two-parameter Poisson–Dirichlet distribution derived "
        "from a stable subordinator. Annals of Probability 25, 855–900.",
    ),
    "richardson1997": Reference(
        "Richardson and Green, 1997",
        "Richardson, S. and Green, P. J. (1997). On Bayesian analysis of mixtures with an unknown "
        "number of components. Journal of the Royal Statistical Society B 59, 731–792.",
    ),
    "schwarz1978": Reference(
        "Schwarz, 1978",
        "Schwarz, G. (1978). Estimating the dimension of a model. Annals of Statistics 6, 461–464.",
    ),
    "varadhan2008": Reference(
        "Varadhan and Roland, 2008",
        "Varadhan, R. and Roland, C. (2008). Simple and globally convergent methods for "
        "accelerating the convergence of any EM algorithm. Scandinavian Journal of Statistics 35, "
        "335–353.",
    ),
    "vehtari2021": Reference(
        "Vehtari et al., 2021",
        "Vehtari, A., Gelman, A., Simpson, D., Carpenter, B. and Bürkner, P.-C. (2021). "
        "Rank-normalization, folding, and localization: an improved R-hat for assessing "
        "convergence of MCMC. Bayesian Analysis 16, 667–718.",
    ),
    "wade2018": Reference(
        "Wade and Ghahramani, 2018",
        "Wade, S. and Ghahramani, Z. (2018). Bayesian cluster analysis: point estimation and "
        "credible balls. Bayesian Analysis 13, 559–626.",
    ),
    "yao2018": Reference(
        "Yao et al., 2018",
        "Yao, Y., Vehtari, A., Simpson, D. and Gelman, A. (2018). Yes, but did it work?: "
        "evaluating variational inference. Proceedings of Machine Learning Research 80, 5581–5590.",
    ),
}


class Citations:
    """Works that were cited, as they were."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def __call__(self, *keys: str) -> str:
        """The citation in brackets."""
        self.used.update(keys)
        return f"({'; '.join(REFERENCES[key].short for key in keys)})"

    @property
    def listed(self) -> list[str]:
        """Their entries, by author."""
        return sorted(REFERENCES[key].full for key in self.used)
