"""Which GPUs are reserved when, for people who work on them: by reservations in the store and those of the settings."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from greenrun.core.energy.device_names import named, names_text, offered
from greenrun.core.energy.model import Device, gpus
from greenrun.core.errors import InputProblem, InvalidInput
from greenrun.core.formatting import instant_text
from greenrun.core.jobs.availability import Absence, gpus_named
from greenrun.core.jobs.job import Job, Origin, Run, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.planning.decisions import Suspend
from greenrun.core.planning.site_limits.reserved import (
    AHEAD,
    Reservation,
    Reserved,
    WeeklyReservation,
    choose_gpus,
    next_reserved,
    now_reserved,
    overlapping,
    reserved_time,
    whose_text,
)
from greenrun.engine.ports import ReservationStore

MOST = 200  # made by command, at a time
JUST_NOW, LONGEST, FURTHEST = timedelta(minutes=1), timedelta(days=31), timedelta(days=366)

_Known = tuple[date, tuple[Device, ...]]


class ReservedGpus:
    """Keeps what is reserved: read from the store once, and worked out once a day and for each change of the GPUs."""

    def __init__(self, store: ReservationStore, weekly: Sequence[WeeklyReservation] = ()) -> None:
        self._store, self.weekly = store, tuple(weekly)
        self._once: Sequence[Reservation] | None = None  # not read yet
        self._known: tuple[_Known, tuple[Reserved, ...]] | None = None

    def reservations(self, now: datetime) -> Sequence[Reservation]:
        """Return those made by command that are not over; raise StoreError when they cannot be read."""
        if self._once is None:
            self._once = tuple(self._store.reservations())
        return [row for row in self._once if row.end > now]

    def ahead(self, there: Sequence[Device], now: datetime) -> tuple[Reserved, ...]:
        """Return the reserved time of these GPUs that is not over, of every week some days ahead."""
        once = self.reservations(now)
        if not once and not self.weekly:
            return ()
        key: _Known = (now.date(), tuple(there))
        if self._known is None or self._known[0] != key:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
            until = midnight + AHEAD + timedelta(days=1)
            self._known = key, reserved_time(once, self.weekly, there, min(midnight, now), until)
        rows = self._known[1]
        return rows if rows and min(row.end for row in rows) > now else tuple(row for row in rows if row.end > now)

    def reserve(self, asked: Reservation, now: datetime, origin: Origin | None = None) -> Reservation:
        """Keep a reservation, and return it with its id; raise StoreError."""
        kept = self._store.reserve(asked, now=now, origin=origin)
        self._once = self._known = None
        return kept

    def listed(self, there: Sequence[Device], now: datetime) -> list[Reservation]:
        """Return what is reserved, in order of start: of every week, by name, as it is now or comes next."""
        weekly = [
            Reservation(devices=tuple(row.devices(there)), start=span[0], end=span[1], user=row.name, reason=row.reason)
            for row in self.weekly
            if (span := row.next(now)) is not None
        ]
        return sorted([*self.reservations(now), *weekly], key=lambda row: (row.start, row.id))

    def reserve_checked(
        self,
        asked: Reservation,
        devices: Sequence[Device],
        *,
        names: Sequence[str],
        count: int | None,
        busy: Mapping[str, datetime],
        now: datetime,
        origin: Origin | None = None,
    ) -> Reservation:
        """Reserve GPUs that are named, or so many of those that jobs leave first; raise InvalidInput, or StoreError.

        `busy` is until when jobs are expected to hold some.
        """
        problems = list(_wrong_span(asked, names, count, now))
        if len(self.reservations(now)) >= MOST:
            told = f"there are {MOST} reservations already; `greenrun reserve end` ends those that nobody needs"
            problems.append(InputProblem(field="gpus", message=told))
        refused(problems)
        there = gpus(devices)
        rows = self._far(there, now, asked.end)
        if names:
            chosen = offered(gpus_named(names, devices), devices)
            taken = overlapping(rows, asked.start, asked.end)
            problems = [
                InputProblem(field="gpus", message=f"GPU {device.name} is {taken[device.id].text_ahead} already")
                for device in chosen
                if device.id in taken
            ]
        else:
            chosen = choose_gpus(count or 0, there, rows, busy, asked.start, asked.end)
            if len(chosen) < (count or 0):
                left = f"{len(chosen)} of {len(there)} GPUs are not reserved then; ask for fewer, or for another time"
                problems = [InputProblem(field="count", message=left)]
        refused(problems)
        return self.reserve(replace(asked, devices=tuple(device.id for device in chosen)), now, origin)

    def not_there(self, there: Sequence[Device]) -> list[str]:
        """Return a sentence for each name of the settings that is no GPU's now: one that comes later is reserved."""
        return [
            f"devices.reserved.{row.name} names {name}, which is no GPU that jobs can be given now; there is "
            f"{names_text(there)}"
            for row in self.weekly
            for name in row.gpus
            if not named(name, there)
        ]

    def _far(self, there: Sequence[Device], now: datetime, until: datetime) -> tuple[Reserved, ...]:
        return reserved_time(self.reservations(now), self.weekly, there, now, until)

    def end(self, number: int, *, user: str, now: datetime, origin: Origin | None = None) -> Reservation | None:
        """End one now, or take back one that has not begun; None if there is no such, or it is over."""
        ended = self._store.end_reservation(number, user=user, now=now, origin=origin)
        self._once = self._known = None
        return ended

    def told(self, there: Sequence[Device], device: Device, now: datetime) -> tuple[tuple[Absence, ...], str | None]:
        """Return that a GPU is reserved now, where it is, and a sentence on when it is next."""
        rows = [row for row in self.ahead(there, now) if row.device == device.id]
        if not rows:
            return (), None
        own, coming = now_reserved(rows, now).get(device.id), next_reserved(rows, now).get(device.id)
        absences = [Absence(name=own.gpu, code=ReasonCode.RESERVED, text=own.text)] if own else []
        return tuple(absences), coming.text_ahead if coming else None


