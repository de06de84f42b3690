"""Ensembles: several runs that vote. Votes, selection and records work on stored predictions, without torch."""
