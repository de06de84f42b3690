"""Statistics of runs over seeds, and verdicts on arms: numpy and scipy only; docs/statistics.md says it in words."""

from seedwise.stats.bootstrap import bootstrap
from seedwise.stats.classes import ClassDifference, compare_classes
from seedwise.stats.compare import Comparison, compare_arms
from seedwise.stats.difference import Difference
from seedwise.stats.equivalence import tost
from seedwise.stats.family import Decision, decide, holm
from seedwise.stats.images import ImageDifference, image_difference
from seedwise.stats.looks import spent
from seedwise.stats.mcnemar import McNemar, mcnemar
from seedwise.stats.paired import over_images, paired, sign_flip
from seedwise.stats.paths import ArmPath, follow
from seedwise.stats.power import seeds_to_decide, worth_deciding
from seedwise.stats.ratio import Ratio, ratio
from seedwise.stats.sequential import Spending
from seedwise.stats.student import DIFFERENCE, SHARE
from seedwise.stats.summary import Summary, summarize
from seedwise.stats.verdict import Scale, Verdict, judge, sentence
from seedwise.stats.welch import welch

__all__ = [
    "DIFFERENCE",
    "SHARE",
    "ArmPath",
    "ClassDifference",
    "Comparison",
    "Decision",
    "Difference",
    "ImageDifference",
    "McNemar",
    "Ratio",
    "Scale",
    "Spending",
    "Summary",
    "Verdict",
    "bootstrap",
    "compare_arms",
    "compare_classes",
    "decide",
    "follow",
    "holm",
    "image_difference",
    "judge",
    "mcnemar",
    "over_images",
    "paired",
    "ratio",
    "seeds_to_decide",
    "sentence",
    "sign_flip",
    "spent",
    "summarize",
    "tost",
    "welch",
    "worth_deciding",
]
