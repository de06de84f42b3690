"""A study after its trials, as an object: its record and its failures. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedwise.base.errors import UserError
from seedwise.base.notebook import html_table
from seedwise.study.progress import looked
from seedwise.study.record import StudyRecord, read_study
from seedwise.study.setting import verdict_notes

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Study:
    """A study's folder and record."""

    folder: Path
    record: StudyRecord
    failures: tuple[str, ...] = ()
    """Last error of each trial that failed for good."""
    left: int = 0
    """Trials not begun for lack of time."""

    def demand_complete(self) -> "Study":
        """Return the study; a UserError if trials failed."""
        if self.failures:
            others = [failure.split(": ")[0] for failure in self.failures[1:]]
            named = f" (and {'; '.join(others)})" if others else ""
            count = f"{len(self.failures)} of {len(self.record.trials)} runs failed"
            raise UserError(f"{count}: {self.failures[0]}{named}")
        return self

    def to_dict(self) -> dict[str, Any]:
        """The content of study.json."""
        return self.record.to_dict()

    def table(self) -> list[dict[str, Any]]:
        """A row for each arm, the base first: its top-1, and its difference from the base, in fractions.

        Columns: arm, n, mean, sd, low, high (95% interval of the mean), difference, difference_low, difference_high,
        p_holm, verdict. The base's last five are None, and so is what is not known yet.
        """
        return [self._row(arm) for arm in self.record.arms]

    def trials(self) -> list[dict[str, Any]]:
        """A row for each trial: arm, seed, status, folder, and top-1 on train, val and test."""
        done: dict[str, int] = {}
        rows = []
        for trial in self.record.trials:
            tops: list[float | None] = [None] * len(SPLITS)
            if trial.status == "finished":
                place = done.get(trial.arm, 0)
                done[trial.arm] = place + 1
                summary = self.record.summary.get(trial.arm, {})
                tops = [summary[name]["top1"]["values"][place] if name in summary else None for name in SPLITS]
            row = {"arm": trial.arm, "seed": trial.seed, "status": trial.status}
            rows.append(row | {"folder": str(self.folder / trial.folder)} | dict(zip(SPLITS, tops, strict=True)))
        return rows

    def verdicts(self) -> dict[str, str]:
        """The verdict's sentence on each arm against the base; none before they can be compared."""
        split = self.record.primary.split
        return {arm: of[split]["sentence"] for arm, of in self.record.comparisons.items() if split in of}

    def _row(self, arm: str) -> dict[str, Any]:
        split = self.record.primary.split
        top1 = self.record.summary.get(arm, {}).get(split, {}).get("top1", {})
        found = self.record.comparisons.get(arm, {}).get(split, {})
        low, high = top1.get("ci95") or (None, None)
        least, most = found.get("ci95") or (None, None)
        scores = {"n": top1.get("n", 0), "mean": top1.get("mean"), "sd": top1.get("sd"), "low": low, "high": high}
        difference = {"difference": found.get("mean"), "difference_low": least, "difference_high": most}
        return {"arm": arm} | scores | difference | {name: found.get(name) for name in ("p_holm", "verdict")}

    def _repr_html_(self) -> str:
        title = f"{self.folder}: {self.record.primary.split} top-1"
        if len(self.record.arms) == 1:
            return html_table(self.table()[:1], title) + html_table(self.trials())
        lines = [f"{arm}: {sentence}" for arm, sentence in self.verdicts().items()]
        if lines and not looked(self.record):
            lines.append("so far, not yet verdicts")
        if lines:
            split = self.record.primary.split
            lines += verdict_notes(of[split].get("holds") for of in self.record.comparisons.values() if split in of)
        return html_table(self.table(), title, lines)


def load_study(folder: Path) -> Study:
    """Open the study in this folder; a UserError when it is none or is damaged."""
    return Study(folder, read_study(folder))
