"""Applies a finished run or ensemble to data and files; the verbs as functions."""
