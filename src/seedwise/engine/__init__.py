"""Training and evaluation: an explicit loop over protocols; imports no technique."""
