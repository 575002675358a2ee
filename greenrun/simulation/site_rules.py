"""What a site's settings set beside its cap on power: budgets, reserved and excluded GPUs, GPU power limits."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from greenrun.core.budgets.budget import Measure
from greenrun.core.energy.model import Device
from greenrun.core.planning.gpu_timelines.timeline import Timeline
from greenrun.core.planning.site_limits.reserved import WeeklyReservation, reserved_time
from greenrun.engine.budgets.present_charges import BudgetRules
from greenrun.engine.power_limits import PowerLimitSettings

_OF_ENERGY = {Measure.KWH, Measure.KG_CO2E, Measure.MONEY}


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRules:
    """`reserved` are GPUs kept for people every week, `excluded` the indices of those that no job is given.

    `pue` turns the energy of devices into the facility's, of which budgets of emissions and money are.
    """

    budgets: BudgetRules = field(default_factory=BudgetRules)
    reserved: tuple[WeeklyReservation, ...] = ()
    excluded: frozenset[int] = frozenset()
    power_limits: PowerLimitSettings = field(default_factory=PowerLimitSettings)
    pue: float = 1.0

    @property
    def is_metered(self) -> bool:
        """Whether any budget is of energy or of what follows from it, so that a ledger has to be kept."""
        rules = self.budgets.budgets
        return any(_OF_ENERGY & row.most.keys() for row in (*rules.users.values(), *rules.projects.values()))

    @property
    def may_wait_for_ever(self) -> bool:
        """Whether there may be jobs that never get their turn."""
        return bool(self.budgets.budgets or self.reserved)

    def devices(self, count: int) -> tuple[Device, ...]:
        """Return so many simulated GPUs that jobs are given, by their numbers on the host."""
        numbers = sorted({*range(count + len(self.excluded))} - self.excluded)[:count]
        return tuple(
            Device(id=f"GPU-{index}", index=index, model="simulated GPU", source="simulation", emulated=True)
            for index in numbers
        )

    def unreserved(self, count: int, start: datetime, until: datetime) -> Timeline:
        """Return so many GPUs with what is reserved of them taken."""
        line = Timeline(count)
        for row in reserved_time((), self.reserved, self.devices(count), start, until):
            line.reserve(row.start.timestamp(), row.end.timestamp(), 1)
        return line


def unknown_names(rules: Iterable[WeeklyReservation], devices: Sequence[Device]) -> Iterator[str]:
    """Yield what reservations call GPUs that a simulation has none of."""
    known = {name for device in devices for name in (str(device.index), device.id)}
    for row in rules:
        yield from (f"devices.reserved.{row.name} names {name}" for name in row.gpus if name not in known)
