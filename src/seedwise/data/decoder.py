"""A process that decodes images ahead: `python -m seedwise.data.decoder`, started and told what to do by `prefetch`.

It reads jobs from its input, two numbers each (an image's number in all parts, and a slot), writes the pixels to the
slot in a file of memory that both map, and answers with four numbers: image, slot, height and width. In place of a
height, -1 says that a text of so many bytes follows: the image can't be read. It ends with its input, so none outlives
the process that started it, however that ends.
"""

import json
import signal
import sys
import warnings
from pathlib import Path

import numpy as np

from seedwise.base.errors import UserError
from seedwise.data.deep import NoRange
from seedwise.data.fit import Fit
from seedwise.data.images import DamagedImage
from seedwise.data.located import Locations, Reader

FAILED = -1


def main() -> None:
    """Decode what is asked for, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    warnings.simplefilter("ignore")
    jobs, answers = sys.stdin.buffer, sys.stdout.buffer
    order = json.loads(jobs.readline())
    folder, fit = Path(order["folder"]), fit_of(order["fit"])
    readers = [Reader(Locations.map(folder, part)) for part in order["parts"]]
    firsts = np.array(order["firsts"])
    memory = np.memmap(order["memory"], np.uint8, mode="r+")
    answers.write(np.zeros(4, np.int64).tobytes())
    answers.flush()
    while len(asked := jobs.read(16)) == 16:
        number, slot = np.frombuffer(asked, np.int64).tolist()
        part = int(np.searchsorted(firsts, number, side="right")) - 1
        text = b""
        try:
            pixels = fit.pixels(readers[part].read(number - int(firsts[part])))
            height, width = pixels.shape[:2]
            flat = np.ascontiguousarray(pixels).reshape(-1)
            memory[slot * order["slot_bytes"] :][: len(flat)] = flat
        except DamagedImage as error:
            text = error.what.encode()
        except NoRange:
            text = NEEDS_RANGE.encode()
        except UserError as error:
            text = str(error).encode()
        except MemoryError:
            text = b"there is not enough memory for it"
        if text:
            height, width = FAILED, len(text)
        answers.write(np.array([number, slot, height, width], np.int64).tobytes() + text)
        answers.flush()


NEEDS_RANGE = (
    "has more than 8 bits, unlike those looked at before training; data.pixel_range says their black and white"
)


def fit_of(values: list[object]) -> Fit:
    """A rule from JSON, where tuples are lists."""
    return Fit(*(tuple(it) if isinstance(it, list) else it for it in values))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
