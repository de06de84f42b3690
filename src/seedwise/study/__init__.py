"""Studies: the same recipe over several seeds, summarized."""
