"""How many trials run at a time, and on which GPUs."""

import re
from typing import Literal, TypeAlias

from seedwise.base import devices
from seedwise.base.errors import UserError

Jobs: TypeAlias = int | str
"""A number from 1 to `MOST`, or `auto`."""
MOST = 1024


def read_jobs(given: Jobs) -> int | Literal["auto"]:
    """The number of trials at a time, as `-j` gives it; a UserError for anything else."""
    if given == "auto":
        return "auto"
    if re.fullmatch(r"[0-9]{1,9}", str(given)) is None or not 1 <= int(given) <= MOST:
        raise UserError(f"-j {given}: give a number from 1 to {MOST}, or auto, one trial a GPU")
    return int(given)


def jobs_of(given: Jobs, device: str) -> int:
    """Trials at a time of a study on a device; `auto` is one for each GPU that they may have, else one."""
    number = read_jobs(given)
    return max(1, len(gpus_of(device))) if number == "auto" else number


def gpus_of(device: str) -> tuple[str, ...]:
    """The GPUs to share out among trials on a device, as CUDA_VISIBLE_DEVICES names them; none but for `cuda` (`auto`).

    `cuda:N` is one GPU. Only like GPUs are shared out; that others are left out is said.
    """
    if (devices.choose() if device == "auto" else device) != "cuda":
        return ()
    found = devices.alike()
    for gpu in devices.gpus():
        if gpu not in found:
            why = f"trials are compared, and it is not like {found[0]}" if found else "it can't compute"
            devices.say_once(f"GPU {gpu.number}, {gpu}, is left out: {why}")
    return tuple(map(devices.visible_name, found))
