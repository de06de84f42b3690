"""`seedwise augment`."""

from pathlib import Path
from typing import Annotated

import typer

from seedwise.cli.options import (
    NO_FLAGS,
    Data,
    DataDir,
    Flags,
    Overrides,
    RecipeName,
    Seed,
    begin_with,
    read_recipe,
    short_forms,
)


@short_forms("img_size")
def augment(
    data: Data,
    recipe: RecipeName = None,
    flags: Flags = NO_FLAGS,
    out: Annotated[Path, typer.Option("-o", "--out", help="PNG file to write.")] = Path("grid.png"),
    seed: Seed = None,
    settings: Overrides = None,
    data_dir: DataDir = None,
) -> None:
    """Draw what a recipe's augmentation does: a row a technique, before and after.

    Example:

        seedwise augment digits -s augment.cutmix=default -o grid.png
    """
    from seedwise.base.errors import UserError
    from seedwise.base.files import demand_writable
    from seedwise.run.folder import demand_outside

    chosen = read_recipe(data, recipe, flags, settings)
    seed = chosen.seed if seed is None else seed
    demand_writable(out, "a PNG file")
    if out.suffix.lower() != ".png":
        raise UserError(f"{out}: the grid is a PNG; give a name that ends in .png")
    begin_with(data, chosen.data, data_dir)
    demand_outside(out, data, chosen, data_dir)
    import numpy as np
    import torch

    from seedwise.augment.grid import draw_grid
    from seedwise.base import rng
    from seedwise.data.glance import glance
    from seedwise.run import sizing
    from seedwise.run.data import open_for

    if sizing.has_auto(chosen):
        chosen = sizing.filled(chosen, glance(data, chosen.data, data_dir=data_dir))
    dataset = open_for(chosen, data, data_dir=data_dir)
    count = min(8, len(dataset.train))
    order = rng.generator(seed, "grid").permutation(len(dataset.train))
    positions = np.sort(order[:count]).astype(np.int64)
    pixels, sizes = dataset.train.gather(positions)
    labels = torch.from_numpy(dataset.train.targets[positions])
    draw_grid(
        out,
        torch.from_numpy(pixels),
        None if sizes is None else torch.from_numpy(sizes),
        torch.nn.functional.one_hot(labels, len(dataset.classes)).float(),
        dataset.classes,
        chosen.augment,
        seed=seed,
        size=chosen.train.image_size,
        count=count,
    )
    print(out)
