"""What runs have used and emitted so far, as SQL sums it and the core's rules complete it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime
from threading import Lock
from typing import Any

from sqlalchemy import Row, case, func, select
from sqlalchemy.orm import Session

from greenrun.core.carbon.intensity import SeriesId
from greenrun.core.energy.gpu_parts import board_of
from greenrun.core.energy.ledger import (
    PricedSum,
    Total,
    average_g,
    busy_ratio,
    complete,
    marginal_g,
    sum_of_known,
)
from greenrun.core.energy.model import Component, Quality, worst
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.occupancy import expected_seconds
from greenrun.store.columns import among, seconds_between
from greenrun.store.database import Database
from greenrun.store.grid import series_ids
from greenrun.store.ledger.slice_prices import BOOKED, MARGINAL, SETTLED
from greenrun.store.records import run_of
from greenrun.store.tables import MARKS, RUNS, SLICES, RunRecord

LENGTH_S = seconds_between(SLICES.c.started_at, SLICES.c.ended_at)
DEVICE_S = LENGTH_S * SLICES.c.share
TOLD_S = case((SLICES.c.busy_s.is_not(None), DEVICE_S), else_=0.0)  # ... for which it is told how busy it was


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What the slices of one run, device and grade add up to, as `sums` tells it; nothing of it is settled."""

    run_id: int
    device: str
    component: str
    quality: str
    ended_at: datetime
    seconds: float
    slices: int
    energy_j: float | None
    busy_s: float
    told_s: float
    priced: int
    emissions_g: float | None
    booked_series: int | None
    settled: int = 0
    settled_g: float | None = None
    settled_series: int | None = None
    marginal: int = 0
    marginal_g: float | None = None

    def plus(self, row: Row[Any]) -> "_Part":
        """Return what it is with the slices booked since."""
        return replace(
            self,
            ended_at=max(self.ended_at, row.ended_at),
            seconds=self.seconds + row.seconds,
            slices=self.slices + row.slices,
            busy_s=self.busy_s + row.busy_s,
            told_s=self.told_s + row.told_s,
            priced=self.priced + row.priced,
            energy_j=_sum(self.energy_j, row.energy_j),
            emissions_g=_sum(self.emissions_g, row.emissions_g),
        )


_READ = tuple(field.name for field in fields(_Part) if not field.name.startswith(("settled", "marginal")))
Key = tuple[
    str, str, int | None
]  # what a part of a run's is told apart by: device, grade, series that it was booked by


class RunningTotals:
    """Tells what runs have used so far to those who ask for the same ones again and again, reading what is new.

    It rests on two things: slices are only added, with ids that grow, and what they were booked with never changes.
    Whoever merges slices has it begin `afresh`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._parts: dict[int, dict[Key, _Part]] = {}
        self._through = 0  # the last slice that is in all the parts
        self._adding = Lock()

    @contextmanager
    def afresh(self) -> Iterator[None]:
        """Let nobody ask meanwhile, and forget what runs had used before."""
        with self._adding:
            yield
            self._parts, self._through = {}, 0

    def of(self, run_ids: Sequence[int]) -> Mapping[int, Total]:
        """Return what `run_totals` does but for what is settled; runs that are not asked for again are forgotten."""
        with self._adding, self._database.read() as session:
            parts = {run_id: dict(self._parts.get(run_id, {})) for run_id in run_ids}
            known, new = ([each for each in run_ids if (each in self._parts) is is_known] for is_known in (True, False))
            newest = session.scalar(select(func.max(SLICES.c.id))) or 0
            for ids, after in ((known, self._through), (new, 0)):
                for row in session.execute(sums(ids, after)) if ids and after < newest else ():
                    _take(parts[row.run_id], row)
            self._parts, self._through = parts, newest
            return summed(session, run_ids, [part for own in parts.values() for part in own.values()])


def totals_of(session: Session, run_ids: Sequence[int]) -> dict[int, Total]:
    """Return what `BookRepository.run_totals` does, as this session sees it."""
    return summed(session, run_ids, session.execute(sums(run_ids)))


def total_of(session: Session, run: Run) -> Total:
    """Return the same of one run, which may have ended otherwise than is stored yet."""
    rows = session.execute(sums([run.id])).all()
    return _total(run, rows, _marks(session), series_ids(session)) if rows else Total()


def summed(session: Session, run_ids: Sequence[int], rows: Iterable[Any]) -> dict[int, Total]:
    """Return the total of each run, made of such rows as `sums` asks for."""
    parts: dict[int, list[Any]] = {run_id: [] for run_id in run_ids}
    for row in rows:
        parts[row.run_id].append(row)
    records = session.scalars(select(RunRecord).where(among(RUNS.c.id, run_ids)))
    runs, marks, series = {record.id: run_of(record) for record in records}, _marks(session), series_ids(session)
    return {run_id: _total(runs[run_id], own, marks, series) if own else Total() for run_id, own in parts.items()}


def _marks(session: Session) -> Mapping[str, datetime]:
    """Return up to when each device's energy is booked."""
    return {row.device: row.at for row in session.execute(select(MARKS.c.device, MARKS.c.at))}


