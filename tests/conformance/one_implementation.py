"""Dispatcher that are made already: one implementation wherever it is among those to choose from."""

from collections.abc import Collection

from seedwise.kernels.dispatch import Case, Dispatcher, Tuning


class Only(Dispatcher):
    """Chooses one implementation of what keys begin with `of`; the rest is chosen as always. Keeps what was asked."""

    def __init__(self, name: str, of: str = "") -> None:
        super().__init__()
        self.name, self.of = name, of
        self.asked: list[str] = []

    def choose(self, case: Case, names: Collection[str], trial: Tuning) -> str:
        """The name; a trial has to run all the same, of what there is to choose from."""
        self.asked.append(case.key)
        if not case.key.startswith(self.of):
            return super().choose(case, names, trial)
        candidates, images = trial()
        assert self.name in names and set(candidates) == set(names)
        for run in candidates.values():
            run(images)
        return self.name
