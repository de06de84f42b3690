"""Batches of one size, as a compiled network wants them: every image is taken, few twice, and nothing compiled anew."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import EPOCHS, Tiny, no_fsync, prepare
from torch import Tensor, nn

from seedwise.engine.loop import fit
from seedwise.engine.protocols import Observer

__all__ = ["no_fsync"]  # a fixture


@pytest.mark.parametrize("accumulate", [1, 2])
def test_equal_batches_take_every_image_and_few_twice(accumulate: int, tmp_path: Path) -> None:
    setup = replace(prepare(tmp_path, batch_size=6 // accumulate, accumulate=accumulate), equal_batches=True)
    fit(setup, observer=Observer())
    batches = setup.augment.batches  # type: ignore[attr-defined]
    assert {len(ids) for _, ids in batches} == {6 // accumulate}
    for epoch in range(EPOCHS):
        seen = [image for at, ids in batches if at == epoch for image in ids]
        assert len(seen) == 18 and set(seen) == set(setup.train.ids.tolist())


@pytest.mark.parametrize(("equal", "graphs"), [(True, 1), (False, 2)])
def test_batches_of_one_size_are_compiled_once(equal: bool, graphs: int, tmp_path: Path) -> None:
    torch._dynamo.reset()
    compiled = 0

    def backend(graph: torch.fx.GraphModule, inputs: object) -> Callable[..., Any]:
        nonlocal compiled
        compiled += 1
        return graph.forward

    setup = replace(prepare(tmp_path, val=False), equal_batches=equal)
    assert isinstance(setup.model, Tiny)
    setup.model.dropout, setup.model.masks = nn.Dropout(0.0), Dropped()  # type: ignore[assignment]
    setup.model.compile(backend=backend)
    fit(setup, observer=Observer())
    assert compiled == graphs
    torch._dynamo.reset()


class Dropped(list[Tensor]):
    """Keeps nothing: a list that grows would be compiled anew."""

    def append(self, mask: Tensor) -> None:
        pass
