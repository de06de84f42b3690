"""Charts of a study's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from seedwise.records.run import RunRecord
from seedwise.reports.read_study import ArmFiles, Interval, StudyFiles
from seedwise.reports.svg import LETTER, Axis, Plot, Point
from seedwise.reports.words import Words
from seedwise.stats import DIFFERENCE, SHARE

ROW = 46
"""Height of an arm's row: its name above, its dots below."""
NAME = 0.44
"""Share of a row's height for the name and the numbers; neither lines nor the band run through them."""


@dataclass(frozen=True)
class ChartRow:
    """An arm's row in a chart; `mean` and intervals in the chart's unit."""

    name: str
    said: str
    """Its numbers in words, at the right end."""
    dots: Sequence[tuple[float, str]]
    """The number of each seed, and its tooltip."""
    mean: float
    thick: Interval | None = None
    thin: Interval | None = None


def rows_chart(
    rows: Sequence[ChartRow], title: str, label: str, *, margin: float | None = None, signed: bool = False
) -> Markup | None:
    """A chart with a row for each arm: a dot for each seed, the mean, and intervals; a band for ±`margin` around 0."""
    if not rows:
        return None
    numbers = [value for row in rows for value in (row.mean, *(dot for dot, _ in row.dots))]
    numbers += [end for row in rows for interval in (row.thick, row.thin) if interval for end in interval]
    if signed:
        numbers += [0.0, *((-margin, margin) if margin else ())]
    height = ROW * len(rows) + 44
    plot = Plot(
        Axis.over(numbers, limits=DIFFERENCE if signed else SHARE), Axis(0, len(rows), ()), height=height, left=10
    )
    bottom = float(len(rows))
    strips = below_names(len(rows))
    if margin and signed:
        for strip in strips:
            plot.box((-margin, margin), strip, "margin")
    plot.x_axis(label, percent=True, signed=signed, lines=strips)
    for low, high in strips if signed else ():
        plot.segment((0, low), (0, high), "zero")
    for index, row in enumerate(rows):
        level, below = bottom - index - 0.6, bottom - index - 0.8
        y = plot.up(bottom - index - 0.34)
        plot.text(plot.left, y, row.name, "name strong", plot.right - plot.left - LETTER * (len(row.said) + 1))
        plot.text(plot.right, y, row.said, "name end")
        for interval, style in ((row.thin, "thin"), (row.thick, "thick")):
            if interval:
                plot.segment((interval[0], level), (interval[1], level), style)
        for value, said in row.dots:
            plot.dot((value, below), said, "seed", 3.2)
        plot.dot((row.mean, level), row.said, "dot", 4.0)
    return plot.svg(title)


def below_names(rows: int) -> list[tuple[float, float]]:
    """Ranges of y, on an axis from 0 to `rows`, where lines and bands cross neither names nor numbers."""
    return [(row + 0.03, row + 1 - NAME) for row in range(rows)]


def forest(study: StudyFiles, words: Words, margin: float | None) -> Markup | None:
    """Forest plot: paired differences to the base with their mean, 95% interval, and the simultaneous one."""
    rows, base = [], study.arms[study.base].outcomes(study.split)
    for arm in study.arms.values():
        if arm.compared is None:
            continue
        mine = arm.outcomes(study.split)
        pairs = [(seed, mine[seed] - base[seed]) for seed in mine if seed in base]
        dots = [(value, words("study.seed_said", seed=seed, value=words.signed(value))) for seed, value in pairs]
        said = words.signed(arm.compared.mean)
        if arm.compared.ci95_simultaneous:
            said += f" {words.interval(arm.compared.ci95_simultaneous)}"
        found = arm.compared
        rows.append(ChartRow(arm.name, said, dots, found.mean, found.ci95, found.ci95_simultaneous))
    return rows_chart(rows, words("forest.alt"), words("forest.axis"), margin=margin, signed=True)


