"""Options of the classifier's warm start."""

from pydantic import Field

from seedwise.config.section import Section


class WarmStartConfig(Section):
    """Trains the classifier alone, on cached features, before the first step: linear probing, then fine-tuning.

    The features in front of the classifier are computed once for every training image, as in evaluation (no
    augmentation, running statistics), and the classifier is trained on them with AdamW and the recipe's loss, its rate
    annealed to zero in a cosine. Fine-tuning then starts from it. No draw of the fine-tuning depends on it.
    Helps: a random classifier's first gradients distort pretrained features, the more so on data unlike the test data;
    with frozen stages, and in runs of few epochs, it saves most of an epoch. Hurts: hardly, but little is left of it
    after a long run at a high rate; from random weights it is useless. It costs one evaluation of the training images
    and some seconds.
    Source: Kumar et al. 2022 (arXiv 2202.10054).
    """

    epochs: int = Field(10, ge=1, le=10_000)
    """Passes over the cached features."""
    lr: float = Field(3e-3, gt=0)
    """The classifier's first learning rate, > 0."""
    weight_decay: float = Field(1e-3, ge=0)
    """AdamW's weight decay, >= 0."""
    batch_size: int = Field(256, ge=1)
    """Features per step, equal batches of at most this size."""
