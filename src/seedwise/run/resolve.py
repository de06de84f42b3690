"""Automatic choices, made once: turns a recipe into a resolved recipe without `auto`."""

import math
from pathlib import Path

from seedwise.base import devices, machine
from seedwise.base.errors import UserError
from seedwise.config.section import diff, load
from seedwise.data.config import StorageResolution
from seedwise.kernels.rule import NATIVE_KERNELS
from seedwise.models.config import resolve_weights
from seedwise.recipe import progressive
from seedwise.recipe.schema import ComputeConfig, Recipe
from seedwise.recipe.tta_config import TtaConfig
from seedwise.run import sizing

PHOTO_HEADROOM = 256 / 224
"""Ratio of the stored to the training size of photos that boxes are cut out of."""

MAX_THREADS = 1024
"""Largest number of threads: more than the cores are fine, to get a larger machine's bits; millions would crash."""


def resolve(recipe: Recipe) -> Recipe:
    """Write out every automatic choice for this machine; those of `train` are made already (see `sizing`)."""
    recipe = _at_its_place(progressive.resolve(recipe))
    model = recipe.model.model_copy(update={"weights": resolve_weights(recipe.model)})
    return recipe.model_copy(update={"model": model, "compute": _resolve_compute(recipe.compute)})


def doubts(recipe: Recipe) -> list[str]:
    """Lines on what can hardly be meant by a resolved recipe, for whoever waits for it."""
    model = recipe.model
    if model.weights == "none" and model.factory is None and model.least_frozen > 0:
        stays = f"{model.least_frozen} stages keep random weights, which nothing trains"
        return [f"doubt: model.freeze: {stays}; -s model.freeze=0 trains them"]
    return []


NOT_TRAINED = {"data": ("download", "storage", "workers"), "train": ("checkpoint_every",)}
"""Options that are no part of what is trained, by section: they may change between two starts of a run."""


def with_not_trained(recipe: Recipe, other: Recipe) -> Recipe:
    """The recipe with another's options that are no part of what is trained."""
    changed = {
        section: getattr(recipe, section).model_copy(
            update={name: getattr(getattr(other, section), name) for name in names}
        )
        for section, names in NOT_TRAINED.items()
    }
    return recipe.model_copy(update=changed)


def adopt(recipe: Recipe, resolved: Recipe) -> Recipe:
    """Take the recipe's automatic choices from one that was resolved earlier, perhaps elsewhere."""
    train = sizing.with_numbers(recipe.train, resolved.train)  # arms of a study are as long as their base
    model = sizing.with_freeze(recipe.model, resolved.model.freeze)
    recipe = sizing.checked(recipe.model_copy(update={"train": train, "model": model}))
    recipe = _at_its_place(progressive.resolve(recipe))
    compute = {
        name: getattr(resolved.compute, name)
        for name in ComputeConfig.model_fields
        if getattr(recipe.compute, name) == "auto"
    }
    return with_not_trained(recipe, resolved).model_copy(
        update={
            "model": recipe.model.model_copy(update={"weights": resolve_weights(recipe.model)}),
            "compute": recipe.compute.model_copy(update=compute),
        }
    )


def _at_its_place(recipe: Recipe) -> Recipe:
    """The recipe with its teacher's absolute path, so that it is found from any folder."""
    if recipe.loss.distill is None:
        return recipe
    distill = recipe.loss.distill.model_copy(update={"teacher": str(Path(recipe.loss.distill.teacher).absolute())})
    return recipe.model_copy(update={"loss": recipe.loss.model_copy(update={"distill": distill})})


def demand_same(recipe: Recipe, resolved: Recipe, place: str) -> None:
    """Raise a UserError unless the recipe equals a folder's resolved one, up to automatic choices and the name."""
    differences = diff(resolved, adopt(recipe, resolved).model_copy(update={"name": resolved.name}))
    if differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise UserError(f"{place}: holds another recipe: {differences[0]}{more}; choose another folder with -o")


def device_at_hand(compute: ComputeConfig, device: str | None = None) -> str:
    """The device that a resolved section can have here: its own, else what `auto` takes; or `device`, if given.

    A UserError for one that is not here.
    """
    if device is None and devices.can_compute(compute.device):
        return compute.device
    asked = "auto" if device is None else load(Recipe, "{}", overrides=[f"compute.device={device}"]).compute.device
    chosen = devices.choose() if asked == "auto" else asked
    devices.demand(chosen)
    return chosen


