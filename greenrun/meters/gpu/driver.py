"""The interface to a GPU vendor's driver, implemented by `nvidia.py` and `amd.py`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from greenrun.core.energy.model import Device, GpuProcess, GpuUse, Telemetry
from greenrun.core.energy.power_limit import LimitFaultKind, LimitReading
from greenrun.core.errors import MeterError


class PowerLimitError(MeterError):
    """A GPU's power limit cannot be read or set; `kind` says for what reason."""

    def __init__(self, kind: LimitFaultKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Gpu(Protocol):
    """A board; `limit_w` is its maximum power, `counts` whether it has an energy counter."""

    @property
    def device(self) -> Device:
        """Its description."""

    @property
    def limit_w(self) -> float:
        """Its maximum power in W."""

    @property
    def counts(self) -> bool:
        """Whether it has an energy counter."""

    def counter_j(self) -> float | None:
        """Return its energy counter in J; None if it has none, or cannot be read now."""

    def power_w(self) -> float | None:
        """Return its power in W; None if it cannot be read now."""

    def telemetry(self, power_w: float | None) -> Telemetry:
        """Return its telemetry, including the power just read; None for values it does not report.

        Called once a second, so it does not ask for running processes: that may keep a driver busy for milliseconds.
        """

    @property
    def parts(self) -> Sequence[Device] | None:
        """Its MIG instances, which are leased apart; None for a board that is leased as a whole."""

    def part_use(self, part: Device, at: datetime) -> GpuUse:
        """Return who uses one of these parts, and whether it is gone."""

    def processes(self) -> tuple[GpuProcess, ...] | None:
        """Return the processes that have it in use for computing; None if the driver does not tell them."""

    @property
    def fault(self) -> str | None:
        """Why it is lost, as the driver last said; None if it is not."""


class Driver(Protocol):
    """A vendor's library. `KIND` names the meter, `MAKER` the vendor, `SMI` its command-line tool."""

    @property
    def KIND(self) -> str:  # noqa: N802 - a module's constant
        """The meter's name."""

    @property
    def MAKER(self) -> str:  # noqa: N802
        """The vendor's name."""

    @property
    def SMI(self) -> str:  # noqa: N802
        """The vendor's command-line tool."""

    def open_driver(self) -> str:
        """Open the library and return the driver's version; raise MeterError if it cannot be used."""

    def board_count(self) -> int:
        """Return how many boards the driver knows, including unreadable ones; raise MeterError."""

    def board_at(self, index: int) -> Gpu | None:
        """Return the board at an index; None if it is lost."""

    def power_limit(self, device: str) -> LimitReading:
        """Return the power limit of an open driver's board, by its id; raise PowerLimitError."""

    def set_power_limit(self, device: str, limit_w: float) -> None:
        """Set the power limit of a board, whatever it was; raise PowerLimitError. Read it back: drivers round."""
