"""The driver that stands in for a GPU: what it counts, what it names, and which machines it can be."""

from typing import Any

import torch
from null_driver import Machine, NullDriver, Question

GIB = 2**30


def one_step() -> dict[str, Any]:
    """Kernels and waits of what torch does for a product that somebody reads."""
    import null_counts

    from seedwise.engine.placement import Placement
    from seedwise.recipe.schema import ComputeConfig

    device = Placement.of(ComputeConfig(device="cuda", precision="fp32", channels_last=True)).device
    weights = torch.ones(8, 8).to(device)
    null_counts.reset()
    product = weights @ weights + 1
    quiet = dict(null_counts.waits())
    float(product.sum())
    return {"device": str(product.device), "quiet": quiet}


def mixed_up() -> None:
    """A tensor that was left on the CPU."""
    torch.ones(8, device="cuda") + torch.ones(8)


def too_much() -> int:
    """Bytes of a GPU that are left beside a tensor, and then one tensor too many."""
    kept = torch.empty(GIB, dtype=torch.uint8, device="cuda")
    free, _ = torch.cuda.mem_get_info()
    try:
        torch.empty(2 * GIB, dtype=torch.uint8, device="cuda")
    except torch.OutOfMemoryError:
        return free + len(kept)
    return 0


def looks() -> list[Any]:
    """What torch finds."""
    available = torch.cuda.is_available()
    found = [torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())] if available else []
    return [available, torch.cuda.device_count(), found]


def test_the_null_driver_counts_names_lines_and_is_the_machine_that_was_asked_for(null_driver: NullDriver) -> None:
    two = {"CUDA_VISIBLE_DEVICES": "1"}
    step, mixed, memory, unlike, second, old, none = null_driver.ask(
        [
            Question(one_step),
            Question(mixed_up),
            Question(too_much, machine=Machine(gpu_bytes=2 * GIB)),
            Question(looks, machine=Machine((75, 80))),
            Question(looks, machine=Machine((75, 80)), environment=two),
            Question(looks, machine=Machine((80,), old_driver=True)),
            Question(looks, machine=Machine(())),
        ]
    )
    assert step.demand() == {"device": "cuda:0", "quiet": {}}
    assert step.counts["gemms"] == 1 and 2 <= step.counts["kernels"] <= 4
    assert step.waits == {"d2h at outside seedwise": 1} and step.counts["stream_syncs"] == 1
    assert mixed.error is not None and "same device" in mixed.error
    assert memory.demand() == 2 * GIB
    assert unlike.demand() == [True, 2, [[7, 5], [8, 0]]]
    assert second.demand() == [True, 1, [[8, 0]]]
    assert old.demand() == [False, 1, []], "NVML sees it"
    assert none.demand() == [False, 0, []]
