"""The command line: parse, call, print."""

from seedwise.cli.app import main

__all__ = ["main"]
