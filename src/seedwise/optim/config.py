"""Options of the optimizer, its schedule and the loss."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from seedwise.config.section import Section


class AdamW(Section):
    """AdamW, decoupled weight decay (arXiv 1711.05101)."""

    name: Literal["adamw"] = "adamw"
    """The algorithm."""
    betas: tuple[float, float] = Field((0.9, 0.999), strict=False)
    """Decay rates of the two moment estimates, each in [0, 1)."""
    eps: float = Field(1e-8, gt=0)
    """Added to the denominator, > 0."""

    @field_validator("betas")
    @classmethod
    def _in_unit_interval(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"each must be in [0, 1), is {list(betas)}")
        return betas


class Muon(AdamW):
    """Muon: matrices step along the orthogonalized momentum of their gradients, all else by AdamW with `betas`, `eps`.

    Matrices are the weights of linear layers and of convolutions, flattened to [out, in * height * width]; those of
    depthwise convolutions are vectors and, like biases, scales, embeddings and the classifier, go by AdamW. The
    momentum, in Nesterov's form, is brought near the closest orthogonal matrix by five Newton-Schulz iterations in
    float32, so that no direction of a matrix learns much faster than another. Weight decay is AdamW's. Helps: networks
    that learn from random weights, which get as far in fewer steps. Hurts: the time of a step on a CPU, for the
    iterations cost as much for small images and batches as for large ones; weights pretrained by another algorithm, as
    Moonshot found. Source: Jordan et al. 2024 (kellerjordan.github.io/posts/muon); rates as AdamW's: Liu et al. 2025
    (arXiv 2502.16982); torch's `Muon`.
    """

    name: Literal["muon"] = "muon"  # type: ignore[assignment]
    """The algorithm."""
    matrix_lr: float | None = Field(None, gt=0)
    """Peak learning rate of the matrices, > 0; it follows the same schedule, and layer_decay. null: `optim.lr`."""
    matrix_momentum: float = Field(0.95, ge=0, lt=1)
    """Momentum of the matrices, in [0, 1)."""
    adjust_lr: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    """How the rate follows the shape of a matrix. `match_rms_adamw`: times 0.2 * sqrt(max(rows, columns)), steps as
    long as AdamW's, so that its rates fit. `original`: times sqrt(max(1, rows / columns)); its usual matrix_lr is
    0.02."""


class SGD(Section):
    """Stochastic gradient descent with momentum; its weight decay is added to the gradient, as PyTorch does."""

    name: Literal["sgd"] = "sgd"
    """The algorithm."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum, in [0, 1)."""
    nesterov: bool = True
    """Nesterov's form of momentum; needs momentum > 0."""

    @field_validator("nesterov")
    @classmethod
    def _needs_momentum(cls, nesterov: bool, info: Any) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("needs momentum > 0; set it to false")
        return nesterov


class Constant(Section):
    """The peak rate from the first step to the last, after a linear warm-up."""

    name: Literal["constant"] = "constant"
    """The schedule."""
    warmup_epochs: float = Field(0.0, ge=0)
    """Epochs (fractions allowed) over which the rate rises linearly from near 0 to its peak."""


class Step(Section):
    """Multiplies the rate by gamma every step_epochs, as torch's StepLR stepped once an epoch."""

    name: Literal["step"] = "step"
    """The schedule."""
    step_epochs: int = Field(10, ge=1)
    """Epochs between two drops."""
    gamma: float = Field(0.9, gt=0, le=1)
    """Factor of each drop, in (0, 1]."""
    warmup_epochs: float = Field(0.0, ge=0)
    """Epochs (fractions allowed) over which the rate rises linearly from near 0 to its peak."""


class Cosine(Section):
    """Half a cosine from the peak to final_fraction of it (arXiv 1608.03983, without restarts)."""

    name: Literal["cosine"] = "cosine"
    """The schedule."""
    warmup_epochs: float = Field(0.0, ge=0)
    """Epochs (fractions allowed) over which the rate rises linearly from near 0 to its peak."""
    final_fraction: float = Field(0.0, ge=0, le=1)
    """The last rate as a fraction of the peak, in [0, 1]."""


class OneCycle(Section):
    """One cycle up and down in cosine shape (arXiv 1708.07120), as torch's OneCycleLR with momentum left constant."""

    name: Literal["one_cycle"] = "one_cycle"
    """The schedule."""
    warmup_fraction: float = Field(0.15, gt=0, lt=1)
    """Fraction of all steps that the rise takes, in (0, 1)."""
    initial_divisor: float = Field(25.0, ge=1)
    """The first rate is peak / initial_divisor."""
    final_divisor: float = Field(1e4, ge=1)
    """The last rate is peak / initial_divisor / final_divisor."""


