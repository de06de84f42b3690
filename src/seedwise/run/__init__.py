"""One run: turns recipe, data and seed into a run folder."""
