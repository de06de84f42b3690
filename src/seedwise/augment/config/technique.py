"""What every technique's section says of itself besides its options: the facts that other tables are derived from."""

from typing import TYPE_CHECKING, ClassVar, Literal

from seedwise.config.section import Section

if TYPE_CHECKING:
    from seedwise.augment.config import AugmentConfig

Stage = Literal["frame", "native", "final", "mix"]

UNKNOWN = 0.01
"""For a chance that depends on the images: which angle moves a pixel, which box fits, what a user's function does. Who
changes fewer of them than that hardly augments."""


class TechniqueConfig(Section):
    """A technique's options, and about the technique what needs no tensors. The docstring of a subclass is its card."""

    stage: ClassVar[Stage] = "native"
    """Where it acts: `frame` makes images of any shape size x size; `native` comes before, `final` after the resize to
    the training size; `mix` comes last and takes each image's partner from the batch that no other has mixed."""
    draws: ClassVar[Literal["epoch", "run"]] = "epoch"
    """How often an image's draws are drawn: anew in each epoch, or once in a run."""
    replaces: ClassVar[str | None] = None
    """The technique that doesn't act where this one is on, because this one does its work in another way."""
    strength: ClassVar[str | None] = None
    """The option that progressive learning raises: `<name>.<strength>`, a stage's `<name>_<strength>`."""
    on: ClassVar[str] = "default"
    """A value that switches it on, as `-s` takes it."""
    needs_epochs: ClassVar[bool] = False
    """Whether its card says that short schedules hurt it: a bad verdict on it may be one on the schedule."""

    def least_chance(self, augment: "AugmentConfig") -> float:
        """A lower bound of the chance that it changes an image, beside the other techniques of `augment`.

        0 where it was asked to do nothing; a technique whose options don't tell says UNKNOWN.
        """
        return float(getattr(self, "prob", 0.0))
