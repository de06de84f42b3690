"""What there is to compute on: which GPUs this torch can use, what `auto` takes, and what a device has in hardware.

Whatever depends on the kind or the age of a device stands here. torch is imported by what asks about it.
"""

import functools
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from seedwise.base import machine
from seedwise.base.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

log = logging.getLogger("seedwise")

AUTO_PRECISION = (((8, 0), "bf16"), ((7, 0), "fp16"), ((0, 0), "fp32"))
"""What `auto` computes in on an NVIDIA GPU: the first row whose compute capability it reaches. sm_80 (Ampere) is the
first to multiply bf16 in hardware, older ones emulate it; sm_70 (Volta) the first with units for products of fp16."""
TF32 = (8, 0)
"""The first compute capability that multiplies TF32."""

ALIGNMENT = 16
"""Bytes at whose multiples tensors begin that are copied together: kernels load 16 at a time."""


@dataclass(frozen=True)
class Gpu:
    """A GPU that CUDA (or ROCm) sees."""

    number: int
    """As in `cuda:N`."""
    name: str
    capability: tuple[int, int]
    """Compute capability, such as (8, 0)."""
    memory_bytes: int
    supported: bool
    """Whether this torch has code for it."""
    uuid: str = ""
    """The GPU's own name, whatever CUDA_VISIBLE_DEVICES leaves in sight."""

    def __str__(self) -> str:
        return f"{self.name} ({_sm(self.capability)})"


def gpus() -> tuple[Gpu, ...]:
    """All GPUs that CUDA sees, supported or not; none where the driver is missing or too old."""
    import torch

    with warnings.catch_warnings():  # of several lines about old drivers and GPUs: `passed_over` says it in one
        warnings.simplefilter("ignore")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return tuple(_gpu(number) for number in range(count))


def passed_over() -> str | None:
    """Why `auto` takes no GPU though the driver's own count has some, in a line; None where there is nothing to say."""
    import torch

    found = gpus()
    if any(gpu.supported for gpu in found):
        return None
    if found:
        return f"{found[0]}: {_too_old()}"
    if torch.version.cuda and torch.cuda.device_count():
        return (
            f"there is an NVIDIA GPU, but torch can't use it: its driver is too old for CUDA {torch.version.cuda}, or "
            "broken; update it, or see nvidia-smi"
        )
    return None


def choose() -> str:
    """What `auto` takes: the first GPU that torch has code for, else MPS, else the CPU."""
    import torch

    usable = [gpu.number for gpu in gpus() if gpu.supported]
    if usable:
        several = machine.local_processes() > 1  # `demand` says whether there is one for each
        return "cuda" if several or usable[0] == 0 else f"cuda:{usable[0]}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def demand(device: str) -> None:
    """Raise a UserError unless this process can compute on a device (not `auto`) and shares it with no other."""
    import torch

    kind, _, number = device.partition(":")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("compute.device: mps is not here; use cpu or auto")
    if kind != "cuda":
        return
    found, processes = gpus(), machine.local_processes()
    if number and processes > 1:
        raise UserError(
            f"compute.device: {device} would put all {processes} processes of torchrun on one GPU; use cuda, of which "
            "each takes its own"
        )
    last = int(number) if number else max(machine.local_rank(), processes - 1)
    if last >= len(found) and last and not number and found:
        raise UserError(
            f"compute.device: torchrun's process {last} on this machine has no GPU of its own: {len(found)} "
            f"{'is' if len(found) == 1 else 'are'} visible; start it with --nproc-per-node {len(found)}"
        )
    if last >= len(found):
        why = passed_over() if not found else None
        raise UserError(
            f"compute.device: {device} is not here ({why or f'{len(found)} CUDA devices found'}); use cpu or auto"
        )
    own = found[int(number) if number else machine.local_rank()]
    if not own.supported:
        raise UserError(f"compute.device: {device} is {own}: {_too_old()}; use cpu or auto")


def can_compute(device: str) -> bool:
    """Whether `demand` has nothing to say."""
    try:
        demand(device)
    except UserError:
        return False
    return True


def precision(device: str) -> str:
    """What `auto` computes in on a device that is here: the smallest type that its hardware multiplies."""
    import torch

    kind = device.partition(":")[0]
    if kind == "cuda":
        if torch.version.hip:
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
        own = gpu_of(device)
        return next(name for least, name in AUTO_PRECISION if own is not None and own.capability >= least)
    return "bf16" if kind == "cpu" and machine.has_amx() else "fp32"


def demand_precision(device: str, precision: str) -> None:
    """Raise a UserError unless a device that is here computes in this precision; what it emulates it computes."""
    own = gpu_of(device)
    if precision == "tf32" and (own is None or own.capability < TF32):
        here = f"{device}" if own is None else f"{device} is {own}"
        raise UserError(
            f"compute.precision: tf32 is arithmetic of NVIDIA GPUs from {_sm(TF32)} on, here {here}; use fp32"
        )


@contextmanager
def arithmetic(device: str, *, tf32: bool = False, deterministic: bool = False) -> Iterator[None]:
    """Products and convolutions of float32 on GPUs are IEEE during the block, or TF32; and deterministic, if asked.

    These are settings of the process. On other devices nothing is set.
    """
    import torch

    if device.partition(":")[0] != "cuda":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32, convolutions.deterministic, convolutions.benchmark
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    products.allow_tf32 = convolutions.allow_tf32 = tf32
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS reads at its first product
        convolutions.deterministic, convolutions.benchmark = True, False
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32, convolutions.deterministic, convolutions.benchmark = before
        torch.use_deterministic_algorithms(was[0], warn_only=was[1])


