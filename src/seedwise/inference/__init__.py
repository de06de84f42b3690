"""A finished run or ensemble on data and on files."""
