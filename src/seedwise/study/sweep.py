"""Sweeps: a grid of settings as the arms of a study, ranked on validation images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seedwise.base.errors import UserError
from seedwise.base.files import sole_writer
from seedwise.base.notebook import html_table
from seedwise.engine.control import phase_progress
from seedwise.records.run import RECORD, Final, demand_final, read_record
from seedwise.run.deferred_scoring import score_test
from seedwise.stats import SHARE, Summary, summarize
from seedwise.study.execute import TrialOptions, ablate
from seedwise.study.grid import Grid
from seedwise.study.outcome import Study
from seedwise.study.progress import complete_seeds, trial_folder
from seedwise.study.record import StudyRecord, read_study, write_study
from seedwise.study.results import Results


@dataclass(frozen=True)
class Rank:
    """A setting's scores in the ranking."""

    arm: str
    setting: dict[str, Any]
    """Swept option -> value."""
    seeds: list[int]
    val: Summary
    """Top-1 on validation, over seeds."""
    loss: float
    """Mean loss on validation in nats, which breaks ties."""


@dataclass(frozen=True)
class Swept:
    """A complete sweep, its winner first."""

    folder: Path
    study: StudyRecord
    ranking: list[Rank]
    test: Summary | None
    """The winner's top-1 on test; None where the data have no test images."""

    def to_dict(self) -> dict[str, Any]:
        """The ranking and its winner as JSON data, in full precision."""
        best = self.ranking[0]
        return {
            "study": str(self.folder),
            "seeds": best.seeds,
            "ranking": [asdict(place) for place in self.ranking],
            "winner": {"arm": best.arm, "setting": best.setting, "test": self.test and asdict(self.test)},
        }

    def table(self) -> list[dict[str, Any]]:
        """A row for each setting, the best first: its values, then mean, SD and loss on validation."""
        scores = ({"val": place.val.mean, "sd": place.val.sd, "loss": place.loss} for place in self.ranking)
        return [place.setting | of for place, of in zip(self.ranking, scores, strict=True)]

    def _repr_html_(self) -> str:
        lines = [] if self.test is None else [f"test top-1 of the best on validation: {self.test}"]
        return html_table(self.table(), f"{self.folder}: settings, the best on validation first", lines)


def sweep(swept: Grid, data: str, seeds: Sequence[int], folder: Path, options: TrialOptions) -> Swept | Study:
    """Train every setting with every seed, rank them on validation, and score the winner's test images, once.

    A folder that holds the sweep is completed. What a budget stopped has no winner yet: it is returned as it is.
    """
    done = ablate(swept.arms, data, seeds, folder, margin=None, options=options)
    done.demand_complete()
    if complete_seeds(done.record) < len(done.record.seeds):
        return done
    ranking = ranked(folder, done.record, swept.settings)
    progress = phase_progress(options.control)
    finals: list[Final] = []
    for seed in done.record.seeds:
        path = folder / trial_folder(ranking[0].arm, seed)
        record = score_test(path, data_dir=options.data_dir, progress=progress)
        finals.append(demand_final(path, record))
    with sole_writer(folder):
        study = Results(folder).refresh(read_study(folder))
        write_study(folder, study)
    tests = [final.test.top1 for final in finals if final.test is not None]
    return Swept(folder, study, ranking, summarize(tests, SHARE) if tests else None)


def ranked(folder: Path, study: StudyRecord, settings: dict[str, dict[str, Any]]) -> list[Rank]:
    """Rank the settings by mean top-1 on validation, ties by the lower loss; a UserError without validation."""
    places = []
    for arm, setting in settings.items():
        finals = []
        for seed in study.seeds:
            path = folder / trial_folder(arm, seed)
            if (path / RECORD).exists():
                finals.append(demand_final(path, read_record(path)))
        scores = [final.val for final in finals if final.val is not None]
        if not scores:
            raise UserError(f"{folder}: the runs of {arm} have no validation images; set data.val above 0")
        val = summarize([score.top1 for score in scores], SHARE)
        places.append(Rank(arm, setting, study.seeds, val, summarize([score.loss for score in scores]).mean))
    return sorted(places, key=lambda place: (-place.val.mean, place.loss))
