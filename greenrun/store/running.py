"""The totals of runs that go on, added up as slices are booked: a scrape must not read days of slices every time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from threading import Lock
from typing import Any

from sqlalchemy import Row, func, select

from greenrun.core.energy.ledger import Total
from greenrun.store.database import Database
from greenrun.store.tables import SLICES
from greenrun.store.totals import summed, sums


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What the slices of one run, device and grade add up to, as `books.sums` tells it; nothing of it is settled."""

    run_id: int
    device: str
    component: str
    quality: str
    ended_at: datetime
    days: float
    slices: int
    energy_j: float | None
    busy_s: float
    told_days: float
    priced: int
    emissions_g: float | None
    settled: int = 0
    settled_g: float | None = None

    def plus(self, row: Row[Any]) -> "_Part":
        """Return what it is with the slices booked since."""
        return replace(
            self,
            ended_at=max(self.ended_at, row.ended_at),
            days=self.days + row.days,
            slices=self.slices + row.slices,
            busy_s=self.busy_s + row.busy_s,
            told_days=self.told_days + row.told_days,
            priced=self.priced + row.priced,
            energy_j=_sum(self.energy_j, row.energy_j),
            emissions_g=_sum(self.emissions_g, row.emissions_g),
        )


_READ = tuple(field.name for field in fields(_Part) if not field.name.startswith("settled"))


class RunningTotals(Database):
    """The part of the store that tells what runs have used so far to those who ask for the same ones again and again.

    It rests on two things: slices are only added, with ids that grow, and what they were booked with never changes.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._parts: dict[int, dict[tuple[str, str], _Part]] = {}
        self._through = 0  # the last slice that is in all the parts
        self._adding = Lock()

    def running_totals(self, run_ids: Sequence[int]) -> Mapping[int, Total]:
        """Return what `run_totals` does but for what is settled; runs that are not asked for again are forgotten."""
        with self._adding, self._read() as connection:
            parts = {run_id: dict(self._parts.get(run_id, {})) for run_id in run_ids}
            known, new = ([each for each in run_ids if (each in self._parts) is is_known] for is_known in (True, False))
            newest = connection.scalar(select(func.max(SLICES.c.id))) or 0
            for ids, after in ((known, self._through), (new, 0)):
                for row in connection.execute(sums(ids, after)) if ids and after < newest else ():
                    _take(parts[row.run_id], row)
            self._parts, self._through = parts, newest
            return summed(connection, run_ids, [part for own in parts.values() for part in own.values()])


def _take(parts: dict[tuple[str, str], _Part], row: Row[Any]) -> None:
    known = parts.get((row.device, row.quality))
    new = _Part(**{name: getattr(row, name) for name in _READ}) if known is None else known.plus(row)
    parts[row.device, row.quality] = new


def _sum(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else one + other
