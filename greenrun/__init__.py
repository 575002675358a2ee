"""greenrun: run machine-learning training when the electricity is clean."""

__version__ = "0.1.0"
