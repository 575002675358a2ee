"""The books of a simulation whose budgets are of energy, emissions or money: the ledger of its metered GPUs, in memory.

The engine books and settles into it as it does into the database, so budgets are charged from one ledger.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import fsum

from greenrun.core.budgets.charges import ChargedAccount, ChargedHour
from greenrun.core.carbon.intensity import Signal
from greenrun.core.energy.ledger import Entry, Priced, Stage, UnsettledSlice
from greenrun.core.energy.model import Mark
from greenrun.core.errors import StoreError
from greenrun.simulation.memory import JobMemory, NoBooks


class MemoryBooks(NoBooks):
    """`greenrun.engine.ports.BookStore` in memory; what nobody used is in none of its sums."""

    def __init__(self, jobs: JobMemory) -> None:
        super().__init__(jobs)
        self._marks: dict[str, Mark] = {}
        self._entries: dict[int, Entry] = {}
        self._of_hour: defaultdict[datetime, list[int]] = defaultdict(list)
        self._waiting: dict[int, None] = {}

    @property
    def entries(self) -> Sequence[Entry]:
        """The slices of runs, in the order in which they were booked."""
        return list(self._entries.values())

    def marks(self) -> Mapping[str, Mark]:
        """Return how far each device's energy is booked."""
        return self._marks

    def append_slices(
        self,
        entries: Sequence[Entry],
        marks: Sequence[Mark],
        *,
        now: datetime,
        waits_for: Collection[Stage] = (Stage.SETTLED,),
    ) -> None:
        """Book slices with the price known now and move the marks; StoreError where they do not follow one another."""
        booked = {device: mark.at for device, mark in self._marks.items()}
        for entry in entries:
            piece = entry.slice
            if booked.get(piece.device, piece.start) != piece.start:
                raise StoreError(f"{piece.device} is booked up to {booked[piece.device].isoformat()}")
            booked[piece.device] = piece.end
        for entry in entries:
            if entry.slice.run_id is not None:
                number = len(self._entries) + 1
                self._entries[number] = replace(entry, id=number)
                self._of_hour[_hour(entry.slice.start)].append(number)
                if Stage.SETTLED in waits_for:
                    self._waiting[number] = None
        self._marks = {**self._marks, **{mark.device: mark for mark in marks}}

    def unsettled(
        self, before: datetime, *, after: datetime | None = None, limit: int = 5000, stage: Stage = Stage.SETTLED
    ) -> Sequence[UnsettledSlice]:
        """Return the slices that ended after `after` and by `before` and are not settled, oldest first."""
        waiting = self._waiting if stage is Stage.SETTLED else ()
        found = [
            UnsettledSlice(number, entry.slice, entry.pue)
            for number in waiting
            if (entry := self._entries[number]).slice.end <= before and (after is None or entry.slice.end > after)
        ]
        return sorted(found, key=lambda row: (row.slice.end, row.id))[:limit]

    def settle(self, prices: Mapping[int, Priced], *, now: datetime, stage: Stage = Stage.SETTLED) -> int:
        """Book the settled price of each slice once; return how many were new."""
        new = [number for number in prices if number in self._waiting]
        for number in new:
            self._entries[number] = replace(self._entries[number], settled=prices[number])
            del self._waiting[number]
        return len(new)

    def charged_hours(self, start: datetime, end: datetime) -> Sequence[ChargedHour]:
        """Return what the slices of each account that began in `[start, end)` add up to by the hour."""
        found: defaultdict[tuple[datetime, ChargedAccount, float], list[Entry]] = defaultdict(list)
        for hour in [hour for hour in self._of_hour if _hour(start) <= hour < end]:
            for entry in map(self._entries.__getitem__, self._of_hour[hour]):
                if start <= entry.slice.start < end:
                    found[hour, self._account(entry), entry.pue].append(entry)
        return [_charged(hour, start, account, pue, rows) for (hour, account, pue), rows in found.items()]

    def _account(self, entry: Entry) -> ChargedAccount:
        run = self._jobs.find_run(entry.slice.run_id or 0)
        job = self._jobs.find_job(run.job_id) if run else None
        assert job is not None, "what is booked is of a run"
        return ChargedAccount(job.user, job.spec.project)


def _charged(
    hour: datetime, start: datetime, account: ChargedAccount, pue: float, entries: Iterable[Entry]
) -> ChargedHour:
    rows = [(entry.slice, _average_g(entry)) for entry in entries]
    known = [(piece.energy_j, grams) for piece, grams in rows if piece.energy_j is not None]
    unknown = [piece.end - piece.start for piece, _ in rows if piece.energy_j is None]
    return ChargedHour(
        hour=hour,
        start=max(hour, start),
        account=account,
        pue=pue,
        energy_j=fsum(energy_j for energy_j, _ in known),
        grams=fsum(grams for _, grams in known if grams is not None),
        unpriced_j=fsum(energy_j for energy_j, grams in known if grams is None),
        unknown_gpu_s=fsum(length.total_seconds() for length in unknown),
    )


def _average_g(entry: Entry) -> float | None:
    priced = entry.settled or entry.booked
    is_average = priced.series is not None and priced.series.signal is Signal.AVERAGE
    return priced.emissions_g if is_average else None


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
