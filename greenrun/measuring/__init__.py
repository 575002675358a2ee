"""Measure the energy of a block of code, a command or a period, without a daemon and without settings."""

from greenrun.measuring.measurement import Measurement, measure
from greenrun.measuring.result import Result

__all__ = ["Measurement", "Result", "measure"]
