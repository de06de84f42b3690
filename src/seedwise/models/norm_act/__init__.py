"""BatchNorm with its activation in one kernel, for training on a CPU. `use_fused_norm_act(model)` swaps it in."""

from seedwise.models.norm_act.kernels import available, library_name
from seedwise.models.norm_act.modules import batch_norm_act, use_fused_norm_act

__all__ = ["available", "batch_norm_act", "library_name", "use_fused_norm_act"]
