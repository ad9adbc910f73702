"""Predictive checks: whether data drawn from what was fitted look like the data."""

from typing import Any

import numpy as np
from scipy import stats

from bayesgmm.report.figures import draw_intervals, picture
from bayesgmm.report.html import Html, para, stacked, table
from bayesgmm.report.reading import LEVEL, Reading
from bayesgmm.report.section import Context, Section
from bayesgmm.report.words import count, listed, number, share_of

FEATURES, PAIRS = 6, 4
"""Columns that are checked, at most; and those of which pairs are."""

BINS = 24
"""Of a histogram."""

HISTOGRAMS = 4
"""Columns whose histograms are drawn, at most."""

STATISTICS = {
    "standard deviation": lambda x: x.std(-1, ddof=1),
    "skewness": lambda x: stats.skew(x, axis=-1),
    "kurtosis": lambda x: stats.kurtosis(x, axis=-1),
    "5 % quantile": lambda x: np.quantile(x, 0.05, axis=-1),
    "median": lambda x: np.quantile(x, 0.5, axis=-1),
    "95 % quantile": lambda x: np.quantile(x, 0.95, axis=-1),
}
"""Of one column: numbers [..., N] to [...]."""


def predictive(context: Context) -> Section:
    """Statistics of replicated data sets beside those of the data."""
    found = {reading.key: compared(reading) for reading in context.readings}
    lead = context.lead
    title = f"{lead.title}: " if context.several else ""
    words = predictive_words(found[lead.key])
    blocks: list[Any] = [para(title + words, class_="lead")]
    blocks += [para(_source(reading)) for reading in context.readings]
    blocks += [_table(context, found), _intervals(lead, found[lead.key]), _histograms(lead)]
    note = (
        "p is the share of replicated data sets whose statistic is at least that of the data: a "
        "value near 0 or 1 says that such data would be unusual under the model. Parameters were "
        "fitted to the same data, which draws p towards 1/2."
    )
    blocks.append(para(note, class_="note"))
    return Section("predictive", "Predictive checks", blocks)


def compared(reading: Reading) -> list[tuple[str, float, float, float, float]]:
    """Statistic, its value, the interval of the replicas, and p."""
    points, replicas = reading.data.table.to_numpy(float), reading.replicas
    rows = []
    for name, own, drawn in _statistics(points, replicas, reading.data.names):
        if not np.isfinite(own) or np.ptp(drawn) == 0:
            continue
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        p = float((drawn > own).mean() + (drawn == own).mean() / 2)
        rows.append((name, float(own), float(low), float(high), p))
    return rows


def _statistics(points: np.ndarray, replicas: np.ndarray, names: list[str]) -> Any:
    """Name, value of the data, and values of the replicas [R]."""
    D = len(names)
    with np.errstate(invalid="ignore", divide="ignore"):
        for j in range(min(D, FEATURES)):
            for name, of in STATISTICS.items():
                title = f"{name} of {names[j]}" if D > 1 else name
                yield title, of(points[:, j]), of(replicas[:, :, j])
        for i in range(min(D, PAIRS)):
            for j in range(i + 1, min(D, PAIRS)):
                one = np.corrcoef(points[:, i], points[:, j])[0, 1]
                both = [np.corrcoef(x[:, i], x[:, j])[0, 1] for x in replicas]
                yield f"correlation of {names[i]} and {names[j]}", one, np.array(both)


def unusual(p: float) -> bool:
    """Whether the data lie outside the interval."""
    return min(p, 1 - p) < (1 - LEVEL) / 2


def predictive_words(rows: list) -> str:
    """How many statistics are unusual, and how many that is by chance."""
    odd = [name for name, *_, p in rows if unusual(p)]
    by_chance = f"{(1 - LEVEL) * len(rows):.1f}"
    if not odd:
        return (
            f"All {count(len(rows), 'statistic')} of the data lie within what the model predicts."
        )
    shown = listed(odd[:4]) + (" and others" if len(odd) > 4 else "")
    return (
        f"{len(odd)} of {count(len(rows), 'statistic')} of the data lie outside the middle "
        f"{100 * LEVEL:g} % of what the model predicts ({by_chance} would by chance): {shown}."
    )


