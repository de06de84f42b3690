"""Whole blocks as one step of autograd."""
