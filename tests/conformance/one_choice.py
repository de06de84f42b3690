"""Choices that are made already: one implementation wherever it is among those to choose from."""

from collections.abc import Callable

from seedwise.models.depthwise import Choices


class Only(Choices):
    """Chooses one implementation of what keys begin with `of`; the rest is chosen as always. Keeps what was asked."""

    def __init__(self, name: str, of: str = "") -> None:
        super().__init__()
        self.name, self.of = name, of
        self.asked: list[str] = []

    def pick(self, key: str, allowed: Callable[[str], bool], probe: Callable[[], str]) -> str:
        """The name; a probe has to run all the same, and to find something allowed."""
        self.asked.append(key)
        if not key.startswith(self.of):
            return super().pick(key, allowed, probe)
        assert allowed(self.name) and allowed(probe())
        return self.name
