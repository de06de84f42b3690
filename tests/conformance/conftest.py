"""The instruction sets that kernels are tested for."""

import pytest
from instruction_sets import SETS

from seedwise import native


@pytest.fixture(params=SETS)
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a row, for which kernels are compiled; skipped where the processor can't run them."""
    reason = native.why_not(request.param)
    if reason is not None:
        pytest.skip(f"{request.param} is not tested here: {reason}")
    monkeypatch.setenv(native.TARGET_VARIABLE, request.param)
    return request.param