def _wrong_span(asked: Reservation, names: Sequence[str], count: int | None, now: datetime) -> Iterator[InputProblem]:
    if bool(names) == (count is not None):
        yield InputProblem(field="gpus", message="name the GPUs, or say how many, and not both")
    if asked.start < now - JUST_NOW:
        yield InputProblem(field="start", message=f"{instant_text(asked.start)} has passed already")
    if asked.start > now + FURTHEST:
        yield InputProblem(field="start", message="a reservation begins within a year")
    if asked.end <= max(asked.start, now):
        yield InputProblem(field="end", message=f"it would end at {instant_text(asked.end)}, before it begins")
    if asked.end > asked.start + LONGEST:
        yield InputProblem(
            field="end", message="a reservation is 31 days long at most; devices.exclude keeps GPUs from jobs for good"
        )


def refused(problems: Sequence[InputProblem]) -> None:
    """Raise InvalidInput if there are problems, telling all of them."""
    if problems:
        raise InvalidInput("nothing was reserved: " + "; ".join(row.message for row in problems), problems)


def must_make_room(live: Sequence[tuple[Run, Job]], rows: Sequence[Reserved], now: datetime) -> list[Suspend]:
    """Return the interruptible jobs that are to checkpoint now, so that the GPUs which they hold are free in time.

    Each gets the grace that it asked for before a reservation begins. Others go on: greenrun ends nobody's work.
    """
    first = now_reserved(rows, now) if rows else {}
    coming = next_reserved(rows, now) if rows else {}
    asked = []
    for run, job in live if rows else ():
        if not job.spec.interruptible or job.state is not State.RUNNING or job.cancel_requested:
            continue
        due = [row for device in run.devices if (row := first.get(device) or _soon(coming.get(device), job, now))]
        if due:
            what, who = "is suspended to make room", whose_text(due, now)
            why = "it goes on from its checkpoint as soon as there is room for it"
            asked.append(Suspend(job_id=job.id, reason=because(ReasonCode.RESERVED, what=what, who=who, why=why)))
    return asked


def _soon(row: Reserved | None, job: Job, now: datetime) -> Reserved | None:
    return row if row is not None and row.start <= now + job.spec.grace else None


def reserved_moments(live: Collection[tuple[Run, Job]], rows: Sequence[Reserved], now: datetime) -> list[datetime]:
    """Return when reservations begin and end, and when jobs have to be asked to make room for them."""
    coming = next_reserved(rows, now)
    edges = [edge for row in rows for edge in (row.start, row.end)]
    asks = [row.start - job.spec.grace for run, job in live for device in run.devices if (row := coming.get(device))]
    return [at for at in (*edges, *asks) if at > now]
