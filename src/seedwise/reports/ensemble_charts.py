"""Charts of an ensemble's report."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from seedwise.records.ensemble import EnsembleRecord, Gain, HeldOut
from seedwise.reports.study_charts import ChartRow, below_names, rows_chart
from seedwise.reports.svg import Axis, Plot
from seedwise.reports.words import Words
from seedwise.stats import SHARE

ROW = 32
"""Height of a member's row: its name above, its dots below."""
MEMBERS_SHOWN, NAME = 40, 36
"""Largest numbers of members drawn, and of letters of a name."""


def gains(record: EnsembleRecord, names: Sequence[str], words: Words) -> Markup | None:
    """Accuracy of the vote minus its members': a dot for each, their mean with its interval, and the best of them."""
    rows = []
    for split in ("test", "val"):
        held: HeldOut | None = getattr(record, split)
        if held is None:
            continue
        tops = [(name, getattr(member.final, split)) for name, member in zip(names, record.members)]
        dots = [(held.scores.top1 - scores.top1, name) for name, scores in tops if scores is not None]
        said = [(value, f"{name}: {words.signed(value)}") for value, name in dots]
        rows.append(_row(words(f"ensemble.over_mean_{split}"), held.gain_over_mean, said, words))
        if held.gain_over_best is not None:
            rows.append(_row(words(f"ensemble.over_best_{split}"), held.gain_over_best, [], words))
    return rows_chart(rows, words("ensemble.gains_alt"), words("forest.axis"), signed=True)


def _row(name: str, gain: Gain, dots: Sequence[tuple[float, str]], words: Words) -> ChartRow:
    said = words.signed(gain.mean) + (f" {words.interval(gain.ci95)}" if gain.ci95 else "")
    return ChartRow(name, said, dots, gain.mean, gain.ci95)


def members(record: EnsembleRecord, names: Sequence[str], split: str, words: Words) -> Markup | None:
    """A row for each member, from its accuracy on held-out to that on its own training images, beside the vote's."""
    held: HeldOut | None = getattr(record, split)
    if held is None:
        return None
    shown = list(zip(names, record.members))[:MEMBERS_SHOWN]
    vote, mean = held.scores.top1, held.mean_of_members.top1
    values = [vote, mean]
    for _, member in shown:
        values += [it.top1 for it in (member.final.train, member.final.val, member.final.test) if it is not None]
    height = ROW * len(shown) + 44
    plot = Plot(Axis.over(values, limits=SHARE), Axis(0, len(shown), ()), height=height, left=10)
    strips = below_names(len(shown))
    plot.x_axis(words("ensemble.top1_axis"), percent=True, lines=strips)
    for low, high in strips:
        plot.line([(mean, low), (mean, high)], "gray dashed")
        plot.line([(vote, low), (vote, high)], "one")
    for index, (name, member) in enumerate(shown):
        level, train = len(shown) - index - 0.72, member.final.train.top1
        ours = getattr(member.final, split)
        if ours is not None:
            plot.segment((ours.top1, level), (train, level), "thin")
        for style, kind in (("gray", "train"), ("two", "val"), ("ink", "test")):
            scores = getattr(member.final, kind)
            if scores is not None:
                said = f"{name}, {words(f'split.{kind}')}: {words.percent(scores.top1, 2)}%"
                plot.dot((scores.top1, level), said, f"dot {style}", 3.4)
        y = plot.up(len(shown) - index - 0.36)
        short = name if len(name) <= NAME else "…" + name[1 - NAME :]
        plot.text(plot.left, y, short, "name strong" if member.weight else "tick")
        if member.gap is not None:
            plot.text(plot.right, y, words("ensemble.gap_said", points=words.signed(member.gap)), "name end")
    return plot.svg(words("ensemble.members_alt"))


def growth(found: Mapping[str, Mapping[int, Sequence[float]]], words: Words) -> Markup | None:
    """Accuracy by number of voting members and split: the mean of several votes, and a band from lowest to highest."""
    if not found:
        return None
    values = [value for by_size in found.values() for tried in by_size.values() for value in tried]
    sizes = [size for by_size in found.values() for size in by_size]
    plot = Plot(Axis.over(sizes, whole=True), Axis.over(values, limits=SHARE), height=240)
    plot.axes(words("ensemble.voters"), "", y_percent=True)
    for split, by_size in found.items():
        style = "one" if split == "test" else "two"
        plot.band([(k, min(t)) for k, t in by_size.items()], [(k, max(t)) for k, t in by_size.items()], style)
        means = [(float(size), sum(tried) / len(tried)) for size, tried in by_size.items()]
        plot.line(means, style)
        for size, mean in means:
            plot.dot((size, mean), f"{size:g}: {words.percent(mean, 2)}%", f"dot {style}", 2.4)
    return plot.svg(words("ensemble.growth_alt"))
