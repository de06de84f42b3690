"""Training and evaluation: a visible loop over protocols; no technique is imported here."""
