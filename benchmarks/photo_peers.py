"""What docs/photos.md compares with: a fine-tuning as timm's train.py does it, and a linear probe."""

import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

LR, WARMUP = 1e-3, 0.1
"""At batch 128, and it goes with the square root of the batch; share of the epochs in which the rate rises."""
DECAYS = (0.001, 0.01, 0.1, 1.0)
"""scikit-learn's C that the probe chooses from."""
TIMED = 5
"""Steps that tell timm's loop how many epochs there is time for."""


def _network(num_classes: int, seed: int) -> torch.nn.Module:
    """timm's own Lite0 with the same ImageNet-1k weights; the head is new, or there is none."""
    from seedwise.models.build import build_model
    from seedwise.models.config import ModelConfig

    torch.manual_seed(seed)
    ours = build_model(ModelConfig(weights="pip"), num_classes=max(2, num_classes), seed=seed).module.state_dict()
    model: torch.nn.Module = import_module("timm").create_model(
        "tf_efficientnet_lite0", num_classes=num_classes, drop_rate=0.2
    )
    own = model.state_dict()
    model.load_state_dict({name: own[name] if "classifier" in name else ours[name] for name in own})
    return model


def _loader(folder: Path, part: str, size: int, batch: int, **training: Any) -> Any:
    data = import_module("timm.data")
    return data.create_loader(
        data.create_dataset("", root=str(folder), split=part),
        input_size=(3, size, size),
        batch_size=batch,
        mean=(0.5, 0.5, 0.5),  # of these weights
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        crop_pct=1.0,
        use_prefetcher=False,
        num_workers=0,
        device=torch.device("cpu"),
        **training,
    )


def timm_run(folder: Path, plan: dict[str, Any], options: dict[str, str], seed: int, *, test: bool) -> dict[str, Any]:
    """timm's data set, loader, augmentation, optimizer, schedule and loss, in train.py's order and with its defaults.

    `plan`: the record of the recipe `photos` on that set, whose image size, batch and CPU seconds it gets.
    """
    size = int(options.get("size") or plan["image_size"])
    batch = int(options.get("batch") or plan["batch_size"])
    lr = float(options.get("lr", LR)) * (batch / 128) ** 0.5
    loader = _loader(folder, "train", size, batch, is_training=True, hflip=0.5, color_jitter=0.4)
    classes = len(loader.dataset.reader.class_to_idx)
    loss = import_module("timm.loss").LabelSmoothingCrossEntropy(0.1)

    def fit(epochs: int, most: int) -> tuple[torch.nn.Module, int]:
        model = _network(classes, seed).train()
        optimizer = import_module("timm.optim").create_optimizer_v2(model, opt="adamw", lr=lr, weight_decay=0.05)
        scheduler, _ = import_module("timm.scheduler").create_scheduler_v2(
            optimizer,
            sched="cosine",
            num_epochs=epochs,
            warmup_epochs=round(WARMUP * epochs),
            warmup_lr=1e-5,
            min_lr=0.0,
            step_on_epochs=False,
            updates_per_epoch=len(loader),
        )
        steps = 0
        scheduler.step_update(num_updates=0)
        for _ in range(epochs):
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss(model(inputs), targets).backward()
                optimizer.step()
                steps += 1
                scheduler.step_update(num_updates=steps)
                if steps == most:
                    return model, steps
        return model, steps

    budget = float(options.get("seconds") or plan["cpu_seconds"])
    fit(10, 1)  # warms up
    began = time.process_time()
    _, timed = fit(10, TIMED)
    step_seconds = (time.process_time() - began) / timed
    epochs = max(1, round(budget / (step_seconds * len(loader))))
    began = time.process_time()
    model, steps = fit(epochs, epochs * len(loader))
    seconds = time.process_time() - began
    held = {part: _top1(model, _loader(folder, part, size, 64)) for part in ("val", "test")[: 1 + test]}
    made = {"epochs": epochs, "steps": steps, "batch_size": batch, "image_size": size, "lr": lr}
    return {"cpu_seconds": seconds, **made, "val": held["val"], "test": held.get("test")}


def _top1(model: torch.nn.Module, loader: Any) -> float:
    model.eval()
    with torch.inference_mode():
        return float(np.mean(np.concatenate([(model(x).argmax(1) == y).numpy() for x, y in loader])))


def probe(folder: Path, options: dict[str, str], seed: int, *, test: bool) -> dict[str, Any]:
    """Logistic regression on the features of frozen Lite0 at 224 px; its strength of decay is chosen on validation."""
    from sklearn.linear_model import LogisticRegression

    began = time.process_time()
    model, size = _network(0, seed).eval(), int(options.get("size", 224))
    features: dict[str, list[Any]] = {}
    for part in ("train", "val", "test")[: 2 + test]:
        with torch.inference_mode():
            pairs = [(model(x).numpy(), y.numpy()) for x, y in _loader(folder, part, size, 64)]
        features[part] = [np.concatenate(each) for each in zip(*pairs, strict=True)]
    fitted = {
        decay: LogisticRegression(C=decay, max_iter=1000, random_state=seed).fit(*features["train"]) for decay in DECAYS
    }
    best = max(fitted, key=lambda decay: fitted[decay].score(*features["val"]))
    scores = {part: float(fitted[best].score(*each)) for part, each in features.items()}
    seconds = time.process_time() - began
    return {"cpu_seconds": seconds, "image_size": size, "C": best, "test": None, **scores}
