"""The interface to a GPU vendor's driver, implemented by `nvidia.py` and `amd.py`."""

from typing import Protocol

from greenrun.core.energy.model import Device, Telemetry


class Gpu(Protocol):
    """A board: `limit_w` is what it never draws more than, `counts` whether it has an energy counter."""

    @property
    def device(self) -> Device:
        """What is told of it."""

    @property
    def limit_w(self) -> float:
        """What it never draws more than, in W."""

    @property
    def counts(self) -> bool:
        """Whether it has an energy counter."""

    def counter_j(self) -> float | None:
        """Return its energy counter in J; None when it has none, or cannot be asked now."""

    def power_w(self) -> float | None:
        """Return what it draws in W; None when it cannot be asked now."""

    def telemetry(self, power_w: float | None) -> Telemetry:
        """Return what it says of itself now, beside the power that was just read; None for what it does not say.

        Asked once a second. Which processes run is never asked: that may keep a driver busy for milliseconds.
        """


class Driver(Protocol):
    """A vendor's library. `KIND` names the meter, `MAKER` the vendor, `SMI` the command that people ask it with."""

    @property
    def KIND(self) -> str:  # noqa: N802 - a module's constant
        """The meter's name."""

    @property
    def MAKER(self) -> str:  # noqa: N802
        """Who made the boards."""

    @property
    def SMI(self) -> str:  # noqa: N802
        """The vendor's own tool."""

    def open_driver(self) -> str:
        """Open the library and return the driver's version; raise MeterError when it cannot be asked."""

    def board_count(self) -> int:
        """Return how many boards the driver knows, those that cannot be read included; raise MeterError."""

    def board_at(self, index: int) -> Gpu | None:
        """Return the board at an index; None when it is lost."""
