"""Architectures and weights: which network a recipe names, where its weights come from, and what they expect."""
