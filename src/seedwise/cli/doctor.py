"""`seedwise doctor`."""

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from seedwise.cli.options import DataDir


def doctor(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Show what this machine offers, and say what will hurt.

    Example: `seedwise doctor --data-dir DIR`
    """
    import json

    from seedwise import machine, plan
    from seedwise.recipe import Recipe

    compute = plan.resolve(Recipe()).compute
    facts, versions = machine.facts(), machine.versions()
    findings = {
        "device": compute.device,
        "precision": compute.precision,
        "threads": str(compute.threads),
        "cpu": machine.describe(facts),
        "gpus": ", ".join(facts["gpus"]) or "none",
        "memory": f"{facts['memory_gb']} GB",
        "free disk": f"{_free_gb(Path.cwd()):.0f} GB here",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        **_data(data_dir),
        **_weights(),
    }
    advice = _advice(facts, findings)
    if as_json:
        print(json.dumps({**findings, "advice": advice}, indent=2))
        return
    for name, value in findings.items():
        print(f"{name + ':':<12}{value}")
    for line in advice:
        print(f"! {line}")


def _free_gb(path: Path) -> float:
    return shutil.disk_usage(path).free / 2**30


def _data(data_dir: Path | None) -> dict[str, str]:
    from seedwise.data.cache import cache_root
    from seedwise.data.find import DATA_VARIABLE, find_source
    from seedwise.errors import UserError

    try:
        source = find_source("cifar100", data_dir)
        found = str(source.path)
    except UserError:
        found = f"not found; --data-dir DIR or {DATA_VARIABLE}=DIR names a local copy"
    return {"cifar100": found, "cache": str(cache_root())}


def _weights() -> dict[str, str]:
    from seedwise.models.config import PIP_PACKAGES

    found = [name for name, package in PIP_PACKAGES.items() if importlib.util.find_spec(package.replace("-", "_"))]
    hub = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "hub"
    cached = sorted(p.name.removeprefix("models--timm--") for p in hub.glob("models--timm--*"))
    return {"weights": f"pip: {', '.join(found) or 'none'}; hub cache: {', '.join(cached) or 'empty'}"}


def _advice(facts: dict[str, object], findings: dict[str, str]) -> list[str]:
    advice = []
    if findings["device"] == "cpu" and not facts["amx"]:
        advice.append("no GPU and no AMX: use the `lite` recipe; EfficientNetV2 at 224 px takes days here")
    if findings["device"] == "cpu" and facts["amx"]:
        advice.append("no GPU: use the `lite` recipe; EfficientNetV2 at 224 px takes days here")
    if facts["cores"] == 1:
        advice.append("one core: expect twice the time that the recipes' headers name")
    if os.environ.get("OMP_WAIT_POLICY", "passive").lower() != "passive":
        advice.append("OMP_WAIT_POLICY is not passive: a busy neighbor can slow training many times; unset it")
    if _free_gb(Path.cwd()) < 5:
        advice.append("less than 5 GB free here: checkpoints and caches need room; choose another disk with -o")
    memory = facts["memory_gb"]
    if isinstance(memory, float) and memory < 6:
        advice.append("less than 6 GB of memory: lower train.batch_size (-b 32)")
    return advice