def at_hand(compute: ComputeConfig, device: str | None = None) -> ComputeConfig:
    """A resolved section on the `device_at_hand`: itself there, else with this machine's choices; fp32 stays fp32."""
    device = device_at_hand(compute, device)
    if device == compute.device:
        return compute
    kept = {"precision": "fp32"} if compute.precision in ("fp32", "tf32") else {}
    asked = {"device": device, "deterministic": compute.deterministic, **kept}
    return _resolve_compute(ComputeConfig.model_validate(asked))


def said_of_move(compute: ComputeConfig, precision: str | None = None) -> str | None:
    """That a run's device is not here and what computes instead, in a line; None where it is here.

    `precision`: what is computed in, by default what `at_hand` says.
    """
    here = at_hand(compute)
    if here.device == compute.device:
        return None
    then, now = f"{compute.device} in {compute.precision}", f"{here.device} in {precision or here.precision}"
    return f"trained on {then}, which is not here: computes on {now}"


def storage_resolution(recipe: Recipe) -> StorageResolution:
    """Short sides in pixels at which larger photos are stored for this recipe.

    What is scored is stored at the size of evaluation, so that it is resampled once, as by torchvision's Resize.
    """
    size = recipe.train.image_size
    boxes = recipe.augment.random_resized_crop is not None
    train = math.ceil(size * (PHOTO_HEADROOM if boxes else 1))
    return {"short_side": recipe.train.evaluation_size, "train_short_side": train}


def image_sizes(recipe: Recipe) -> dict[str, int]:
    """Sides in pixels of the model's input images in a resolved recipe, by the option that sets them.

    The final size comes first; stages and test-time augmentation follow where theirs differ.
    """
    sizes = {"train.image_size": recipe.train.image_size}
    if recipe.train.eval_image_size is not None:
        sizes["train.eval_image_size"] = recipe.train.eval_image_size
    for number, stage in enumerate(progressive.stages_of(recipe)):
        sizes[f"progressive.{number}.image_size"] = int(stage.image_size or 0)
    if recipe.tta is not None:
        sizes["tta.image_size"] = recipe.tta.size(recipe.train.evaluation_size)
    first = {side: option for option, side in reversed(sizes.items())}
    return {option: side for option, side in sizes.items() if first[side] == option}


def storage_resolution_for_tta(recipe: Recipe, tta: TtaConfig) -> StorageResolution:
    """Short side in pixels at which larger photos are stored for test-time augmentation: what it resizes them to."""
    side = tta.resized_to(recipe.train.evaluation_size)
    return {"short_side": side, "train_short_side": side}


def _resolve_compute(compute: ComputeConfig) -> ComputeConfig:
    device = _device() if compute.device == "auto" else compute.device
    devices.demand(device)
    kind = device.split(":")[0]
    choices = {
        "device": device,
        "precision": devices.precision(device),
        "threads": machine.threads(),
        "channels_last": kind != "mps",
        "kernels": _kernels(kind) if compute.kernels == "auto" else compute.kernels,
        "compile": False,
    }
    resolved = {name: value for name, value in choices.items() if getattr(compute, name) == "auto"}
    return _check(compute.model_copy(update=resolved))


def _device() -> str:
    why = devices.passed_over()
    if why is not None:
        devices.say_once(f"computes without a GPU: {why}")
    return devices.choose()


def _kernels(kind: str) -> str:
    if kind != "cpu":
        return "stock"
    from seedwise.kernels import swap

    return "native" if swap.available() else "fallback"


def _check(compute: ComputeConfig) -> ComputeConfig:
    kind = compute.device.partition(":")[0]
    if int(compute.threads) > MAX_THREADS:
        raise UserError(f"compute.threads: {compute.threads} is too many, this machine has {machine.cores()}; use auto")
    if kind != "cpu" and compute.kernels != "stock":
        raise UserError(f"compute.kernels: {compute.kernels} is for cpu, the device is {compute.device}; use stock")
    devices.demand_precision(compute.device, compute.precision)
    if compute.kernels in NATIVE_KERNELS:
        from seedwise.kernels import swap

        if not swap.available():
            needed = "needs a C++ compiler that works (g++ or clang++)"
            raise UserError(f"compute.kernels: {compute.kernels} {needed}; use fallback")
    return compute
