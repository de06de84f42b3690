"""Charts of a run's report, some of which a study's report uses too."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from seedwise.records.run import EpochRow
from seedwise.reports.svg import Axis, Plot, Point
from seedwise.reports.words import Words
from seedwise.stats import SHARE
from seedwise.stats.calibration import Calibration

FEW = 10
"""Least number of images in a bin of confidence whose accuracy is drawn in full color."""

Series = Mapping[str, Sequence[Point]]
"""Style of a line -> its points."""


def lines(series: Series, x_label: str, y_label: str, title: str, *, percent: bool = False) -> Markup | None:
    """Line chart over epochs; None without any point."""
    points = [point for line in series.values() for point in line]
    if not points:
        return None
    across, up = [x for x, _ in points], [y for _, y in points]
    plot = Plot(Axis.over(across, whole=True), Axis.over(up, limits=SHARE) if percent else Axis.over(up))
    plot.axes(x_label, "", y_percent=percent)
    for style, line in series.items():
        plot.line(line, style)
        if 1 < len(line) <= 30:
            for x, y in line:
                shown = f"{y * 100:.1f}" if percent else f"{y:.4g}"
                plot.dot((x, y), f"{x_label} {x:g}: {shown}", f"dot {style}", 2.0)
    return plot.svg(f"{title}. {y_label}")


def curves(rows: Sequence[EpochRow], words: Words) -> list[dict[str, object]]:
    """Charts of loss, accuracy, learning rate and, where it changes, image size over epochs."""
    epoch = words("curves.epoch")
    loss: Series = {
        "one": [(row.epoch, row.train_loss) for row in rows],
        "two": [(row.epoch, row.val.loss) for row in rows if row.val is not None],
        "two dashed": [(row.epoch, row.val_ema.loss) for row in rows if row.val_ema is not None],
    }
    top1: Series = {
        "one": [(row.epoch, row.train_top1_mixed) for row in rows],
        "two": [(row.epoch, row.val.top1) for row in rows if row.val is not None],
        "two dashed": [(row.epoch, row.val_ema.top1) for row in rows if row.val_ema is not None],
    }
    legend = [("one", words("curves.train"))]
    legend += [("two", words("curves.val"))] if loss["two"] else []
    legend += [("two dashed", words("curves.val_ema"))] if loss["two dashed"] else []
    charts: list[dict[str, object]] = []
    for name, series, percent in (("loss", loss, False), ("top1", top1, True)):
        title = words(f"curves.{name}")
        drawn = lines(series, epoch, title, words("curves.of", what=title), percent=percent)
        charts.append({"title": title, "svg": drawn, "legend": legend})
    single = {"lr": [(row.epoch, row.lr) for row in rows]}
    if len({row.image_size for row in rows}) > 1:
        single["size"] = [(row.epoch, row.image_size) for row in rows]
    for name, points in single.items():
        title = words(f"curves.{name}")
        drawn = lines({"one": points}, epoch, title, words("curves.of", what=title))
        charts.append({"title": title, "svg": drawn, "legend": []})
    return [chart for chart in charts if chart["svg"] is not None]


def reliability(found: Calibration, title: str, words: Words) -> Markup:
    """Reliability diagram: accuracy against confidence by bin; a faint bar below each dot shows its number of images.

    Bins of few images are pale and not joined: their accuracy is nearly chance.
    """
    unit = Axis(0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    plot = Plot(unit, unit, height=314, top=24)
    plot.axes(words("calibration.confidence"), words("calibration.accuracy"), x_percent=True, y_percent=True)
    largest, width = max(1, int(found.count.max())), 1 / len(found.count)
    for index, count in enumerate(found.count.tolist()):
        plot.box((index * width, (index + 1) * width), (0, 0.25 * count / largest), "share")
    plot.segment((0, 0), (1, 1), "ideal")
    points = [
        (float(confidence), float(accuracy), int(count))
        for confidence, accuracy, count in zip(found.confidence, found.accuracy, found.count)
        if count
    ]
    plot.line([(x, y) for x, y, count in points if count >= FEW], "one")
    for x, y, count in points:
        said = words("calibration.bin", confidence=f"{x * 100:.1f}", accuracy=f"{y * 100:.1f}", n=count)
        plot.dot((x, y), said, "dot one" if count >= FEW else "dot pale")
    return plot.svg(title)


def bars(values: Sequence[float], labels: Sequence[str], title: str, x_label: str) -> Markup:
    """Histogram of shares in [0, 1], in 20 equal bins; `labels` name what is counted."""
    counts, edges = np.histogram(np.asarray(values), bins=20, range=(0, 1))
    low = next((index for index, count in enumerate(counts) if count), 0)
    x = Axis.over([float(edges[low]), 1.0], pad=0)
    plot = Plot(x, Axis.over([0, int(counts.max())], whole=True, pad=0), height=150)
    plot.axes(x_label, "", x_percent=True)
    for index in range(low, len(counts)):
        if counts[index]:
            plot.box((float(edges[index]), float(edges[index + 1])), (0, int(counts[index])), "bar")
    return plot.svg(title + ": " + ", ".join(labels))
