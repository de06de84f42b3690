"""Base class of the techniques' options, with the facts about a technique from which other tables are derived."""

from typing import TYPE_CHECKING, ClassVar, Literal

from seedwise.config.section import Section

if TYPE_CHECKING:
    from seedwise.augment.config import AugmentConfig

Stage = Literal["frame", "native", "final", "mix"]

UNKNOWN = 0.01
"""`least_chance` where it depends on the images: which angle moves a pixel, which box fits, what a user's function
does. What changes fewer of them than that hardly augments."""


class TechniqueConfig(Section):
    """Options of a technique, and facts about it that need no tensors. The docstring of a subclass is its card."""

    stage: ClassVar[Stage] = "native"
    """When it acts: `frame` makes images of any shape size x size; `native` comes before, `final` after the resize to
    the training size; `mix` comes last and takes each image's partner from the unmixed batch."""
    draws: ClassVar[Literal["epoch", "run"]] = "epoch"
    """Whether an image's random draws are new in each epoch, or made once in a run."""
    replaces: ClassVar[str | None] = None
    """The technique that is skipped where this one is on, because this one does its work in another way."""
    strength: ClassVar[str | None] = None
    """The option that progressive learning schedules: `<name>.<strength>`, a stage's `<name>_<strength>`."""
    on: ClassVar[str] = "default"
    """A value that switches it on, as `-s` takes it."""
    needs_epochs: ClassVar[bool] = False
    """Whether its card says that short schedules hurt it: a bad verdict may then be the schedule's."""

    def least_chance(self, augment: "AugmentConfig") -> float:
        """A lower bound, in [0, 1], of the chance that it changes an image, given the other techniques of `augment`.

        0 where it was asked to do nothing; UNKNOWN where the options don't tell.
        """
        return float(getattr(self, "prob", 0.0))
