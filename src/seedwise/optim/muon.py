"""Muon: matrices step along their orthogonalized momentum, all other parameters by AdamW, in one optimizer."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from seedwise.optim.config import Muon

COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the quintic polynomial x -> a x + b x^3 + c x^5, steep at 0, that is applied to the singular values."""
ITERATIONS = 5
TINY = 1e-7
"""Least norm that a matrix is divided by, as torch's `Muon` has it."""
_CONVOLUTIONS = nn.Conv1d, nn.Conv2d, nn.Conv3d


class MuonWithAdamW(torch.optim.Optimizer):
    """Groups with `matrices` above 0 step by Muon, each weight of theirs as so many matrices; all others by AdamW.

    State has the names, shapes and layouts of torch's own optimizers. torch's `AdamW` can't be the base class: it
    takes no state without its own entries back from a checkpoint.
    """

    def __init__(
        self,
        config: Muon,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
    ) -> None:
        # `fused` is for torch, which then restores AdamW's counts of steps in the type that its kernel takes
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "matrices": 0, "fused": True})
        self._config = config

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step of every group; `closure` has to be None."""
        assert closure is None
        for group in self.param_groups:
            given = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["matrices"]:
                for parameter in given:
                    self._step(parameter, parameter.grad, group)
            elif given:
                self._step_adamw(given, group)

    def _step_adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        states = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        adamw(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=self._config.betas[0],
            beta2=self._config.betas[1],
            eps=self._config.eps,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
        )

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - self._config.matrix_momentum)
        update = gradient.lerp(momentum, self._config.matrix_momentum)
        flat = update.reshape(group["matrices"], len(update) // group["matrices"], -1)
        rows, columns = flat.shape[1:]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        direction = orthogonalized(flat).reshape(update.shape)
        parameter.add_(direction, alpha=-group["lr"] * self._scale(rows, columns))

    def _scale(self, rows: int, columns: int) -> float:
        """Factor on the rate for a matrix of this shape."""
        if self._config.adjust_lr == "match_rms_adamw":
            return 0.2 * math.sqrt(max(rows, columns))
        return math.sqrt(max(1.0, rows / columns))


def orthogonalized(matrices: Tensor) -> Tensor:
    """Newton-Schulz iterations on float32[n, rows, columns]: the singular values of each matrix brought near 1.

    They are those of torch's `Muon`, X -> (a I + b G + c G^2) X with G = X X^T, regrouped: polynomials of one G
    commute, so that the iterations need G alone, and X is multiplied once, at the end. A matrix four times as wide as
    high takes 2 in place of 4.5 products' time. Squaring costs digits, which float32 has to spare for five iterations:
    directions of singular values 1e-3 of the largest come out some 0.2% off (bfloat16 would not do).
    """
    a, b, c = COEFFICIENTS
    wide = matrices.transpose(1, 2) if matrices.shape[1] > matrices.shape[2] else matrices
    x = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp(min=TINY)
    gram = x @ x.transpose(1, 2)
    product: Tensor | None = None
    for iteration in range(ITERATIONS):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        product = polynomial if product is None else polynomial @ product
        if iteration < ITERATIONS - 1:
            gram = polynomial @ gram @ polynomial
    assert product is not None
    done: Tensor = product @ x
    return done.transpose(1, 2) if wide is not matrices else done


def matrices(model: nn.Module, head: Sequence[str]) -> dict[str, int]:
    """How many matrices each weight that Muon is for holds, by its name: one a group of a convolution.

    Weights of linear layers and of convolutions, but for depthwise ones, whose groups have vectors, and for the
    classifier: the submodules that `head` names.
    """
    found: dict[str, int] = {}
    for name, module in model.named_modules():
        if any(name == each or name.startswith(f"{each}.") for each in head):
            continue
        if isinstance(module, nn.Linear):
            found[f"{name}.weight".lstrip(".")] = 1
        elif isinstance(module, _CONVOLUTIONS) and (module.groups == 1 or module.weight.shape[1] > 1):
            found[f"{name}.weight".lstrip(".")] = module.groups
    return found


def muon_effects(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Measure what Muon stepped: matrices, their numbers, and the share of all trained numbers that these are."""
    stepped = [
        (group["matrices"], parameter.numel())
        for group in optimizer.param_groups
        for parameter in group["params"]
        if "momentum_buffer" in optimizer.state.get(parameter, {})
    ]
    trained = sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"])
    numbers = sum(count for _, count in stepped)
    return {"matrices": sum(n for n, _ in stepped), "parameters": numbers, "share": numbers / max(trained, 1)}
