"""The power limits that were set in a simulation, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from greenrun.core.energy.power_limit import LimitEnd, LimitPeriod


class PowerLimitMemory:
    """`greenrun.engine.ports.PowerLimitStore` in memory, without events."""

    def __init__(self) -> None:
        self._periods: dict[int, LimitPeriod] = {}
        self._open: dict[str, int] = {}  # by device

    def in_force(self) -> Sequence[LimitPeriod]:
        """Return the limits that are set, or about to be, by id."""
        return [self._periods[period_id] for period_id in sorted(self._open.values())]

    def of_runs(self, run_ids: Sequence[int]) -> Mapping[int, Sequence[LimitPeriod]]:
        """Return the limits that were set for each of these runs, in order; a run that had none is absent."""
        found: dict[int, list[LimitPeriod]] = {}
        wanted = set(run_ids)
        for period in self._periods.values():
            if period.run_id in wanted:
                found.setdefault(period.run_id, []).append(period)
        return found

    def begin(self, periods: Sequence[LimitPeriod]) -> Sequence[LimitPeriod]:
        """Keep limits that are about to be set, and return them as kept; leave out devices that have one already."""
        new = []
        for period in periods:
            if period.device not in self._open:
                kept = replace(period, id=len(self._periods) + 1)
                self._periods[kept.id] = kept
                self._open[kept.device] = kept.id
                new.append(kept)
        return new

    def keep(self, kept_w: Mapping[int, float], *, now: datetime) -> None:
        """Note that these limits, by their ids, were read back, as so many watts."""
        for period_id, limit_w in kept_w.items():
            period = self._periods[period_id]
            if period.until is None and period.kept_at is None:
                self._periods[period_id] = replace(period, set_w=limit_w, kept_at=now)

    def end(
        self, period_id: int, end: LimitEnd, *, now: datetime, limit_w: float | None, work: float | None, why: str = ""
    ) -> bool:
        """Note how a limit ended; False if it had ended already."""
        period = self._periods[period_id]
        if period.until is not None:
            return False
        self._periods[period_id] = replace(period, until=max(now, period.since), end=end, work_after=work)
        del self._open[period.device]
        return True