def _by_name(value: Any) -> Any:
    """Accept `schedule: cosine` for `schedule: {name: cosine}`."""
    return {"name": value} if isinstance(value, str) else value


Algorithm = Annotated[AdamW | SGD | Muon, Field(discriminator="name"), BeforeValidator(_by_name)]
Schedule = Annotated[Constant | Step | Cosine | OneCycle, Field(discriminator="name"), BeforeValidator(_by_name)]


class EmaConfig(Section):
    """An exponential moving average of the weights, scored and saved beside the raw ones.

    After each optimizer step average = d * average + (1 - d) * weights, begun from the initial weights. BatchNorm's
    running statistics (all floating-point buffers) are averaged with the same d, integer buffers copied. Training and
    the choice of the epoch never look at it: with it or without, the raw weights are the same bits. `test` is then read
    once for each of the two sets of weights.
    Helps: where the last steps are noisy (constant or high final rates, small batches, few images), often by more than
    a longer run. Hurts: with a decay too long for the run it lags behind; a cosine to 0 leaves it little to smooth. It
    costs a copy of the weights, a pass over them each step and a second evaluation each epoch.
    Source: Polyak and Juditsky 1992; TensorFlow's ExponentialMovingAverage (EfficientNet, arXiv 1905.11946); computed
    as timm's ModelEmaV3.
    """

    decay: float = Field(0.999, gt=0, lt=1)
    """d, in (0, 1): the average looks back over some 1 / (1 - d) optimizer steps."""
    warmup: bool = True
    """In step t (from 1) d is min(decay, (1 + t) / (10 + t)): what the initial weights left in it fades early."""


class SwaConfig(Section):
    """Stochastic weight averaging: the mean of the weights along the last part of training, scored beside the raw ones.

    The weights at the ends of epochs, or every some steps, count alike. BatchNorm's statistics belong to none of them:
    after the last step they are estimated anew for the mean, on all training images with the augmentation, size and
    dropout of the last epoch; only then is the mean scored, and saved as `optim.ema`'s is. Without `lr` the raw weights
    are the same bits with it or without, and the choice of the epoch never looks at it. Helps: long trainings whose
    last part goes on at a rate that keeps moving; wider minima, which new images are kinder to. Hurts: after a schedule
    that ends near 0, which leaves nothing to average; with an `lr` so high that the weights leave their basin. The
    estimate costs a forward pass of all training images. Source: Izmailov et al. 2018 (arXiv 1803.05407); computed as
    torch's `AveragedModel` and `update_bn`.
    """

    start: float = Field(0.75, ge=0, lt=1)
    """Share of all optimizer steps, in [0, 1), after which averaging begins."""
    every: Literal["epoch"] | Annotated[int, Field(ge=1)] = "epoch"
    """What is averaged: the weights at the `epoch`s' ends, or those every so many optimizer steps, counted back from
    the last. One set of weights alone is no average, and is reported as inert."""
    lr: float | None = Field(None, gt=0)
    """Constant learning rate from `start` on, in place of the schedule, > 0; rates of layers and of the head keep their
    ratio to it. null: the schedule goes on."""


class SamConfig(Section):
    """Sharpness-aware minimization: the gradient is taken where the loss is worst nearby, not where the weights are.

    Each step computes the gradient g, moves the weights by rho * g / ||g||, computes the gradient there on the same
    images with the same dropout, moves back, and steps by the second gradient. Running statistics of BatchNorm follow
    the first pass only. Helps: generalization of long trainings, most where the training loss gets near zero. Hurts:
    the time, for a step costs two. Source: Foret et al. 2021
    (arXiv 2010.01412).
    """

    rho: float = Field(0.05, gt=0, le=10)
    """Length of the move, in the L2 norm over all trained weights, > 0."""


