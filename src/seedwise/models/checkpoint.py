"""Reads weights from a file or folder and refuses, in one line, what isn't plain tensors. Nothing is unpickled."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from seedwise.errors import UserError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_FOLDER_FILES = (WEIGHTS_FILE, "pytorch_model.bin", "model.pth")
_TORCH_SUFFIXES = (".pth", ".pt", ".bin")
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts store the state dict; an averaged one is meant for use, so it comes first."""

_PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""


@dataclass(frozen=True)
class Checkpoint:
    """A state dict, the file it came from and what a config.json beside it says."""

    file: Path
    sha256: str
    state: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """The file and its content hash, for records."""
        return f"{self.file} (sha256 {self.sha256})"


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights in a file (.safetensors, .pth, .pt, .bin), or in a folder laid out as timm's `local-dir:` is.

    A folder's config.json is read with it; so is the one beside a file named model.safetensors, which can only come
    from such a folder.
    """
    if path.is_dir():
        file = next((path / name for name in _FOLDER_FILES if (path / name).is_file()), None)
        if file is None:
            raise UserError(f"{path}: the folder holds no weights; expected {', '.join(_FOLDER_FILES)} in it")
    elif path.is_file():
        file = path
    else:
        raise UserError(f"{path}: no such weights file or folder; give a path, or pip, hub or none")
    beside = path.is_dir() or file.name == WEIGHTS_FILE
    config = _read_config(file.with_name(CONFIG_FILE)) if beside and file.with_name(CONFIG_FILE).is_file() else {}
    return Checkpoint(file, file_sha256(file), _plain_state(_load(file), file), config)


def file_sha256(file: Path) -> str:
    """The SHA-256 of a file's bytes, as hexadecimal."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{file}: can't be read ({error.strerror}); check its permissions") from error


def _load(file: Path) -> Any:
    if file.suffix != ".safetensors" and file.suffix not in _TORCH_SUFFIXES:
        suffixes = ", ".join((".safetensors", *_TORCH_SUFFIXES))
        raise UserError(f"{file}: unknown kind of weights file '{file.suffix}'; expected {suffixes}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file, device="cpu")
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the parsers raise almost anything
        raise UserError(
            f"{file}: can't be read as weights ({first_sentence(error)}); the file is damaged, cut off or holds more "
            "than tensors: fetch it again, or save it anew with torch.save(model.state_dict(), ...)"
        ) from error


def _plain_state(loaded: Any, file: Path) -> dict[str, Tensor]:
    """The bare {name: tensor} inside what a training script may have wrapped around it."""
    while isinstance(loaded, Mapping):
        wrapper = next((key for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)), None)
        if wrapper is None:
            break
        loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded:
        raise UserError(f"{file}: holds {type(loaded).__name__} without tensors; expected a state dict")
    state: dict[str, Tensor] = {}
    for name, tensor in loaded.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise UserError(f"{file}: '{name}' is {type(tensor).__name__}, not a tensor; expected a plain state dict")
        while name.startswith(_PREFIXES):
            name = name.split(".", 1)[1]
        state[name] = tensor
    return state


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: can't be read ({first_sentence(error)}); fetch or write the folder again") from error
    if not isinstance(config, dict):
        raise UserError(f"{file}: holds {type(config).__name__}, expected an object with 'architecture'")
    return config


def first_sentence(error: BaseException) -> str:
    """The start of an exception's message, without line breaks, fit for the inside of our one line.

    What follows is advice to programmers; torch's, for one, is to unpickle what it just refused.
    """
    message = " ".join(str(error).split()).split(". ")[0].rstrip(".:") or type(error).__name__
    return message if len(message) <= 160 else message[:157] + "..."
