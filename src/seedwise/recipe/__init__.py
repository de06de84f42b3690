"""The recipe: all sections and every check across them, built-in recipes, the catalogue of techniques. No torch."""
