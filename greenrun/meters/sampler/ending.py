"""How a meter says that its process is of no more use, though a new one may be."""

from greenrun.core.errors import MeterError


class MeterEnded(MeterError):
    """The meter cannot go on in this process: what it opened has to be opened anew."""
