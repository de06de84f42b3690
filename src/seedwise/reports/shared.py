"""Parts that the pages of runs, studies and ensembles share: differences, calibration, techniques, provenance."""

from collections.abc import Mapping, Sequence
from typing import Any

from seedwise.config.options import plain
from seedwise.data.source import EXAMPLES
from seedwise.recipe.schema import Recipe
from seedwise.records.predictions import Predictions
from seedwise.records.run import DataRecord, PassedOverRecord, RunRecord
from seedwise.reports.charts import reliability
from seedwise.reports.words import Words
from seedwise.stats import Scale
from seedwise.stats.calibration import Calibration, calibration, fit_temperature
from seedwise.stats.proportion import wilson

HIDDEN = ("share", "images")
"""Effects with a column of their own."""


def techniques(record: RunRecord, words: Words) -> list[dict[str, Any]]:
    """A row for each technique that was on: images changed, other measurements, and whether it is inert."""
    return [
        {
            "name": name.replace("_", " "),
            "share": effects.get("share"),
            "images": effects.get("images"),
            "effects": _measured(effects, words),
            "inert": name in record.inert,
        }
        for name, effects in record.techniques.items()
    ]


def _measured(effects: Mapping[str, float], words: Words) -> list[tuple[str, str]]:
    """Measurements, with mean and range of a quantity in one."""
    found = []
    for key, value in effects.items():
        kind, _, name = key.partition("_")
        whole = all(f"{part}_{name}" in effects for part in ("mean", "min", "max"))
        if key in HIDDEN or (whole and kind in ("min", "max")):
            continue
        if whole and kind == "mean":
            low, high = (words.brief(effects[f"{end}_{name}"]) for end in ("min", "max"))
            said = words("techniques.range", mean=words.brief(value), low=low, high=high)
            found.append((words.known(name.replace("_", " ")), said))
        else:
            found.append((words.known(key.replace("_", " ")), words.brief(value)))
    return found


def difference_said(mean: float, interval: tuple[float, float] | None, words: Words) -> str:
    """A difference in words: points, with its interval. `mean`: a fraction."""
    scale = Scale(unit=words("verdict.unit"))
    decimals = scale.decimals(mean, *(interval or ()))
    said = words("verdict.difference", mean=scale.text(mean, decimals))
    if interval is None:
        return said
    low, high = (scale.end(value, decimals, interval[0] > 0 or interval[1] < 0) for value in interval)
    return words("verdict.interval", difference=said, low=low, high=high)


def calibrated(held: Mapping[str, Predictions], words: Words) -> dict[str, Any] | None:
    """Calibration before and after temperature scaling, with the temperature fitted on validation images."""
    scored, val = held.get("test") or held.get("val"), held.get("val")
    if scored is None:
        return None
    before = calibration(scored.logits, scored.targets, scored.correct())
    found: dict[str, Any] = {
        "before": before,
        "before_chart": reliability(before, words("calibration.before"), words),
        "same": "test" not in held,
        "after": None,
    }
    found |= _lean(before, words)
    if val is not None:
        temperature = fit_temperature(val.logits, val.targets)
        after = calibration(scored.logits, scored.targets, scored.correct(), temperature=temperature)
        chart = reliability(after, words("calibration.after"), words)
        found |= {"temperature": temperature, "after": after, "after_chart": chart}
    return found


def _lean(found: Calibration, words: Words) -> dict[str, str]:
    """Whether the network is over- or underconfident, beyond chance for so few images."""
    filled, images = found.count > 0, int(found.count.sum())
    confidence, accuracy = (
        float((mean[filled] * found.count[filled]).sum() / images) for mean in (found.confidence, found.accuracy)
    )
    low, high = wilson(round(accuracy * images), images)
    lean = "over" if confidence > high else "under" if confidence < low else "even"
    said = words(f"calibration.{lean}", confidence=words.percent(confidence), accuracy=words.percent(accuracy))
    return {"lean": lean, "lean_said": said}


def options(recipe: Recipe) -> list[tuple[str, str]]:
    """The resolved recipe as (path, value) of each option."""
    return list(_flat("", plain(recipe)))


def _flat(path: str, value: Any) -> Any:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{path}.{key}" if path else key, inner)
    else:
        yield path, str(value)


def _weights(record: RunRecord, words: Words) -> str:
    """Origin of the weights, and whether their head was replaced."""
    return "; ".join(words.known(part) for part in record.model.weights.split("; "))


def provenance(records: Sequence[RunRecord], words: Words, later_reads: int = 0) -> list[tuple[str, str]]:
    """Provenance of the numbers: data, weights, machine, versions, and how often test was scored."""
    first = records[0]
    return [
        *_data(first.data, words),
        (words("from.fingerprint"), _all(record.data.originals or record.data.fingerprint for record in records)),
        (words("from.model"), f"{first.model.architecture}, {first.parameters} {words('from.parameters')}"),
        (words("from.weights"), _all(_weights(record, words) for record in records)),
        (words("from.test_reads"), str(later_reads + sum(record.test_evaluations for record in records))),
        (words("from.machine"), _all(_facts(record.machine) for record in records)),
        (words("from.versions"), _all(_facts(record.versions) for record in records)),
        (
            words("from.time" if len(records) > 1 else "from.time_alone"),
            words.duration(sum(record.seconds.get("total", 0.0) for record in records)),
        ),
    ]


def _data(data: DataRecord, words: Words) -> list[tuple[str, str]]:
    """The data trained on, what was passed over, and doubts."""
    rows = [(words("from.data"), data.name)]
    parts = [
        f"{words(f'split.{name}')} {part.images:,} ({words('from.given' if part.given else 'from.drawn')})"
        for name, part in data.parts.items()
    ] or [f"{name} {count}" for name, count in data.splits.items()]
    rows.append((words("from.parts"), ", ".join(parts)))
    rows += [(words("from.passed_over"), f"{said}: {names}") for said, names in passed_over(data.passed_over, words)]
    return [*rows, *((words("from.doubt"), words.known(doubt)) for doubt in data.doubts)]


def passed_over(found: Sequence[PassedOverRecord], words: Words) -> list[tuple[str, str]]:
    """What was passed over: how many of what and why, and the first names."""
    return [
        (
            words(
                "from.passed_over_row",
                count=f"{it.count:,}",
                kind=words(f"kind.{it.kind}"),
                reason=words.known(it.reason),
            ),
            ", ".join(it.examples[:EXAMPLES]) + (", …" if min(EXAMPLES, len(it.examples)) < it.count else ""),
        )
        for it in found
    ]


def _all(values: Any) -> str:
    """The value that runs share, or each of those in which they differ."""
    return " | ".join(dict.fromkeys(values))


def _facts(facts: Any) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in facts.items())


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "; ".join(map(str, value)) or "–"
    return str(value)
