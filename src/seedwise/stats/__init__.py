"""Statistics of runs over seeds: numpy and scipy only."""

from seedwise.stats.summary import Summary, summarize

__all__ = ["Summary", "summarize"]
