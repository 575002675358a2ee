"""The command line: a thin layer over the client, which starts fast."""

from greenrun.cli.app import main

__all__ = ["main"]
