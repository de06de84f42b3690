"""Builds the page of a single run."""

import base64
import shlex
from typing import Any

import numpy as np

from seedwise.base.durations import short
from seedwise.records.predictions import Predictions
from seedwise.records.run import RECIPE, tells_top5
from seedwise.reports.charts import bars, curves
from seedwise.reports.read import Arrays, RunFiles
from seedwise.reports.shared import calibrated, provenance, techniques
from seedwise.reports.words import Words
from seedwise.run.convergence import longer
from seedwise.stats.calibration import log_softmax
from seedwise.stats.confusion import Counts, class_scores, confusion, merged, most_confused
from seedwise.stats.convergence import gap_noise

MATRIX_CLASSES, PAIRS = 40, 10
"""Largest number of classes, or superclasses, of a readable matrix; one of a thousand has millions of bytes."""
UPRIGHT = 2
"""Length of the longest class name that stands upright above its column."""

UNSETTLED = 0.05
"""Share of BatchNorm's statistics from before training above which a gap is not called overfitting."""

Context = dict[str, Any]


def run_context(run: RunFiles, words: Words) -> Context:
    """Build the variables of `run.html` from a run's files."""
    record, held = run.record, run.scored
    context: Context = {
        "kind": "run",
        "title": words("run.title", recipe=record.recipe, data=record.data.name),
        "record": record,
        "curves": curves(record.epochs, words),
        "scores": _scores(run, words),
        "top5": tells_top5(len(record.data.classes)),
        "gap": _gap(run),
        "cut": _cut(run, words),
        "unconverged": _unconverged(run, words),
        "techniques": techniques(record, words),
        "grid": _grid(run.pictures, words),
        "provenance": provenance([record], words, run.later_test_reads),
        "leaks": run.leaks,
        "commands": _commands(run),
        "classes": None,
        "calibration": None,
    }
    if held is None:
        return context
    matrix = confusion(held.targets, held.predicted, len(record.data.classes))
    return context | {
        "split": "test" if "test" in run.held else "val",
        "images": len(held.targets),
        "classes": _classes(run, matrix, words),
        "confusion": _confusion(run, matrix),
        "pairs": _pairs(run, held, matrix),
        "calibration": calibrated(run.held, words),
        "errors": _errors(run, held),
        "gradcam": _gradcam(run, held),
        "wrong": int((~held.correct()).sum()),
    }


def _scores(run: RunFiles, words: Words) -> list[Context]:
    final, ema = run.record.final, run.record.ema
    if final is None:
        return []
    rows = [(words("scores.train"), final.train), (words("scores.val"), final.val), (words("scores.test"), final.test)]
    if ema is not None:
        rows += [(words("scores.val_ema"), ema.val), (words("scores.test_ema"), ema.test)]
    if run.record.tta is not None:
        rows += [(words("scores.val_tta"), run.record.tta.val), (words("scores.test_tta"), run.record.tta.test)]
    return [{"name": name, "scores": scores} for name, scores in rows if scores is not None]


def _gap(run: RunFiles) -> Context | None:
    """The gap between accuracies on training and held-out images, and its interpretation."""
    final, splits = run.record.final, run.record.data.splits
    held = (final.test or final.val) if final else None
    if final is None or held is None:
        return None
    split = "test" if final.test else "val"
    top1 = final.train.top1 - held.top1
    noise = gap_noise(final.train.top1, splits.get("train", 0), held.top1, splits.get(split, 0))
    lag = run.record.convergence.lag if run.record.convergence is not None else None
    unsettled = lag is not None and lag > UNSETTLED
    if run.leaks is not None and split == "test":
        return {"split": split, "top1": top1, "kind": "leaked", "noise": noise, "lag": lag}
    kind = "negative" if top1 < 0 else "noise" if top1 <= noise else "unsettled" if unsettled else "words"
    return {"split": split, "top1": top1, "kind": kind, "noise": noise, "lag": lag}


