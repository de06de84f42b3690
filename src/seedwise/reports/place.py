"""The setting that a study's verdicts hold for, and advice, in the reader's language."""

from seedwise.reports.read_study import StoredComparison, StoredSetting
from seedwise.reports.words import Words


def place(base: StoredSetting, words: Words) -> str:
    """The base's setting in words: model, data, schedule, and whether it converged."""
    return words("holds.lead", what=_setting(base, words)) + " " + _converged(base, words, "base")


def beside(found: StoredComparison, words: Words) -> str:
    """An arm's differences from the base's setting; empty without any."""
    if found.holds is None:
        return ""
    base, arm, parts = found.holds.base, found.holds.arm, []
    if (arm.model, arm.image_size, arm.images) != (base.model, base.image_size, base.images):
        parts.append(words("holds.arm", what=_setting(arm, words)))
    elif (arm.epochs, arm.steps) != (base.epochs, base.steps):
        parts.append(words("holds.arm", what=", ".join(_length(arm, words))))
    if arm.converged != base.converged:
        parts.append(_converged(arm, words, "arm"))
    return " ".join(parts)


def too_short(found: StoredComparison, words: Words) -> str:
    """The part of the verdict's sentence that says that its technique needs a longer schedule."""
    names = [name for each in found.advice if each.kind == "epochs" for name in each.techniques]
    if not names or found.holds is None:
        return ""
    return words("verdict.too_short", names=", ".join(names), epochs=_epochs(found.holds.base.epochs or 0, words))


def advice_rows(found: StoredComparison, words: Words) -> list[dict[str, str | None]]:
    """Rows of advice: words, and the command if it is known."""
    rows: list[dict[str, str | None]] = []
    for each in found.advice:
        timed = "" if each.seconds is None else "_timed"
        time = words.duration(each.seconds or 0.0)
        rows.append({"said": words(f"advice.{each.kind}{timed}", n=each.count, time=time), "command": each.command})
    return rows


def _setting(of: StoredSetting, words: Words) -> str:
    size = [words("holds.px", n=of.image_size)] if of.image_size is not None else []
    return ", ".join([of.model, *size, words("holds.images", n=f"{of.images:,}"), *_length(of, words)])


def _length(of: StoredSetting, words: Words) -> list[str]:
    steps = [words("holds.steps", n=f"{of.steps:,}")] if of.steps is not None else []
    return ([_epochs(of.epochs, words)] if of.epochs is not None else []) + steps


def _epochs(count: int, words: Words) -> str:
    return words("holds.one_epoch") if count == 1 else words("holds.epochs", n=f"{count:,}")


def _converged(of: StoredSetting, words: Words, who: str) -> str:
    key = f"reached.{of.reason.replace(' ', '_')}"
    why = words(key, steps=f"{of.steps or 0:,}") if key in words.table else of.why
    return words(f"holds.{who}_{of.converged}", why=why)
