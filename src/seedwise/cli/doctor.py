"""`seedwise doctor`."""

import json
from typing import Annotated, Any

import typer

from seedwise.base.errors import UserError
from seedwise.cli.options import DataDir, Json, Overrides, say_first

UNKNOWN = "unknown"
Kernels = Annotated[
    str | None,
    typer.Option("--kernels", metavar="RECIPE", help="Which kernels a recipe's network trains with, layer by layer."),
]


def doctor(
    kernels: Kernels = None,
    overrides: Overrides = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show what this machine offers, and say what will hurt; or which kernels a recipe's network trains with.

    Nothing is written or downloaded. With --kernels one step is made on noise, and each layer is a line: what computes
    it, and why nothing faster does.

    Example: `seedwise doctor --data-dir DIR`

    Example: `seedwise doctor --kernels lite -s train.batch_size=32`
    """
    if kernels is not None and data_dir is not None:
        raise UserError(f"--data-dir {data_dir}: no data are looked at with --kernels; drop one of them")
    if kernels is not None:
        _explain(kernels, overrides or [], as_json)
        return
    if overrides:
        raise UserError("-s: sets options of a recipe; name one with --kernels RECIPE")
    say_first("looking at this machine")
    from seedwise.doctor.advice import advise
    from seedwise.doctor.findings import examine

    findings = examine(data_dir)
    advice = advise(findings)
    if as_json:
        print(json.dumps({**findings, "advice": advice}, indent=2))
        return
    for name, value in _lines(findings).items():
        print(f"{name + ':':<12}{value}")
    for line in advice:
        print(f"! {line}")


def _explain(name: str, overrides: list[str], as_json: bool) -> None:
    """Print what computes each layer of a recipe's network."""
    from seedwise.recipe import library

    recipe = library.read(name, overrides)
    say_first("making one step on noise")
    from seedwise.doctor.kernel_paths import explain_recipe

    resolved, found = explain_recipe(recipe)
    compute, train = resolved.compute, resolved.train
    if as_json:
        import json
        from dataclasses import asdict

        setting = {"model": resolved.model.name, "image_size": train.image_size, "batch_size": train.batch_size}
        rows = [asdict(row) for row in found.rows]
        print(json.dumps({**setting, "compute": compute.model_dump(), "rows": rows}, indent=2))
        return
    uncompiled = recipe.compute.kernels == "auto" and compute.kernels == "fallback"
    print(
        f"{resolved.model.name}, {train.image_size} px, batch {train.batch_size}, {compute.device}, "
        f"{compute.precision}, threads: {compute.threads}, kernels: {compute.kernels}"
        f"{', since no C++ kernels are installed or can be compiled' if uncompiled else ''}"
    )
    print(found.table())


def _lines(found: dict[str, Any]) -> dict[str, str]:
    memory, disk, compiler, weights = (found[name] for name in ("memory", "free disk", "compiler", "weights"))
    return {
        "device": _or_unknown(found["device"]),
        "precision": _or_unknown(found["precision"]),
        "threads": _or_unknown(found["threads"]),
        "cpu": _or_unknown(found["cpu"]),
        "load": f"{_or_unknown(found['load'])} on {_or_unknown(found['machine_cores'])} cores",
        "gpus": _listed(found["gpus"]),
        "compiler": UNKNOWN if compiler is None else compiler["version"] or compiler["path"] or "none",
        "memory": f"{_gb(memory['available_gb'])} available of {_gb(memory['total_gb'])}",
        "free disk": f"{_gb(disk['here_gb'])} here, {_gb(disk['cache_gb'])} at the cache",
        "cache": _or_unknown(found["cache"]["path"]),
        "cifar10": _data(found, "cifar10"),
        "cifar100": _data(found, "cifar100"),
        "weights": f"pip: {_listed(weights['pip'])}; hub: {_listed(weights['hub'])} in {weights['hub_cache']}",
        "variables": ", ".join(f"{name}={value}" for name, value in found["variables"].items()) or "none",
        "versions": ", ".join(f"{name} {version}" for name, version in (found["versions"] or {}).items()) or UNKNOWN,
    }


def _data(found: dict[str, Any], name: str) -> str:
    if found[name] is not None:
        return str(found[name])
    folder = found["data_folder"]
    place = "" if folder is None else f" in {folder}" if found["data_folder_exists"] else f": {folder} is no folder"
    how = "--data-dir DIR or SEEDWISE_DATA=DIR names a local copy, -s data.download=true fetches one"
    return f"not found{place}; {how}"


def _or_unknown(value: Any) -> str:
    return UNKNOWN if value is None else str(value)


def _listed(values: list[str] | None) -> str:
    return UNKNOWN if values is None else ", ".join(values) or "none"


def _gb(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:g} GB"