def _cut(run: RunFiles, words: Words) -> str | None:
    """What `--time` took from the rule's numbers; None if nothing."""
    timed = run.record.timed
    if timed is None or not timed.cut:
        return None
    parts = []
    if timed.epochs < timed.rule_epochs:
        parts.append(words("cut.epochs", epochs=timed.epochs, rule=timed.rule_epochs))
    if timed.image_size < timed.rule_image_size:
        parts.append(words("cut.size", size=timed.image_size, rule=timed.rule_image_size))
    return f"{words('cut.lead', time=short(timed.seconds))} {', '.join(parts)}."


def _unconverged(run: RunFiles, words: Words) -> list[str]:
    """Signs that the run was too short, and advice; empty without any."""
    found, rows = run.record.convergence, run.record.epochs
    if found is None or found.reached:
        return []
    said = [words("converged.few", steps=found.steps)] if found.few_steps else []
    if found.rising and found.rise is not None and found.noise is not None:
        said.append(words("converged.rising", rise=words.percent(found.rise), noise=words.percent(found.noise)))
    return [*said, words("converged.longer", epochs=longer(rows))]


def _classes(run: RunFiles, matrix: Counts, words: Words) -> Context:
    names, scores = run.record.data.classes, class_scores(matrix)
    group_of, groups = run.record.data.superclass_of, run.record.data.superclasses or []
    worst, wrong = _named_pairs(matrix), matrix.sum(axis=1) - matrix.diagonal()
    rows = [
        {
            "name": name,
            "superclass": groups[group_of[index]] if group_of is not None else None,
            "images": int(scores.images[index]),
            "recall": _finite(scores.recall[index]),
            "precision": _finite(scores.precision[index]),
            "f1": _finite(scores.f1[index]),
            "taken_for": [(names[other], count) for other, count in worst[index]],
            "more": int(wrong[index]) - sum(count for _, count in worst[index]),
        }
        for index, name in enumerate(names)
    ]
    known = [float(recall) for recall in scores.recall if np.isfinite(recall)]
    title = words("classes.spread")
    low, high = min(known, default=0), max(known, default=0)
    said = [words("classes.range", low=words.percent(low), high=words.percent(high), n=len(known))]
    chart = bars(known, said, title, words("classes.recall"))
    return {"rows": rows, "macro_f1": scores.macro_f1, "chart": chart, "grouped": group_of is not None}


