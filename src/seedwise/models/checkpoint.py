"""Reads weights from a file or folder; refuses in one line what isn't plain tensors. Nothing is unpickled."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from seedwise.base.errors import UserError, first_sentence
from seedwise.base.files import read_json
from seedwise.records.run import RECORD, check_files, read_record

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
EMA_FILE = "ema.safetensors"
"""File of the averaged weights in a run's folder, for the same config.json."""
_FOLDER_FILES = (WEIGHTS_FILE, "pytorch_model.bin", "model.pth")
_TORCH_SUFFIXES = (".pth", ".pt", ".bin")
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts store the state dict; an averaged one is meant for use, so it comes first."""

_PREFIXES = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile put before every name."""


@dataclass(frozen=True)
class Checkpoint:
    """A state dict, its file, and the content of a config.json beside it."""

    file: Path
    sha256: str
    state: dict[str, Tensor]
    """Tensors by parameter name."""
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """File name and content hash, for records."""
        return f"{self.file} (sha256 {self.sha256})"


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the weights in a file (.safetensors, .pth, .pt, .bin), or in a folder in timm's `local-dir:` layout.

    A folder's config.json is read with it; so is the one beside a file named model.safetensors, which can only come
    from such a folder, and beside a run's ema.safetensors. Where a run's record.json stands beside them, both must have
    the checksums in it. A UserError for what is missing, damaged or no plain tensors.
    """
    try:
        file = _weights_file(path)
        of_run = file.with_name(RECORD).is_file()
        beside = path.is_dir() or file.name == WEIGHTS_FILE or (file.name == EMA_FILE and of_run)
        config_file = file.with_name(CONFIG_FILE)
        if beside and of_run:
            check_files(file.parent, read_record(file.parent), file.name, CONFIG_FILE)
        config = _read_config(config_file) if beside and config_file.is_file() else {}
    except OSError as error:  # a folder without permission, a name too long
        raise UserError(f"{path}: can't be read ({error.strerror}); check the path and its permissions") from error
    return Checkpoint(file, file_sha256(file), _plain_state(_load(file), file), config)


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such weights file or folder; give a path, or pip, hub or none")
    file = next((path / name for name in _FOLDER_FILES if (path / name).is_file()), None)
    if file is not None:
        return file
    if (path / RECORD).is_file():
        raise UserError(f"{path}: a run without weights yet (status: {read_record(path).status}); resume it first")
    raise UserError(f"{path}: the folder holds no weights; expected {', '.join(_FOLDER_FILES)} in it")


def file_sha256(file: Path) -> str:
    """SHA-256 of a file's content, in hex; a UserError where it can't be read."""
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
    """Unwrap the {name: tensor} dict that a training script may have wrapped."""
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
    config = read_json(file, "fetch or write the folder again")
    if not isinstance(config, dict):
        raise UserError(f"{file}: holds {type(config).__name__}, expected an object with 'architecture'")
    return config
