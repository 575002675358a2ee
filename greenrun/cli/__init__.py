"""The command line: thin over the client, and quick to start."""

from greenrun.cli.app import main

__all__ = ["main"]