class OptimConfig(Section):
    """Optimizer, learning rate, weight decay and their schedule."""

    algorithm: Algorithm = AdamW()
    """`adamw`, `sgd` or `muon`, by name or with its own options."""
    lr: float = Field(4e-4, gt=0)
    """Peak learning rate, > 0."""
    head_lr: float | None = Field(None, gt=0)
    """Peak learning rate of the classifier layer, > 0, whether it is new or came with the weights; it follows the same
    schedule, and layer_decay doesn't reach it. null: `lr`. Helps: a new head on pretrained layers learns at 5 to 20
    times their rate. Hurts: too high, and its first steps send noise down into them. Source: ULMFiT's discriminative
    rates (arXiv 1801.06146); fastai."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """The rate of a layer is lr * layer_decay^(its distance from the last layer), in (0, 1]; 1: all alike. A layer is a
    block as timm's `group_matcher` groups them; a network of your own needs one. Helps: keeps what pretraining taught
    the first layers, most with few images; 0.65 to 0.9 is usual. Hurts: from random weights, where the images are
    unlike those of pretraining, and in short trainings of deep networks: 0.8 leaves Lite0's first layer 2% of the
    rate. Source: ELECTRA (arXiv 2003.10555) and BEiT (arXiv 2106.08254), as timm's param_groups_layer_decay."""
    weight_decay: float = Field(1e-3, ge=0)
    """Weight decay, >= 0, of every parameter unless decay_norms_and_biases is false."""
    decay_norms_and_biases: bool = True
    """`false`: weight decay leaves out one-dimensional parameters (scales and shifts of normalization), biases, and
    what a network's own `no_weight_decay` names. Helps: with a weight decay of 0.01 or more. Hurts: hardly ever; at
    1e-3 and below it changes next to nothing. Source: arXiv 1812.01187, section 3.1, as timm's
    param_groups_weight_decay."""
    schedule: Schedule = Cosine()
    """`constant`, `step`, `cosine` or `one_cycle`, by name or with its own options."""
    clip_norm: float | None = Field(None, gt=0)
    """Gradients are scaled down to this global L2 norm when they exceed it; null: never."""
    sam: SamConfig | None = None
    """Sharpness-aware minimization; `{}` turns it on with its defaults."""
    ema: EmaConfig | None = None
    """An average of the weights, scored and saved beside them; `{}` turns it on with its defaults."""
    swa: SwaConfig | None = None
    """The mean of the weights along the last part of training, in ema's place; `{}` turns it on with its defaults."""


class DistillConfig(Section):
    """Knowledge distillation: the network learns what trained ones say of each augmented image, beside the label.

    The loss is (1 - weight) * loss + weight * T^2 * KL(teacher at T || student at T), with softmax(logits / T) at the
    temperature T. The teacher sees the very image that the student is trained on, mixed and cropped, resampled to the
    teacher's own size. Several runs teach by the mean of their probabilities.
    Helps: a network that must be small or single gets close to an ensemble's accuracy, most in long trainings with
    strong augmentation. Hurts: the time, for every step costs a forward pass of each teacher. Source: Hinton et al.
    2015 (arXiv 1503.02531); same views for both: Beyer et al. 2022 (arXiv 2106.05237).
    """

    teacher: str = Field(min_length=1)
    """Folder of a finished run, of an ensemble, or of a study, whose base's seeds then teach together."""
    temperature: float = Field(2.0, gt=0, le=100)
    """T, > 0: above 1 it softens what the teacher says, so that unlikely classes count for more."""
    weight: float = Field(0.9, gt=0, le=1)
    """The teacher's part of the loss, in (0, 1]."""


class LossConfig(Section):
    """Cross-entropy against target probabilities, or a binary one a class."""

    kind: Literal["cross_entropy", "bce"] = "cross_entropy"
    """The loss of the labels: `cross_entropy` over all classes, or `bce`, the mean over classes of a binary
    cross-entropy in which each class says for itself whether the image shows it. Helps: where images are mixed (an
    image of two classes may be sure of both), most in long trainings with strong augmentation. Hurts: short schedules,
    whose gradients it makes small at first: it wants a higher rate. Source: Wightman et al. 2021 (arXiv 2110.00476);
    timm's BinaryCrossEntropy."""
    smoothing: float = Field(0.0, ge=0, lt=1)
    """Label smoothing: this share of each target is spread evenly over all classes, in [0, 1). Helps: top-1 and
    calibration of models that grow too sure; labels with mistakes. Hurts: where the logits matter (distillation);
    beside strong mixing, which softens targets already. Source: Szegedy et al. 2015 (arXiv 1512.00567, section 7);
    torch's `cross_entropy`."""
    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    """Weights of the classes in the loss. null: all alike; `balanced`: n / (k * count) from the training labels; or one
    weight >= 0 per class. Helps: rare classes, where each class counts alike in use (balanced accuracy). Hurts: plain
    top-1 on test images as unbalanced as the training images; with very rare classes the gradient gets noisy.
    `balanced` does nothing where every class has as many images. Source: the formula is scikit-learn's
    `class_weight="balanced"`."""

    distill: DistillConfig | None = None
    """Distillation from trained networks: `--teacher DIR`, or `{teacher: DIR}` with its options."""

    @field_validator("class_weights")
    @classmethod
    def _not_negative(cls, weights: Any) -> Any:
        if isinstance(weights, tuple) and (any(w < 0 for w in weights) or sum(weights) == 0):
            raise ValueError("weights must be >= 0 and not all 0")
        return weights
