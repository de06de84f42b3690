"""BatchNorm with its activation in one kernel, for training on a CPU. `use_fused_norm_act(model)` swaps it in."""

from seedwise.models.norm_act.kernels import NormStep, activate, available, library_name
from seedwise.models.norm_act.modules import (
    FusedBatchNormAct2d,
    batch_norm_act,
    step_of,
    use_fused_norm_act,
)

__all__ = [
    "FusedBatchNormAct2d",
    "NormStep",
    "activate",
    "available",
    "batch_norm_act",
    "library_name",
    "step_of",
    "use_fused_norm_act",
]
