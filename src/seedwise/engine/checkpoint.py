"""Checkpoints: everything a run needs to continue with the same bits, in safetensors and JSON (nothing is unpickled).

`checkpoint.json` names the tensor file and its checksum; the small state rides in the tensor file's header. The pointer
is renamed into place after the tensors are on disk under a name that was never used before, so a kill at any moment
leaves the previous checkpoint or the new one, whole.
"""

import json
import secrets
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from seedwise.base.errors import UserError
from seedwise.base.files import atomic_path, read_json, sha256_of, write_json

POINTER = "checkpoint.json"
ADVICE = f"delete {POINTER} to train this run anew"


def save(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint after optimizer step `step`, and remove the one before it; `state`: JSON data."""
    path = folder / f"checkpoint-{step}-{secrets.token_hex(4)}.safetensors"
    checksum = write_tensors(path, tensors, {"state": json.dumps(state, allow_nan=False)})
    write_json(folder / POINTER, {"file": path.name, "sha256": checksum})
    _remove(folder, but=path)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Write a safetensors file atomically and return its SHA-256; a UserError where the disk refuses it."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(on_cpu, temporary, metadata=metadata)
        except SafetensorError as error:  # what it makes of every OSError
            raise UserError(f"{path}: can't be written ({error}); free some space and resume") from error
        return sha256_of(temporary)


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read the folder's checkpoint: its tensors and its state; None without one, a UserError when it is damaged."""
    if not (folder / POINTER).exists():
        return None
    pointer = read_json(folder / POINTER, ADVICE)
    try:
        path, checksum = folder / Path(pointer["file"]).name, pointer["sha256"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / POINTER}: damaged, it names no file and checksum; {ADVICE}") from error
    if not path.is_file():
        raise UserError(f"{path}: missing, though {POINTER} names it; {ADVICE}")
    if sha256_of(path) != checksum:
        raise UserError(f"{path}: damaged, its checksum is not the recorded one; {ADVICE}")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            return tensors, json.loads(file.metadata()["state"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a checkpoint of this version ({error!r}); {ADVICE}") from error


def clear(folder: Path) -> None:
    """Remove the checkpoint of a finished run."""
    (folder / POINTER).unlink(missing_ok=True)
    _remove(folder, but=None)


def _remove(folder: Path, but: Path | None) -> None:
    """Remove all tensor files but one, and the unfinished ones of killed writers (the folder's lock is ours)."""
    for leftover in (*folder.glob("checkpoint-*.safetensors"), *folder.glob(".checkpoint*.tmp")):
        if leftover != but:
            leftover.unlink(missing_ok=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as flat tensors, named `optimizer/<parameter number>/<name>`."""
    return {
        f"optimizer/{index}/{name}": value
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the optimizer's state from `optimizer_tensors`.

    Each tensor gets its parameter's memory layout: kernels round differently over another one.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/", 2)
            like = parameters[int(index)]
            if value.shape == like.shape:
                value = torch.empty_like(like).copy_(value)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def model_tensors(model: nn.Module, prefix: str) -> dict[str, Tensor]:
    """The model's parameters and buffers, named `<prefix>/<name>`."""
    return {f"{prefix}/{name}": value for name, value in model.state_dict().items()}


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `<prefix>/`, named without it."""
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}