def _source(reading: Reading) -> str:
    R, N, _ = reading.replicas.shape
    return f"{reading.title}: {R} data sets of {N:,} rows, {reading.replica_words}."


def _table(context: Context, found: dict[str, list]) -> Html:
    head = ["statistic", "data"]
    for reading in context.readings:
        own = f"{reading.title}, " if context.several else ""
        head.append(f"{own}p")
    R = len(context.lead.replicas)
    by_name = [{row[0]: row for row in found[reading.key]} for reading in context.readings]
    rows = []
    for name, value, *_ in found[context.lead.key]:
        cells = [name, number(value)]
        for own in by_name:
            if name not in own:
                cells.append("–")
                continue
            _, _, low, high, p = own[name]
            mark = " *" if unusual(p) else ""
            cells.append(stacked(f"{share_of(p, R)}{mark}", f"[{number(low)}, {number(high)}]"))
        rows.append(cells)
    return table(head, rows, f"Statistics: p, and {100 * LEVEL:g} % of the replicas (* outside)")


def _intervals(reading: Reading, rows: list) -> Html:
    """Each statistic in units of its interval."""
    shown = []
    for name, own, low, high, _ in rows:
        middle, half = (low + high) / 2, (high - low) / 2 or 1.0
        shown.append((name, -1.0, 1.0, float(np.clip((own - middle) / half, -3, 3))))

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        draw_intervals(ax, shown)
        ax.set_xlim(-3.2, 3.2)
        ax.set_xticks([-1, 0, 1], ["low", "middle", "high"])
        ax.set_xlabel(f"{100 * LEVEL:g} % of the replicas (bar) and the data (dot)")

    out = sum(abs(dot) > 1 for *_, dot in shown)
    alt = (
        f"A bar for the middle {100 * LEVEL:g} % of each statistic over replicas and a dot for the "
        f"data: {out} of {len(shown)} dots lie outside."
    )
    words = (
        f"{reading.title}: statistics of the data (dots; diamonds where outside) against those of "
        "the replicas, each in units of its own interval."
    )
    return picture(draw, alt, words, size=(6.4, 0.9 + 0.24 * len(shown)))


def _histograms(reading: Reading) -> Html:
    """Histograms of the data with what replicas have in each bin."""
    from bayesgmm.drawing import COLORS

    names = reading.data.names[:HISTOGRAMS]
    points, replicas = reading.data.table.to_numpy(float), reading.replicas
    columns = min(2, len(names))
    lines = -(-len(names) // columns)

    def draw(figure: Any) -> None:
        axes = figure.subplots(lines, columns, squeeze=False)
        for j, (ax, name) in enumerate(zip(axes.flat, names, strict=False)):
            edges = np.linspace(points[:, j].min(), points[:, j].max(), BINS + 1)
            counts = np.stack([np.histogram(x[:, j], edges)[0] for x in replicas])
            low, high = np.quantile(counts, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
            own = np.histogram(points[:, j], edges)[0]
            ax.stairs(high, edges, baseline=low, fill=True, color=COLORS[0], alpha=0.3)
            ax.stairs(own, edges, color="black", linewidth=1.2)
            ax.set(xlabel=name, ylabel="rows")
            ax.set_ylim(bottom=0)
        for ax in axes.flat[len(names) :]:
            ax.set_axis_off()

    alt = (
        f"Histograms of {listed(names)}: the data as a line, and a band that holds "
        f"{100 * LEVEL:g} % of the replicas in each bin."
    )
    words = (
        f"{reading.title}: rows in each bin, of the data (line) and of {100 * LEVEL:g} % of the "
        "replicas (band)."
    )
    return picture(draw, alt, words, size=(3.4 * columns if columns > 1 else 5.0, 2.5 * lines))
