"""The clusters: sizes, parameters with intervals, the partition with its credible ball, figures."""

from typing import Any

import numpy as np

from bayesgmm.report.figures import picture
from bayesgmm.report.html import Html, para, stacked, table, tag
from bayesgmm.report.mcmc import MCMC
from bayesgmm.report.reading import LEVEL, Reading
from bayesgmm.report.section import Context, Section, cluster_name
from bayesgmm.report.words import count, fixed, listed, number, percent, probability

FEATURES = 12
"""Columns of the table of clusters, at most."""

PAIRED = 4
"""Columns of which a figure shows every pair, at most."""


def clusters(context: Context) -> Section:
    """Each method's clusters; then how far the methods agree."""
    blocks: list[Any] = []
    for reading in context.readings:
        blocks += [context.heading(reading, "clusters"), *_of(reading)]
    blocks += _agreement(context)
    return Section("clusters", "The clusters", [block for block in blocks if block is not None])


def _of(reading: Reading) -> list[Html]:
    blocks = [para(sizes_words(reading))]
    if isinstance(reading, MCMC):
        blocks += _partition(reading)
    blocks.append(_picture(reading))
    found, words = reading.clusters
    blocks += [_parameters(reading, found), para(words, class_="note")]
    blocks += [para("Warning: ", text, class_="note") for text in reading.said]
    if isinstance(reading, MCMC):
        blocks += [*_ball(reading), *_similarity(reading)]
    return blocks


def sizes_words(reading: Reading) -> str:
    """How many rows each has."""
    sizes = [int(n) for n in reading.sizes if n]
    if len(sizes) == 1:
        return "All rows are in one cluster."
    shown = [f"{n:,}" for n in sorted(sizes, reverse=True)]
    said = f"{len(sizes)} clusters, of {listed(shown)} rows."
    if isinstance(reading, MCMC) and reading.most_probable != len(sizes):
        said += (
            f" This is the partition of least expected loss; {reading.most_probable} clusters are "
            "more probable, but which rows the others hold is too uncertain to say so of each row."
        )
    return said


# --- parameters -----------------------------------------------------------------------------------


def _parameters(reading: Reading, found: Any) -> Html:
    """A column for each cluster: estimates, and below them their intervals."""
    own = found.set_index(["quantity", "feature", "cluster"]).sort_index()
    names = sorted(found["cluster"].unique())
    wanted = [("weight", None, "weight")]
    if (found["quantity"] == "size").any():
        wanted.append(("size", None, "rows"))
    for name in reading.data.names[:FEATURES]:
        wanted += [("mean", name, f"mean of {name}"), ("sd", name, f"SD of {name}")]
    by_key = {
        (row.quantity, row.feature if isinstance(row.feature, str) else None, row.cluster): row
        for row in own.reset_index().itertuples()
    }
    rows = []
    for quantity, feature, title in wanted:
        cells = [by_key[quantity, feature, k] for k in names]
        rows.append([title, *(_cell(row, whole=quantity == "size") for row in cells)])
    head = ["", *(cluster_name(k) for k in names)]
    caption = f"{reading.title}: parameters of the clusters (SD: standard deviation)"
    if len(reading.data.names) > FEATURES:
        caption += f" (the first {FEATURES} columns)"
    return table(head, rows, caption)


def _cell(row: Any, whole: bool) -> Any:
    shown = (lambda value: f"{value:,.0f}") if whole else number
    if np.isnan(row.lower):
        return shown(row.estimate)
    return stacked(shown(row.estimate), f"[{shown(row.lower)}, {shown(row.upper)}]")


# --- figures --------------------------------------------------------------------------------------


