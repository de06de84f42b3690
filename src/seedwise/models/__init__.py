"""Architectures and weights: the network that a recipe names, and where its weights come from."""
