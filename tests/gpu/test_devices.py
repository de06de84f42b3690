"""Which device a recipe gets on machines of all kinds, in which precision, and the one line where it gets none."""

from typing import Any

from null_driver import Machine, NullDriver, Question

TWO_PROCESSES = {"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"}


def resolved(*settings: str) -> Any:
    """Device and precision of a recipe, and the GPU that this process then computes on; or the line of a refusal."""
    import torch

    from seedwise.base.errors import UserError
    from seedwise.engine.placement import Placement
    from seedwise.recipe import library
    from seedwise.run import resolve

    try:
        compute = resolve.resolve(library.read("demo", ["compute.kernels=stock", *settings])).compute
    except UserError as error:
        return str(error)
    place = Placement.of(compute)
    torch.zeros(1, device=place.device)
    return [compute.device, compute.precision, str(place.device)]


CUDA, CUDA_1, TF32 = "compute.device=cuda", "compute.device=cuda:1", "compute.precision=tf32"
CASES: dict[str, tuple[Question, Any]] = {
    "A100": (Question(resolved, (), Machine((80,))), ["cuda", "bf16", "cuda:0"]),
    "T4": (Question(resolved, (), Machine((75,))), ["cuda", "fp16", "cuda:0"]),
    "A100, TF32": (Question(resolved, (TF32,), Machine((80,))), ["cuda", "tf32", "cuda:0"]),
    "T4, TF32": (
        Question(resolved, (TF32,), Machine((75,))),
        "compute.precision: tf32 is arithmetic of NVIDIA GPUs from sm_80 on, here cuda is Null GPU sm_75 (sm_75)",
    ),
    "no GPU, TF32": (
        Question(resolved, (TF32, "compute.device=cpu"), Machine((80,))),
        "compute.precision: tf32 is arithmetic of NVIDIA GPUs from sm_80 on, here cpu; use fp32",
    ),
    "none": (Question(resolved, (CUDA,), Machine(())), "compute.device: cuda is not here (0 CUDA devices found)"),
    # The precision is that of the GPU which computes.
    "A100 and T4": (Question(resolved, (CUDA_1,), Machine((80, 75))), ["cuda:1", "fp16", "cuda:1"]),
    "T4 and A100": (Question(resolved, (CUDA_1,), Machine((75, 80))), ["cuda:1", "bf16", "cuda:1"]),
    # torch for CUDA 13 has code for sm_75 and later.
    "V100": (Question(resolved, (), Machine((70,))), ["cpu", None, "cpu"]),
    "V100, asked for": (
        Question(resolved, (CUDA,), Machine((70,))),
        "compute.device: cuda is Null GPU sm_70 (sm_70): ",
    ),
    "sm_60 and A100": (Question(resolved, (), Machine((60, 80))), ["cuda:1", "bf16", "cuda:1"]),
    "of its generation": (Question(resolved, (), Machine((89,))), ["cuda", "bf16", "cuda:0"]),
    # torchrun
    "its rank's": (
        Question(resolved, (), Machine((80, 80)), {**TWO_PROCESSES, "LOCAL_RANK": "1", "RANK": "1"}),
        ["cuda", "bf16", "cuda:1"],
    ),
    "too few": (
        Question(resolved, (), Machine((80,)), {**TWO_PROCESSES, "LOCAL_RANK": "0", "RANK": "0"}),
        "compute.device: torchrun's process 1 on this machine has no GPU of its own: 1 is visible",
    ),
    "too few, said by rank alone": (
        Question(resolved, (CUDA,), Machine((80, 80)), {"LOCAL_RANK": "2", "WORLD_SIZE": "3"}),
        "compute.device: torchrun's process 2 on this machine has no GPU of its own: 2 are visible",
    ),
    "one for all": (
        Question(resolved, ("compute.device=cuda:0",), Machine((80, 80)), {**TWO_PROCESSES, "LOCAL_RANK": "1"}),
        "compute.device: cuda:0 would put all 2 processes of torchrun on one GPU; use cuda",
    ),
    # NVML sees a GPU, CUDA does not.
    "old driver": (Question(resolved, (), Machine((80,), old_driver=True)), ["cpu", None, "cpu"]),
    "old driver, asked for": (
        Question(resolved, (CUDA,), Machine((80,), old_driver=True)),
        "compute.device: cuda is not here (there is an NVIDIA GPU, but torch can't use it: its driver is too old",
    ),
}


def test_each_machine_gets_its_device_and_precision_or_one_line(null_driver: NullDriver) -> None:
    answers = null_driver.ask([question for question, _ in CASES.values()])
    for (name, (_, expected)), answer in zip(CASES.items(), answers, strict=True):
        found = answer.demand()
        if isinstance(expected, str):
            assert isinstance(found, str) and found.startswith(expected) and "\n" not in found, (name, found)
        else:
            assert [found[0], expected[1] and found[1], found[2]] == expected, (name, found)
        assert answer.err.count("\n") == (name in ("V100", "old driver")), (name, answer.err)
        assert "computes without a GPU: " in answer.err or not answer.err