def sums(run_ids: Sequence[int], after: int = 0) -> Any:
    """Return the query for one row per run, device, grade and series: sums, and how many slices have each price.

    Slices up to the one with the id `after` are left out.
    """
    return (
        select(
            SLICES.c.run_id,
            SLICES.c.device,
            SLICES.c.component,
            SLICES.c.quality,
            func.max(SLICES.c.ended_at).label("ended_at"),
            func.sum(DEVICE_S).label("seconds"),
            func.count().label("slices"),
            func.sum(SLICES.c.energy_j).label("energy_j"),
            func.total(SLICES.c.busy_s).label("busy_s"),
            func.sum(TOLD_S).label("told_s"),
            func.count(BOOKED.emissions_g).label("priced"),
            func.sum(BOOKED.emissions_g).label("emissions_g"),
            BOOKED.series_id.label("booked_series"),
            func.count(SETTLED.emissions_g).label("settled"),
            func.sum(SETTLED.emissions_g).label("settled_g"),
            SETTLED.series_id.label("settled_series"),
            func.count(MARGINAL.emissions_g).label("marginal"),
            func.sum(MARGINAL.emissions_g).label("marginal_g"),
        )
        .where(among(SLICES.c.run_id, run_ids), SLICES.c.id > after)
        .group_by(
            SLICES.c.run_id,
            SLICES.c.device,
            SLICES.c.component,
            SLICES.c.quality,
            BOOKED.series_id,
            SETTLED.series_id,
        )
    )


def _total(run: Run, parts: Sequence[Any], marks: Mapping[str, datetime], series: Mapping[int, SeriesId]) -> Total:
    """Sum a run's parts as `greenrun.core.energy.ledger.total` sums its entries."""
    booked_s: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        booked_s[part.device] += part.seconds
    on_gpus = [part for part in parts if part.component == Component.GPU]
    told_s, gpu_s = sum(part.told_s for part in on_gpus), sum(part.seconds for part in on_gpus)
    utilization, coverage = busy_ratio(sum(part.busy_s for part in on_gpus), told_s, gpu_s)
    booked = Total(
        energy_j=sum_of_known(part.energy_j for part in parts),
        gpu_energy_j=sum_of_known(part.energy_j for part in on_gpus),
        utilization=utilization,
        utilization_coverage=coverage,
        quality=worst(Quality(part.quality) for part in parts),
        emissions_g=average_g(_booked(part, series) for part in parts),
        settled_g=average_g(_settled(part, series) for part in parts),
        location_g=average_g(_best(part, series) for part in parts),
        marginal_g=_marginal_g(parts, series),
    )
    boards = set(map(board_of, run.devices))
    until = max((part.ended_at for part in parts if part.device in boards), default=None)
    shared = [part for part in parts if part.component != Component.GPU]
    shared_until = {part.device: max(part.ended_at, marks.get(part.device, part.ended_at)) for part in shared}
    return complete(booked, booked_s, expected_seconds(run, until, shared_until))


def _booked(part: Any, series: Mapping[int, SeriesId]) -> PricedSum:
    return PricedSum(part.slices, part.priced, part.emissions_g, series.get(part.booked_series or 0))


def _settled(part: Any, series: Mapping[int, SeriesId]) -> PricedSum:
    return PricedSum(part.slices, part.settled, part.settled_g, series.get(part.settled_series or 0))


def _best(part: Any, series: Mapping[int, SeriesId]) -> PricedSum:
    """Return the settled price where there is one, else the booked one; all slices of a part have the same."""
    return _settled(part, series) if part.settled_series is not None else _booked(part, series)


def _marginal_g(parts: Sequence[Any], series: Mapping[int, SeriesId]) -> float | None:
    """Return what the source beside the average tells; where there is none, what tells in the average's place."""
    if any(part.marginal for part in parts):
        is_whole = all(part.marginal == part.slices for part in parts)
        return sum(part.marginal_g for part in parts if part.marginal_g is not None) if is_whole else None
    return marginal_g(_best(part, series) for part in parts)


def _take(parts: dict[Key, _Part], row: Row[Any]) -> None:
    key = (row.device, row.quality, row.booked_series)
    known = parts.get(key)
    parts[key] = _Part(**{name: getattr(row, name) for name in _READ}) if known is None else known.plus(row)


def _sum(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else one + other