def _picture(reading: Reading) -> Html:
    """The clusters over the points: a curve, ellipses, or every pair of a few columns."""
    from bayesgmm import plots

    model, X = reading.model, reading.given
    N, D = reading.data.shape
    names, K = reading.data.names, int(model.n_components_)
    kept = {"support": getattr(model, "support_", None)}
    if D == 1 and isinstance(reading, MCMC):
        draw = lambda f: plots.plot_predictive(model, X, ax=f.subplots())  # noqa: E731
        alt = f"Posterior predictive density of {names[0]} with a band, over a histogram."
        words = f"MCMC: density of {names[0]}, with a 90 % band over the draws."
        return picture(draw, alt, words)
    if D == 1:
        draw = lambda f: plots.plot_density(model, X, ax=f.subplots())  # noqa: E731
        alt = f"Density of {names[0]} and of its {K} components, with the points as ticks."
        return picture(draw, alt, f"{reading.title}: density of {names[0]}.", n_points=N)
    if D == 2:
        draw = lambda f: plots.plot_components(model, X, ax=f.subplots(), **kept)  # noqa: E731
        alt = f"Points of {names[0]} and {names[1]} in {count(K, 'ellipse')}, one a component."
        words = f"{_whose(reading)} ellipses at two standard deviations (86 % of a component)."
        return picture(draw, alt, words, n_points=N)
    F = min(D, PAIRED)
    draw = lambda f: plots.plot_pairs(  # noqa: E731
        model, X, features=range(F), axes=f.subplots(F, F), **kept
    )
    alt = f"Every pair of {listed(names[:F])}: points by cluster, with {count(K, 'ellipse')}."
    which = f"the first {F}" if D > F else "all"
    words = f"{_whose(reading)} every pair of {which} columns."
    size = (1.6 + 1.4 * F, 1.2 + 1.2 * F)
    return picture(draw, alt, words, size=size, n_points=N * F * (F - 1) // 2)


def _whose(reading: Reading) -> str:
    """Whose parameters a figure shows."""
    if isinstance(reading, MCMC):
        K = count(int(reading.model.n_components_), "cluster")
        return f"MCMC, means over the draws with {K}:"
    return f"{reading.title}:"


# --- the partition --------------------------------------------------------------------------------


def _partition(reading: MCMC) -> list[Html]:
    best = reading.best
    words = (
        f"The partition of least posterior expected variation of information has "
        f"{count(best.n_clusters, 'cluster')}; its expected loss is {fixed(best.expected_loss)} "
        f"bits"
    )
    if best.mcse == best.mcse:
        words += f" (Monte Carlo error {number(best.mcse, 2)})"
    if best.runner_up is not None:
        other = best.runner_up
        words += (
            f"; the next best has {count(other.n_clusters, 'cluster')} at "
            f"{fixed(other.expected_loss)} bits"
        )
    rows = [
        [
            cluster_name(k),
            f"{row['size']:.0f}",
            probability(row["kept"]),
            probability(row["jaccard"]),
            probability(row["together"]),
        ]
        for k, row in reading.assignments.stability.iterrows()
    ]
    head = ["cluster", "rows", "kept", "Jaccard", "together"]
    return [
        para(words + "."),
        table(head, rows, "MCMC: how stable each cluster is"),
        para(
            "Kept: mean probability of its rows to be in it. Jaccard: expected share of rows in "
            "common with the cluster of a draw that is most like it. Together: probability that "
            "two of its rows are in one cluster.",
            class_="note",
        ),
    ]


def _ball(reading: MCMC) -> list[Html]:
    """What else the posterior allows."""
    ball = reading.ball
    rows = [
        [words, _clusters_of(getattr(ball, name)), fixed(ball.distances[name])]
        for name, words in (
            ("upper", "fewest clusters"),
            ("lower", "most clusters"),
            ("horizontal", "farthest"),
        )
    ]
    title = f"The {100 * LEVEL:g} % credible ball"
    blocks = [
        tag("h3", title, id="ball"),
        para(
            f"Partitions within {fixed(ball.radius)} bits of it hold {percent(ball.coverage)} of "
            "the posterior. What else the data allow, at the edge of that ball:"
        ),
        table(["partition of the ball", "clusters", "bits away"], rows, title),
    ]
    if ball.radius == 0:
        blocks.append(para("All of the ball is this one partition."))
        return blocks
    from bayesgmm.plots import plot_credible_ball

    N, D = reading.data.shape
    draw = lambda f: plot_credible_ball(  # noqa: E731
        ball, reading.data.table, axes=f.subplots(2, 2, sharex=True, sharey=True)
    )
    alt = (
        "Four panels: the partition, and the farthest, the coarsest and the finest of its credible "
        "ball, rows in another cluster ringed."
    )
    over = "" if D < 3 else f", over {listed(reading.data.names[:2])}"
    words = f"MCMC: the partition and the bounds of its credible ball{over}."
    size = (7.2, 6.0 if D > 1 else 5.0)
    return [*blocks, picture(draw, alt, words, size=size, n_points=4 * N)]


def _clusters_of(bounds: np.ndarray) -> str:
    return " or ".join(str(int(n)) for n in np.unique(bounds.max(1) + 1))


def _similarity(reading: MCMC) -> list[Html]:
    """The picture of the similarity matrix, once there are two clusters or two rows apart."""
    from bayesgmm.plots import plot_similarity

    if len(reading.data.table) < 3:
        return []
    draws = reading.model.label_draws()
    draw = lambda f: plot_similarity(draws, reading.labels, ax=f.subplots())  # noqa: E731
    alt = (
        "A square picture of the probability that each two rows are in one cluster: dark squares "
        f"along the diagonal are the {count(reading.n_clusters, 'cluster')}."
    )
    words = "MCMC: probability that each two rows are in one cluster, ordered by the partition."
    return [picture(draw, alt, words, size=(5.0, 5.2), n_points=len(reading.data.table) * 4)]


# --- agreement ------------------------------------------------------------------------------------


def _agreement(context: Context) -> list[Html]:
    """How far the partitions of two methods are alike, and which cluster is which."""
    if not context.several:
        return []
    from sklearn.metrics import adjusted_rand_score

    readings, rows, N = context.readings, [], len(context.data.table)
    for i, one in enumerate(readings):
        for other in readings[i + 1 :]:
            alike = adjusted_rand_score(one.labels, other.labels)
            moved = N - _in_common(one.labels, other.labels)
            pair = f"{one.title} and {other.title}"
            rows.append([pair, fixed(alike), f"{moved:,} ({percent(moved / N)})"])
    title = "Do the methods agree on the clusters?"
    caption = "How much alike the partitions of two methods are"
    lead = context.lead
    crossed = [_crossed(one, lead) for one in readings if one is not lead]
    return [
        tag("h3", title, id="agreement"),
        table(["methods", "adjusted Rand index", "rows put elsewhere"], rows, caption),
        para(
            "The adjusted Rand index is 1 for equal partitions and about 0 for unrelated ones. "
            "Clusters are matched one to one so that they share most rows; the others are put "
            "elsewhere.",
            class_="note",
        ),
        *crossed,
    ]


def _table_of(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Rows in each pair of clusters, [K, L]."""
    found = np.zeros((int(one.max()) + 1, int(other.max()) + 1), int)
    np.add.at(found, (one, other), 1)
    return found


def _in_common(one: np.ndarray, other: np.ndarray) -> int:
    from scipy.optimize import linear_sum_assignment

    found = _table_of(one, other)
    return int(found[linear_sum_assignment(-found)].sum())


def _crossed(one: Reading, lead: Reading) -> Html:
    found = _table_of(one.labels, lead.labels)
    present = np.flatnonzero(found.sum(0))
    head = [f"{one.title} \\ {lead.title}", *(cluster_name(k) for k in present)]
    rows = [
        [cluster_name(k), *(f"{n:,}" for n in row[present])]
        for k, row in enumerate(found)
        if row.sum()
    ]
    return table(head, rows, f"Rows by their cluster: {one.title} down, {lead.title} across")
