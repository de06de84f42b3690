"""Images that can't be read: all are named at once, or left out with `data.skip_damaged`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np

from seedwise.base.errors import Mistakes, UserError
from seedwise.data.images import DamagedImage
from seedwise.data.labels import some
from seedwise.data.source import Contents, PassedOver, Source, Survey, printable

NAMED = 10
"""Largest number of damaged images that are named, a line each."""
RECORDED = 100
"""Largest number of left-out images that are named in the record."""
REASON = "damaged"
OPTION = "-s data.skip_damaged=true"

Made = TypeVar("Made")


class Damage(NamedTuple):
    """A damaged image, and its index in its part, from 0."""

    number: int
    image: DamagedImage


def sound(images: Iterable[Made | DamagedImage], found: list[Damage]) -> Iterator[Made]:
    """Yield the images that could be read; the others are added to `found`."""
    for number, image in enumerate(images):
        if isinstance(image, DamagedImage):
            found.append(Damage(number, image))
        else:
            yield image


def refuse(damaged: Sequence[Damage]) -> None:
    """Raise a UserError that names the damaged images, if there are any."""
    if not damaged:
        return
    if len(damaged) == 1:
        raise UserError(f"{damaged[0].image}; {OPTION} leaves it out")
    lines = [f"{it.image.where}: {it.image.what}" for it in damaged[:NAMED]]
    count = f"{len(damaged)} images" + (f", of which {NAMED} are named" if len(damaged) > NAMED else "")
    raise Mistakes([*lines, f"{count}: replace or remove them; {OPTION} leaves them out"])


def without(contents: Contents, damaged: Mapping[str, Sequence[Damage]], source: Source) -> Contents:
    """The contents without damaged images, by part, noted as passed over; a UserError if too few are left."""
    every = [it for of in damaged.values() for it in of]
    if not every:
        return contents
    parts = {}
    for name, part in contents.parts.items():
        labels = np.delete(part.labels, [it.number for it in damaged.get(name, ())])
        before, after = (np.bincount(it, minlength=len(contents.classes)) for it in (part.labels, labels))
        where = source.path or source.name
        if not len(labels):
            raise UserError(f"{where}: no image of {name} can be read: replace them, or remove the part")
        if name == "train" and len(lost := np.flatnonzero((before > 0) & (after == 0))):
            classes = some(printable(contents.classes[number]) for number in lost)
            raise UserError(f"{where}: no training image of {classes} can be read: replace them, or remove the class")
        parts[name] = replace(part, labels=labels)
    root = f"{source.path}/"
    names = [it.image.where.removeprefix(root) for it in every]
    left_out = PassedOver("images", REASON, len(names), tuple(names[:RECORDED]))
    doubt = f"{len(names)} damaged {'image is' if len(names) == 1 else 'images are'} left out ({some(names)})"
    return replace(contents, parts=parts, survey=contents.survey + Survey((left_out,), (doubt,)))
