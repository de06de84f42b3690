"""One run: recipe, data and seed become a run folder."""