def seeds_chart(study: StudyFiles, words: Words) -> Markup | None:
    """Accuracy of every seed, by arm."""
    rows = []
    for arm in study.arms.values():
        outcomes, summary = arm.outcomes(study.split), arm.summary.get(study.split)
        if not outcomes or summary is None:
            continue
        said = words.percent(summary.mean, 2) + (f" ± {words.percent(summary.sd, 2)}" if summary.sd is not None else "")
        dots = [
            (value, words("study.seed_said", seed=seed, value=words.percent(value, 2)))
            for seed, value in outcomes.items()
        ]
        rows.append(ChartRow(arm.name, said, dots, summary.mean, summary.ci95))
    label = words("seeds.axis", split=words(f"split.{study.split}"))
    return rows_chart(rows, words("seeds.alt"), label)


def learning(study: StudyFiles, words: Words) -> list[dict[str, object]]:
    """Learning curves: for each arm the mean over seeds, a band from lowest to highest, and the base's in gray."""
    ranges = {name: _range(list(arm.runs.values())) for name, arm in study.arms.items()}
    ranges = {name: found for name, found in ranges.items() if found}
    values = [value for found in ranges.values() for _, low, _, high in found for value in (low, high)]
    epochs = [epoch for found in ranges.values() for epoch, *_ in found]
    if not values:
        return []
    charts: list[dict[str, object]] = []
    shown = [name for name in ranges if name != study.base] or list(ranges)
    for name in shown:
        plot = Plot(Axis.over(epochs, whole=True), Axis.over(values, limits=SHARE))
        plot.axes(words("curves.epoch"), "", y_percent=True)
        both = [(study.base, "gray"), (name, "one")] if name != study.base else [(name, "one")]
        for arm, style in both:
            found = ranges.get(arm, [])
            plot.band([(x, low) for x, low, _, _ in found], [(x, high) for x, _, _, high in found], style)
            plot.line([(x, mean) for x, _, mean, _ in found], style)
        legend = [(style, arm) for arm, style in both] if len(both) > 1 else []
        charts.append({"title": name, "svg": plot.svg(words("learning.alt", arm=name)), "legend": legend})
    return charts


def _range(runs: Sequence[RunRecord]) -> list[tuple[int, float, float, float]]:
    """(epoch, lowest, mean, highest) validation top-1 of the epochs that every run has."""
    curves = [[row.val.top1 for row in run.epochs if row.val is not None] for run in runs]
    found = []
    for epoch, values in enumerate(zip(*curves), 1):
        found.append((epoch, min(values), sum(values) / len(values), max(values)))
    return found


def cost(study: StudyFiles, words: Words) -> Markup | None:
    """Accuracy against a run's training time: small dots are seeds, large ones means."""
    points: dict[str, list[Point]] = {}
    for arm in study.arms.values():
        outcomes = arm.outcomes(study.split)
        timed = [(run.seconds["train"] / 60, outcomes[s]) for s, run in arm.runs.items() if "train" in run.seconds]
        if timed:
            points[arm.name] = timed
    if not points:
        return None
    every = [point for timed in points.values() for point in timed]
    times = [x for x, _ in every]
    across = Axis.over([*times, 0.0] if min(times) < max(times) / 2 else times)
    plot = Plot(across, Axis.over([y for _, y in every], limits=SHARE), height=260)
    plot.axes(words("cost.axis"), "", y_percent=True)
    means = {name: _mean(timed) for name, timed in points.items()}
    for name, timed in points.items():
        for point in timed:
            plot.dot(point, name, "seed gray" if name == study.base else "seed", 2.4)
    _label(plot, means, study.base)
    return plot.svg(words("cost.alt"))


def _label(plot: Plot, means: Mapping[str, Point], base: str) -> None:
    """Names beside the means, moved apart where they would overlap."""
    lowest = plot.top - 12.0
    for name, mean in sorted(means.items(), key=lambda item: -item[1][1]):
        x, y = plot.across(mean[0]), plot.up(mean[1])
        plot.dot(mean, name, "dot gray" if name == base else "dot one", 4.5)
        lowest = max(y + 3.5, lowest + 11)
        if x > (plot.left + plot.right) / 2:
            plot.text(x - 8, lowest, name, "name end", x - 8 - plot.left)
        else:
            plot.text(x + 8, lowest, name, "name", plot.right - x - 8)


def _mean(points: Sequence[Point]) -> Point:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


__all__ = ["ArmFiles", "cost", "forest", "learning", "seeds_chart"]