def launches_cost(device: "torch.device") -> bool:
    """Whether a device is told each operation by a launch, and has none of the native kernels: all but CPUs."""
    return device.type != "cpu"


def to_device(tensor: "Tensor", device: "torch.device") -> "Tensor":
    """Copy a tensor to a device; what comes from the CPU goes to CUDA through pinned memory, so that nothing waits."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_device_together(tensors: "Sequence[Tensor]", device: "torch.device") -> "list[Tensor]":
    """Copy dense tensors from the CPU to a device as `to_device` does, to CUDA all in one copy: they share its memory
    there. On the CPU they are what was given."""
    if device.type != "cuda":
        return [tensor.to(device) for tensor in tensors]
    return unpacked(packed(tensors, pinned=True).to(device, non_blocking=True), tensors)


def packed(tensors: "Sequence[Tensor]", *, pinned: bool = False) -> "Tensor":
    """Copy dense tensors on the CPU to one buffer, uint8[bytes], each from a multiple of ALIGNMENT on."""
    import torch

    memory = torch.empty(_starts(tensors)[-1], dtype=torch.uint8, pin_memory=pinned)
    for part, tensor in zip(unpacked(memory, tensors), tensors, strict=True):
        part.copy_(tensor)
    return memory


def unpacked(memory: "Tensor", tensors: "Sequence[Tensor]") -> "list[Tensor]":
    """The parts of a buffer of `packed`, on any device, in type, shape and layout like the tensors."""
    places = zip(_starts(tensors), tensors, strict=False)
    return [memory[at : at + of.nbytes].view(of.dtype).as_strided(of.shape, _dense(of)) for at, of in places]


def _starts(tensors: "Sequence[Tensor]") -> list[int]:
    """First byte of each tensor in a buffer, and the bytes of the buffer."""
    return list(accumulate((-(-of.nbytes // ALIGNMENT) * ALIGNMENT for of in tensors), initial=0))


def _dense(tensor: "Tensor") -> tuple[int, ...]:
    """The strides of a tensor's copy that fills its memory, in the layout that it has."""
    import torch

    return torch.empty_like(tensor, device="meta").stride()


def copied_to_host(tensors: "Mapping[str, Tensor]") -> "Callable[[], dict[str, Tensor]]":
    """Copy tensors, by name, as they are now; returns what gives the contiguous copies on the CPU when they are there.

    What comes from CUDA goes to pinned memory, and only who asks for the copies waits, perhaps in another thread.
    """
    import torch

    copies: dict[str, Tensor] = {}
    events: dict[torch.device, torch.cuda.Event] = {}
    for name, tensor in tensors.items():
        if tensor.device.type != "cuda":
            copies[name] = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
            continue
        copies[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        copies[name].copy_(tensor.detach(), non_blocking=True)
        events.setdefault(tensor.device, torch.cuda.Event())  # type: ignore[no-untyped-call]
    for device, event in events.items():
        event.record(torch.cuda.current_stream(device))

    def copied() -> "dict[str, Tensor]":
        for event in events.values():
            event.synchronize()
        return copies

    return copied


def gpu_of(device: str) -> Gpu | None:
    """The GPU that a device means in this process; None for none."""
    kind, _, number = device.partition(":")
    index, found = int(number) if number else machine.local_rank(), gpus() if kind == "cuda" else ()
    return found[index] if index < len(found) else None


def facts(device: str) -> dict[str, object]:
    """The device as a run's record stores it: its kind as `device`, and of a GPU which one, and torch's libraries."""
    import torch

    own = gpu_of(device)
    kind: dict[str, object] = {"device": device.partition(":")[0]}
    if own is None:
        return kind
    libraries = {"cuda": torch.version.cuda or torch.version.hip, "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    memory = round(own.memory_bytes / 2**30, 1)
    return kind | {"gpu": str(own), "gpu_memory_gb": memory, "gpu_uuid": own.uuid, **libraries}


def alike() -> tuple[Gpu, ...]:
    """The first GPU that `auto` takes and those like it: trials that are compared have to be computed alike."""
    found = [gpu for gpu in gpus() if gpu.supported]
    return tuple(gpu for gpu in found if (gpu.name, gpu.capability) == (found[0].name, found[0].capability))


def visible_name(gpu: Gpu) -> str:
    """The GPU as CUDA_VISIBLE_DEVICES of a process started by this one names it."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return str(gpu.number) if given is None else given.split(",")[gpu.number].strip()


@functools.cache
def say_once(line: str) -> None:
    """Warn of something in a process's surroundings, which doesn't change, once."""
    log.warning(line)


def _gpu(number: int) -> Gpu:
    import torch

    of = torch.cuda.get_device_properties(number)
    capability = (int(of.major), int(of.minor))
    return Gpu(
        number, of.name, capability, int(of.total_memory), _has_code_for(capability), str(getattr(of, "uuid", ""))
    )


def _has_code_for(capability: tuple[int, int]) -> bool:
    """Whether torch was compiled for such a GPU: for an earlier one of its generation, or to be translated for it."""
    import torch

    built = re.findall(r"(sm|compute)_(\d+)(\d)", " ".join(torch.cuda.get_arch_list()))
    if torch.version.hip or not built:
        return True
    code = [(kind, (int(major), int(minor))) for kind, major, minor in built]
    return any(of <= capability and (kind == "compute" or of[0] == capability[0]) for kind, of in code)


def _too_old() -> str:
    import torch

    return f"this torch has no code for it, only for {', '.join(torch.cuda.get_arch_list())}; install one that has"


def _sm(capability: tuple[int, int]) -> str:
    return f"sm_{capability[0]}{capability[1]}"
