"""config.json beside model.safetensors, as `timm.create_model("local-dir:RUN", pretrained=True)` reads it."""

from collections.abc import Sequence
from typing import Any

from seedwise.models.build import BuiltModel


def timm_config(
    built: BuiltModel, *, num_classes: int, classes: Sequence[str], size: int, interpolation: str
) -> dict[str, Any]:
    """Build the config.json by which timm rebuilds the network and repeats our evaluation preprocessing.

    `classes`: label names by class index. `size`: side in pixels that the run was evaluated at. `interpolation`:
    nearest, bilinear or bicubic. Evaluation resizes the short side to `size` and crops the center, hence crop_pct 1.
    Drop rates are left out: they have no effect on a trained network. `small` and users' own networks are written
    alike, for `load_model`; timm doesn't know their architectures.
    """
    own: dict[str, Any] = built.module.pretrained_cfg  # type: ignore[assignment]
    config: dict[str, Any] = {
        "architecture": built.architecture,
        "num_classes": num_classes,
        "label_names": list(classes),
    }
    if isinstance(features := getattr(built.module, "num_features", None), int):
        config["num_features"] = features
    if built.model_args:
        config["model_args"] = dict(built.model_args)
    config["pretrained_cfg"] = {
        "custom_load": False,
        "input_size": [3, size, size],
        "fixed_input_size": bool(own.get("fixed_input_size", False)),
        "interpolation": interpolation,
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": list(built.mean),
        "std": list(built.std),
        "num_classes": num_classes,
        "pool_size": None,
        "first_conv": own.get("first_conv"),
        "classifier": own.get("classifier"),
    }
    return config