def _named_pairs(matrix: Counts, most: int = 2) -> list[list[tuple[int, int]]]:
    """For each class the classes that its images are most often taken for, with counts."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=1, kind="stable")[:, :most]
    return [[(int(j), int(wrong[i, j])) for j in row if wrong[i, j]] for i, row in enumerate(order)]


def _confusion(run: RunFiles, matrix: Counts) -> Context | None:
    """Confusion matrix over superclasses, each of which opens into its classes, or over classes without superclasses.

    None, or an opened one without its matrix, where there are too many of them to be read.
    """
    data = run.record.data
    if data.superclass_of is None or not data.superclasses:
        return {"matrix": _cells(matrix, data.classes), "opened": []} if len(data.classes) <= MATRIX_CLASSES else None
    if len(data.superclasses) > MATRIX_CLASSES:
        return None
    top = merged(matrix, data.superclass_of, len(data.superclasses))
    opened = []
    for group, name in enumerate(data.superclasses):
        inside = [index for index, of in enumerate(data.superclass_of) if of == group]
        rest = matrix[inside].sum(axis=1) - matrix[np.ix_(inside, inside)].sum(axis=1)
        square = np.column_stack([matrix[np.ix_(inside, inside)], rest])
        names = [data.classes[index] for index in inside]
        images = int(top[group].sum())
        right = int(matrix[inside, inside].sum())
        accuracy = right / images if images else None
        cells = _cells(square, names) if len(names) <= MATRIX_CLASSES else None
        opened.append({"name": name, "matrix": cells, "accuracy": accuracy, "classes": len(names)})
    return {"matrix": _cells(top, data.superclasses), "opened": opened}


def _cells(matrix: Counts, names: list[str]) -> Context:
    """Cells of a confusion matrix, with shares of the row; the diagonal and errors have separate color scales."""
    totals = np.maximum(1, matrix.sum(axis=1))
    shares = matrix / totals[:, None]
    off = [shares[i, j] for i, j in np.ndindex(shares.shape) if i != j]
    highest = max(off, default=0) or 1.0
    rows = []
    for i in range(len(shares)):
        row = []
        for j in range(shares.shape[1]):
            shade = shares[i, j] if i == j else shares[i, j] / highest
            row.append({"count": int(matrix[i, j]), "share": float(shares[i, j]), "shade": round(float(shade), 2)})
        rows.append(row)
    upright = all(len(name) <= UPRIGHT for name in names)
    return {"names": names, "rows": rows, "rest": matrix.shape[1] > matrix.shape[0], "upright": upright}


def _pairs(run: RunFiles, held: Predictions, matrix: Counts) -> list[Context]:
    names, shown = run.record.data.classes, dict[tuple[int, int], list[Context]]()
    for row, picture in zip(run.pictures.get("pairs_rows", ()), pictures(run.pictures, "pairs")):
        example = {"picture": picture, "file": _file(held, row)}
        shown.setdefault((int(held.targets[row]), int(held.predicted[row])), []).append(example)
    totals = matrix.sum(axis=1)
    return [
        {
            "true": names[true],
            "said": names[said],
            "count": count,
            "share": count / int(totals[true]),
            "pictures": shown.get((true, said), []),
        }
        for true, said, count in most_confused(matrix, PAIRS)
    ]


def _errors(run: RunFiles, held: Predictions) -> list[Context]:
    return _captioned(run, held, "errors")


def _gradcam(run: RunFiles, held: Predictions) -> list[Context]:
    rows = _captioned(run, held, "gradcam")
    for name in ("predicted", "target"):
        for row, picture in zip(rows, pictures(run.pictures, f"gradcam_{name}")):
            row[name] = picture
    return [row for row in rows if "predicted" in row and "target" in row]


def _captioned(run: RunFiles, held: Predictions, name: str) -> list[Context]:
    """Pictures with true and predicted class and both probabilities."""
    rows = np.asarray(run.pictures.get(f"{name}_rows", np.zeros(0, np.int64)), np.int64)
    if not len(rows):
        return []
    names, probabilities = run.record.data.classes, np.exp(log_softmax(held.logits[rows]))
    captioned = []
    for row, shares, picture in zip(rows.tolist(), probabilities, pictures(run.pictures, name)):
        true, said = int(held.targets[row]), int(held.predicted[row])
        captioned.append(
            {
                "picture": picture,
                "file": _file(held, row),
                "true": names[true],
                "said": names[said],
                "confidence": float(shares[said]),
                "of_true": float(shares[true]),
                "right": true == said,
            }
        )
    return captioned


def _file(held: Predictions, row: int) -> str | None:
    """File name of the image in a row; None where unknown."""
    return None if held.files is None else str(held.files[row])


def _grid(arrays: Arrays, words: Words) -> list[Context]:
    names, shown = [str(name) for name in arrays.get("grid_rows", ())], pictures(arrays, "grid")
    if not names or len(shown) % len(names):
        return []
    width = len(shown) // len(names)
    return [{"name": words.known(name), "pictures": shown[i * width : (i + 1) * width]} for i, name in enumerate(names)]


def pictures(arrays: Arrays, name: str) -> list[str]:
    """The pictures of this name in insight.npz, as data URIs."""
    if f"{name}_ends" not in arrays:
        return []
    content, ends = arrays[f"{name}_bytes"].tobytes(), [int(end) for end in arrays[f"{name}_ends"].ravel()]
    files = [content[start:end] for start, end in zip([0, *ends], ends)]
    kinds = ["png" if file.startswith(b"\x89PNG") else "jpeg" for file in files]
    return [f"data:image/{kind};base64,{base64.b64encode(file).decode()}" for kind, file in zip(kinds, files)]


def _commands(run: RunFiles) -> list[str]:
    source = shlex.quote(run.record.data.source)
    return [f"seedwise train {source} -r {RECIPE} --seed {run.record.seed} -o again", "seedwise report ."]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
