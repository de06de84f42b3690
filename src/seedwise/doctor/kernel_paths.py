"""Which kernels a recipe's network would train with here."""

import torch

from seedwise.base.errors import UserError
from seedwise.engine.placement import Placement, computing
from seedwise.kernels.explanation import Explanation, explain
from seedwise.kernels.swap import accelerate
from seedwise.models.build import build_model
from seedwise.models.dropout_meter import meter_dropout
from seedwise.models.weights import classifier_names
from seedwise.recipe.schema import Recipe, is_auto
from seedwise.run import resolve

CLASSES = 100
"""The data would say how many; a classifier of another width takes the same paths."""


def explain_recipe(recipe: Recipe) -> tuple[Recipe, Explanation]:
    """The resolved recipe, and the paths of a step on one batch of noise of its size; nothing is downloaded.

    A UserError where the data decide a size.
    """
    sizes = {"train.batch_size": recipe.train.batch_size, "train.image_size": recipe.train.image_size}
    undecided = [name for name, value in {**sizes, "model.freeze": recipe.model.freeze}.items() if is_auto(value)]
    if undecided:
        given = " ".join(f"-s {name}=N" for name in undecided)
        raise UserError(f"{', '.join(undecided)}: auto is decided by the data; give {given}")
    at_first = {"weights": "none", "freeze_schedule": ()}  # which paths there are as long as model.freeze holds
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update=at_first)})
    resolved = resolve.resolve(recipe)
    if resolved.compute.compiled:
        raise UserError("compute.compile: is true, so that a compiler computes the layers, no kernels of ours")
    model, size = resolved.model, resolved.train.image_size
    placement = Placement.of(resolved.compute)
    with computing(resolved.compute, "explaining kernels"):
        built = build_model(model, num_classes=CLASSES, seed=0, image_sizes=resolve.image_sizes(resolved))
        module = placement.module(built.module)
        accelerate(module, resolved.compute.kernels, {})
        meter_dropout(module, classifier_names(module), dropout=model.dropout, drop_path=model.drop_path)
        noise = torch.rand(resolved.train.batch_size, 3, size, size, device=placement.device)
        try:
            with placement.autocast():
                return resolved, explain(module, placement.images(noise))
        except UserError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                "train.batch_size: BatchNorm can't normalize a batch of one image whose map is one pixel; raise it"
            ) from error
