"""The instruction sets that kernels are tested for."""

import pytest
from instruction_sets import SETS

from seedwise.kernels import launch


@pytest.fixture(params=SETS)
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a row, for which kernels are compiled; skipped where the processor can't run them."""
    reason = launch.why_not(request.param)
    if reason is not None:
        pytest.skip(f"{request.param} is not tested here: {reason}")
    monkeypatch.setenv(launch.TARGET_VARIABLE, request.param)
    return request.param
