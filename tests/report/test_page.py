"""The page: well-formed, by itself, true to the estimators, and what it says where methods differ.

One small fit of each estimator, and one page of the three, serve all tests.
"""

import re
import shutil
import subprocess
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError

from bayesgmm import (
    BayesianGaussianMixture,
    GaussianMixture,
    MCMCGaussianMixture,
    select_model,
)
from bayesgmm.report import Report, write_report
from bayesgmm.report.html import VOID, Html, tag
from bayesgmm.report.mathml import math
from bayesgmm.report.page import READINGS, SECTIONS
from bayesgmm.report.references import REFERENCES
from bayesgmm.report.words import array, listed, number, percent, probability, share_of

NAMES = ["a<b>", 'c & "d"']


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.normal(0, 1, (25, 2)), rng.normal(6, 1, (15, 2)) * [1, 2]])
    points[0] = 2.5, 4.0  # between the clusters: one to be uncertain of
    return pd.DataFrame(points, columns=NAMES, index=[f"<row {i}>" for i in range(40)])


@pytest.fixture(scope="module")
def fits(X):
    """EM as a table of models, VB, MCMC."""
    selection = select_model(X, [1, 2, 3], "EEE", random_state=0, progress_bar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few draws are too few
        return {
            "selection": selection,
            "em": selection.best_estimator_,
            "vb": BayesianGaussianMixture(4, moves=False, random_state=0).fit(X),
            "mcmc": MCMCGaussianMixture(
                n_chains=2,
                n_samples=60,
                n_warmup=60,
                moves=False,
                random_state=0,
                progress_bar=False,
            ).fit(X),
        }


@pytest.fixture(scope="module")
def page(X, fits):
    """Of the three methods."""
    said = []
    found = write_report(
        X,
        [fits["mcmc"], fits["vb"]],
        selection=fits["selection"],
        name="a <script>",
        notes=["left out: <i>"],
        command="bayesgmm report 'a<b>.csv'",
        progress=said.append,
    )
    assert len(said) > len(SECTIONS)
    return found


@pytest.fixture(scope="module")
def singles(X, fits):
    """A page of each method, its figures not written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, buffer, **options: buffer.write(b"figure"))
        found = {key: fits[key].report(X).html for key in ("em", "vb", "mcmc")}
        assert fits["vb"].report(X).html == found["vb"]  # the same every time
        return found


class Reader(HTMLParser):
    """What a page holds; tags that are not closed in order are an error."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attrs):
        self.tags.append((name, dict(attrs)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.words.append(data)

    def of(self, name):
        return [attrs for found, attrs in self.tags if found == name]


def text(html):
    """Words of markup, one blank between them."""
    return " ".join(" ".join(Reader(f"<div>{html}</div>").words).split())


def table(html, caption):
    """Rows of cells of the table below this caption."""
    rest = html.split(f'<p class="caption">{caption}', 1)[1].split("</table>", 1)[0]
    rows = re.findall(r"<tr>(.*?)</tr>", rest)
    return [[text(cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]


def section(html, name):
    return html.split(f'aria-labelledby="{name}"', 1)[1].split("</section>", 1)[0]


# --- the page as a file


def test_the_page_is_well_formed_and_loads_nothing(page):
    read = Reader(page.html)
    assert page.html.startswith("<!DOCTYPE html>")
    assert read.of("html") == [{"lang": "en"}]
    assert not read.of("script") and not read.of("link") and not read.of("iframe")
    sources = [a[key] for _, a in read.tags for key in ("src", "href", "srcset") if key in a]
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert "@import" not in page.html and "url(" not in page.html


def test_anchors_are_there_once_and_contents_lead_to_them(page):
    read = Reader(page.html)
    ids = [attrs["id"] for _, attrs in read.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    links = [a["href"][1:] for a in read.of("a")]
    assert set(links) <= set(ids) and len(set(links)) == len(SECTIONS)


def test_every_figure_has_words(page):
    images = Reader(page.html).of("img")
    assert len(images) >= 10
    for image in images:
        assert len(image["alt"]) > 30
        assert int(image["width"]) > 100 and int(image["height"]) > 100


def test_what_is_given_is_escaped(page):
    for wild in ("<script>", "a<b>", "<row", "<i>"):
        assert wild not in page.html
    assert "a &lt;script&gt;" in page.html and "a&lt;b&gt;" in page.html
    assert "&lt;row" in page.html and "left out: &lt;i&gt;" in page.html


def test_a_style_of_the_session_is_left_and_not_used(X, fits):
    import matplotlib

    from bayesgmm.report.figures import picture

    draw = lambda figure: figure.subplots()  # noqa: E731
    plain = picture(draw, "alt", "caption")
    with matplotlib.rc_context({"figure.facecolor": "red"}):
        assert picture(draw, "alt", "caption") == plain
        assert matplotlib.rcParams["figure.facecolor"] == "red"
    assert "image/png" in picture(draw, "alt", "caption", n_points=10_000)


# --- what it says


def test_numbers_of_clusters_are_those_of_the_estimators(page, fits):
    head, *rows = table(page.html, "The number of clusters, method by method")
    assert head[1:4] == ["EM: BIC weight", "Variational Bayes", "MCMC: p(K+)"]
    weights = fits["selection"].probabilities("n_components")
    posterior = fits["mcmc"].n_clusters_posterior()
    for K, weight, kept, p, error, prior in rows:
        K = int(K)
        assert (kept == "kept") == (fits["vb"].n_components_ == K)
        assert weight == (probability(weights[K]) if K in weights else "")
        row = posterior.loc[K] if p else None
        if p:
            assert p == probability(row["probability"])
            assert prior == probability(row["prior"])
            assert error == number(row["mcse"]) or error == f"{row['mcse']:.3f}"
    told = {int(row[0]) for row in rows if row[3]}
    assert told == set(posterior.index[posterior["probability"] >= 0.001])


def test_the_table_of_models_and_the_bound(page, fits):
    _, *rows = table(page.html, "EM: the ")
    best = fits["selection"].table.sort_values("bic").iloc[0]
    assert rows[0][:2] == [best["covariance_type"], str(best["n_components"])]
    assert rows[0][4] == f"{best['bic']:.3f}"
    _, bound = table(page.html, "Variational Bayes: the bound")
    assert bound == ["evidence lower bound", f"{fits['vb'].elbo_:.3f}".replace("-", "−")]


def test_diagnostics_and_implied_prior_are_those_of_the_estimator(page, fits):
    _, *rows = table(page.html, "MCMC: quantities that do not depend on labels")
    for row, (_, own) in zip(rows, fits["mcmc"].diagnose().iterrows(), strict=True):
        assert row[-1] == own["verdict"]
    _, *rows = table(page.html, "Implied prior of the number of clusters")
    expected = fits["vb"].prior_n_clusters(40, 8)
    assert [row[1] for row in rows[:8]] == [probability(p) for p in expected]
    sums = [float(row[2].strip("<>")) for row in rows]
    assert sum(sums) == pytest.approx(1, abs=0.01)


def test_methods_that_disagree_are_said_to(page, X, fits):
    numbers = [fits["em"].n_components_, fits["vb"].n_components_]
    numbers.append(int(fits["mcmc"].n_clusters_posterior()["probability"].idxmax()))
    said = text(section(page.html, "number"))
    assert ("All three methods agree" in said) == (len(set(numbers)) == 1)
    from bayesgmm.report.numbers import answers, disagreement
    from bayesgmm.report.page import _readings
    from bayesgmm.report.section import Context

    one = GaussianMixture.from_parameters([1.0], [[2.0, 4.0]], [np.eye(2)], feature_names=NAMES)
    chosen = replace(fits["selection"], best_estimator_=one)
    readings = _readings(X, fits["mcmc"], chosen, None, (), print)
    context = Context(readings[0].data, readings, chosen, None, print)
    K = readings[1].most_probable
    assert answers(context) == {"em": 1, "mcmc": K} and K > 1
    said = disagreement(context)
    assert f"The methods disagree: 1 cluster by EM and {K} clusters by MCMC." in said
    draws = fits["mcmc"].n_draws_
    assert f"None of {draws:,} draws of MCMC has 1, the number of EM." in said
    readings = _readings(X, [fits["vb"], fits["mcmc"]], chosen, None, (), print)
    said = disagreement(Context(readings[0].data, readings, chosen, None, print))
    assert "one number without its uncertainty." in said  # it kept no fewer than the others


def test_each_method_has_its_own_parts_and_not_those_of_others(singles):
    for key, html in singles.items():
        Reader(html)
        for name in ("data", "model", "number", "clusters", "doubt", "checks", "predictive"):
            assert f'<h2 id="{name}">' in html, (key, name)
        assert ("credible ball" in html) == (key == "mcmc")
        assert ("R-hat" in html) == (key == "mcmc")
        assert ("evidence lower bound" in html.lower()) == (key == "vb")
        assert ("bootstrap" in html) == (key == "em")
        assert ("power-scaling" in html) == (key == "mcmc")
        assert "Do the methods agree" not in html
    assert "Dempster" in singles["em"] and "there is no prior" in singles["em"]
    assert "Dempster" not in singles["vb"] + singles["mcmc"]
    assert "there is no prior" not in singles["vb"] + singles["mcmc"]


def test_references_are_those_that_are_cited(page):
    read = text(section(page.html, "methods"))
    paragraph, references = read.split("References", 1)
    for short, full in REFERENCES.values():
        assert (short in paragraph) == (full in references), short


def test_what_remakes_it(page, singles, fits):
    assert "bayesgmm report &#x27;a&lt;b&gt;.csv&#x27;" in page.html.replace("'", "&#x27;")
    assert "from bayesgmm import MCMCGaussianMixture" in text(section(singles["mcmc"], "reproduce"))
    script = section(singles["mcmc"], "reproduce").split("<code>", 1)[1].split("</code>")[0]
    compile(script.replace("&#x27;", "'").replace("&lt;", "<"), "script", "exec")
    assert "Seed (random_state): MCMC 0." in singles["mcmc"]


def test_clusters_are_called_what_predict_calls_them(X, fits):
    from bayesgmm.report.page import _readings

    (reading,) = _readings(X, fits["mcmc"], None, None, (), print)
    own, _ = reading.clusters
    weights = own[own["quantity"] == "weight"].set_index("cluster")["estimate"]
    for k, weight in weights.items():
        assert weight == pytest.approx(fits["mcmc"].weights_[k], abs=0.1)
    agree = (reading.labels == fits["mcmc"].labels_).mean()
    assert agree > 0.8


OPTIONS = {
    "one": lambda: GaussianMixture(1, random_state=0),
    "one, vb": lambda: BayesianGaussianMixture(1, random_state=0),
    "one, mcmc": lambda: short(1),
    "mode": lambda: GaussianMixture(2, prior="data-scaled", random_state=0),
    "diagonal mode": lambda: GaussianMixture(
        2, covariance_type="diag", prior="data-scaled", random_state=0
    ),
    "trimmed": lambda: GaussianMixture(2, support_fraction=0.9, random_state=0),
    "dirichlet": lambda: BayesianGaussianMixture(
        3, weight_concentration_prior_type="dirichlet_distribution", random_state=0
    ),
    "pitman-yor": lambda: BayesianGaussianMixture(
        3, weight_concentration_prior_type="pitman_yor", covariance_type="diag", random_state=0
    ),
    "fixed": lambda: BayesianGaussianMixture(
        3, weight_concentration_prior=0.5, covariance_type="tied", random_state=0
    ),
    "known": lambda: short(2, component_prior="conjugate"),
    "process": lambda: short("dp", component_prior="independent", covariance_type="diag"),
    "two parameters": lambda: short("py", covariance_type="spherical"),
    "static": lambda: short(weight_prior="static", n_components_prior=("poisson", 1)),
    "table": lambda: short(n_components_prior=[0.2, 0.3, 0.5], covariance_type="diag"),
    "nuts": lambda: short("dp", sampler="nuts", max_components=3),
    "lkj": lambda: short(2, component_prior="lkj"),
}


def short(n_components="mfm", **options):
    given = {"n_chains": 2, "n_samples": 30, "n_warmup": 30, "progress_bar": False}
    return MCMCGaussianMixture(n_components, random_state=0, **given, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("D", [1, 2, 5])
@pytest.mark.filterwarnings("ignore")
def test_every_kind_of_prior_and_of_figure(name, D):
    rng = np.random.default_rng(2)
    points = np.concatenate([rng.normal(0, 1, (25, D)), rng.normal(6, 1, (15, D))])
    html = OPTIONS[name]().fit(points).report(points).html
    read = Reader(html)
    assert len(read.of("img")) >= 4 and len(read.of("math")) >= 5
    assert "nan" not in text(section(html, "model"))


# --- the way in and out


def test_the_file_and_what_is_returned(tmp_path, page, X, fits):
    page.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page.html
    assert isinstance(page, Report) and "save(path)" in repr(page)
    frame = Reader(page._repr_html_()).of("iframe")[0]
    assert frame["srcdoc"] == page.html


def test_what_is_refused(tmp_path, X, fits):
    em = fits["em"]
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        em.report(X, tmp_path / "nowhere" / "page.html")
    with pytest.raises(IsADirectoryError, match="got the folder"):
        em.report(X, tmp_path)
    with pytest.raises(NotFittedError):
        GaussianMixture(2).report(X)
    with pytest.raises(TypeError, match=r"estimators of bayesgmm .*got sklearn.*KMeans"):
        write_report(X, KMeans(2, n_init=1, random_state=0).fit(X))
    with pytest.raises(ValueError, match="of different classes, got GaussianMixture, Gaussian"):
        em.report(X, others=[em])
    with pytest.raises(ValueError, match="at least one fitted estimator, got none"):
        write_report(X, [])
    with pytest.raises(TypeError, match="what select_model returns, got str"):
        em.report(X, selection="bic")
    with pytest.raises(ValueError, match="must have the 2 features .* got 1"):
        em.report(X.iloc[:, :1])
    with pytest.raises(ValueError, match="fitted to: it has 40 rows, X has 39"):
        em.report(X.iloc[1:])
    weighted = GaussianMixture(1, random_state=0).fit(X, sample_weight=np.repeat([1, 2], 20))
    with pytest.raises(ValueError, match="each of weight 1.*repeat the rows"):
        weighted.report(X)
    with pytest.raises(ValueError, match=r"got shape \(40,\)"):
        em.report(X.iloc[:, 0])
    with pytest.raises(TypeError, match=r"in memory; got str .*Chunks"):
        em.report("points.parquet")
    with pytest.raises(ValueError, match="X must be finite"):
        em.report(X.where(X > X.min()))


def test_every_estimator_has_a_reading():
    assert set(READINGS) == {
        kind.__name__ for kind in (GaussianMixture, BayesianGaussianMixture, MCMCGaussianMixture)
    }


# --- small pieces


def test_markup():
    assert tag("p", "1 < 2 & 3", Html("<b>x</b>"), None) == "<p>1 &lt; 2 &amp; 3<b>x</b></p>"
    assert tag("td", "x", class_="n", aria_label='"q"') == (
        '<td class="n" aria-label="&quot;q&quot;">x</td>'
    )
    assert tag("img", alt="a", src=None) == '<img alt="a">'


def test_formulas():
    assert math("x_n ∼ Normal(μ_k)") == (
        "<math><mrow><msub><mi>x</mi><mi>n</mi></msub><mo>∼</mo><mi>Normal</mi>"
        '<mo stretchy="false">(</mo>'
        "<msub><mi>μ</mi><mi>k</mi></msub>"
        '<mo stretchy="false">)</mo></mrow></math>'
    )
    assert "<msubsup><mo>∑</mo><mrow><mi>k</mi><mo>=</mo><mn>1</mn></mrow><mi>K</mi>" in math(
        "∑_{k=1}^K π_k"
    )


def test_words():
    assert [number(x) for x in (0, 1234.5, 0.01234, -2e-7, 1e9)] == [
        "0.00",
        "1234",
        "0.0123",
        "−2.00e−07",
        "1.00e+09",
    ]
    assert number(np.nan) == "–"
    assert [probability(p) for p in (0, 1e-9, 0.25, 0.9999, 1)] == [
        "0.000",
        "<0.001",
        "0.250",
        ">0.999",
        "1.000",
    ]
    assert [share_of(p, 200) for p in (0.0, 0.025, 1.0)] == ["<0.005", "0.025", ">0.995"]
    assert (percent(0.169), percent(1), percent(0)) == ("16.9 %", "100 %", "0 %")
    assert listed("abc") == "a, b and c"
    assert array(np.diag([1.0, 2])) == "diag(1.00, 2.00)"
    assert array([[1, 2], [2, 4.0]]) == "[1.00, 2.00; 2.00, 4.00]"


# --- in a browser

PROBE = """<!DOCTYPE html><meta charset="utf-8"><iframe id="f" width="{width}" height="900"
style="border:0" srcdoc="{page}"></iframe><pre id="found"></pre><script>
addEventListener("load", () => {{
  const inside = document.getElementById("f").contentWindow, page = inside.document;
  const wide = [...page.querySelectorAll("body *")].filter(
    (e) => !e.closest(".scroll, .formulas, pre") && e.getBoundingClientRect().right > {width} + 1);
  const broken = [...page.images].filter((i) => !i.complete || !i.naturalWidth);
  const asked = inside.performance.getEntriesByType("resource")
    .filter((e) => !e.name.startsWith("data:"));
  document.getElementById("found").textContent = JSON.stringify(
    {{width: page.documentElement.scrollWidth, wide: wide.map((e) => e.outerHTML.slice(0, 80)),
     broken: broken.length, asked: asked.map((e) => e.name), tall: page.body.scrollHeight > 3000}});
}});
</script>"""


def chromium():
    """Where it is; looked up late, as it may have been installed beside the tests before."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    return found or pytest.skip("there is no Chromium")


@pytest.mark.parametrize("width", [375, 1200])
def test_in_a_browser_it_fits_and_asks_for_nothing(page, tmp_path, width):
    import json
    from html import escape, unescape

    browser, probe = chromium(), tmp_path / "probe.html"
    probe.write_text(PROBE.format(width=width, page=escape(page.html)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += ["--virtual-time-budget=20000"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    done = subprocess.run(
        [browser, *options, f"--window-size={max(width, 500)},1000", "--dump-dom", probe.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    shown = re.search(r'<pre id="found">(.*?)</pre>', done.stdout)
    assert shown, done.stderr[-2000:]
    found = json.loads(unescape(shown[1]))
    assert found == {"width": width, "wide": [], "broken": 0, "asked": [], "tall": True}
