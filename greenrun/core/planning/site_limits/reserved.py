"""Reservations: GPUs that a site keeps from jobs by the clock, for people who work on them without greenrun.

One is made by a command for a span of time, another by the settings for hours of every week.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from greenrun.core.accounting.weekly import Weekly
from greenrun.core.energy.device_names import named
from greenrun.core.energy.model import Device
from greenrun.core.formatting import instant_text

AHEAD = timedelta(days=14)  # how far ahead of now plans heed the reservations of every week


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """GPUs, by id, that no job gets over `[start, end)`; made by `user`, for `for_user` where that is somebody else.

    `id` is 0 before it is stored.
    """

    devices: tuple[str, ...]
    start: datetime
    end: datetime
    user: str
    for_user: str | None = None
    reason: str = ""
    id: int = 0

    @property
    def name(self) -> str:
        """What people call it."""
        return f"reservation {self.id}"

    @property
    def whose(self) -> str:
        """For whom and why: `for bob: a demonstration`."""
        return f"for {self.for_user or self.user}{f': {self.reason}' if self.reason else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklyReservation:
    """GPUs that no job gets in some hours of every week: those that `gpus` names, or else the last `count` of all.

    In `hours` a value stands for the reserved time of the week, on the clock of the site.
    """

    name: str
    hours: Weekly
    gpus: tuple[str, ...] = ()
    count: int = 0
    reason: str = ""

    def devices(self, there: Sequence[Device]) -> list[str]:
        """Return the ids of its GPUs, of all that jobs can be given; those that are not there are left out."""
        if self.gpus:
            return list(dict.fromkeys(device.id for name in self.gpus for device in named(name, there)))
        return [device.id for device in there[max(0, len(there) - self.count) :]]

    def next(self, now: datetime) -> tuple[datetime, datetime] | None:
        """Return from when to when it is now, or will be next."""
        spans = self.hours.steps(now - timedelta(days=8), now + 2 * AHEAD).spans()
        merged = _merged([(span.start, span.end) for span in spans])
        return next((span for span in merged if span[1] > now), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """The reserved time of one GPU, which people call `gpu`, and by what: `repeats` every week, or once."""

    device: str
    gpu: str
    start: datetime
    end: datetime
    whose: str
    name: str
    repeats: bool = False

    @property
    def text(self) -> str:
        """Say so: `reserved for bob until 2026-03-02 18:00:00Z (reservation 3)`."""
        return f"reserved {self.whose} until {instant_text(self.end)} ({self.name})"

    @property
    def text_ahead(self) -> str:
        """Say so of one that has not begun."""
        return f"reserved {self.whose} from {instant_text(self.start)} to {instant_text(self.end)} ({self.name})"


def reserved_time(
    once: Iterable[Reservation],
    weekly: Iterable[WeeklyReservation],
    there: Sequence[Device],
    now: datetime,
    until: datetime,
) -> tuple[Reserved, ...]:
    """Return the reserved time of GPUs that is not over, of every week as far as `until`; no two of a GPU overlap."""
    known = {device.id: f"GPU {device.name}" for device in there}
    found = [
        Reserved(device=device, gpu=known[device], start=row.start, end=row.end, whose=row.whose, name=row.name)
        for row in once
        if row.end > now
        for device in row.devices
        if device in known
    ]
    for row in weekly:
        spans = row.hours.steps(now - timedelta(days=8), until + timedelta(days=8)).spans()
        merged = _merged([(span.start, span.end) for span in spans])
        whose = f"for {row.reason}" if row.reason else "by the settings"
        found += [
            Reserved(device=device, gpu=known[device], start=start, end=end, whose=whose, name=row.name, repeats=True)
            for start, end in merged
            if end > now and start < until
            for device in row.devices(there)
        ]
    return tuple(_apart(found))


def choose_gpus(
    count: int,
    there: Sequence[Device],
    rows: Sequence[Reserved],
    busy: Mapping[str, datetime],
    start: datetime,
    end: datetime,
) -> list[Device]:
    """Return so many GPUs that nothing else reserves in `[start, end)`, those that jobs leave first; fewer if none is.

    `busy` tells until when jobs are expected to hold some. Of several that are free by the start, the last is taken.
    """
    taken = overlapping(rows, start, end)
    free = [device for device in there if device.id not in taken]
    free.sort(key=lambda device: (max(busy.get(device.id, start), start), -device.index))
    return sorted(free[:count], key=lambda device: device.index)


def _merged(spans: Sequence[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    merged: list[tuple[datetime, datetime]] = []
    for start, end in spans:
        if merged and merged[-1][1] >= start:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def _apart(rows: Iterable[Reserved]) -> Iterable[Reserved]:
    """Yield what is reserved in order of start, what overlaps with an earlier one of its GPU cut short."""
    taken: dict[str, datetime] = {}
    for row in sorted(rows, key=lambda row: (row.start, row.end, row.device, row.name)):
        start = max(row.start, taken.get(row.device, row.start))
        if start < row.end:
            taken[row.device] = row.end
            yield replace(row, start=start)


def now_reserved(rows: Iterable[Reserved], now: datetime) -> dict[str, Reserved]:
    """Return what is reserved at an instant, by GPU."""
    return {row.device: row for row in rows if row.start <= now < row.end}


def next_reserved(rows: Iterable[Reserved], now: datetime) -> dict[str, Reserved]:
    """Return of each GPU the first reserved time that has not begun."""
    found: dict[str, Reserved] = {}
    for row in rows:
        if row.start > now and (row.device not in found or row.start < found[row.device].start):
            found[row.device] = row
    return found


def is_same_ahead(before: Sequence[Reserved], now: Sequence[Reserved], at: datetime) -> bool:
    """Whether the same is reserved from an instant on: of every week only as far as both were told."""
    if before is now or not (before or now):
        return True
    reach = [max((row.start for row in rows if row.repeats), default=at) for rows in (before, now)]
    left, right = (
        {row for row in rows if row.end > at and (not row.repeats or row.start <= min(reach))} for rows in (before, now)
    )
    return left == right


def overlapping(rows: Iterable[Reserved], start: datetime, end: datetime) -> Mapping[str, Reserved]:
    """Return of each GPU a reserved time that overlaps with `[start, end)`."""
    return {row.device: row for row in rows if row.start < end and start < row.end}


def whose_text(rows: Collection[Reserved], now: datetime) -> str:
    """Say which GPUs are reserved: `GPU 0, GPU 1 are reserved for bob until … (reservation 3)`."""
    told: dict[str, list[str]] = {}
    for row in rows:
        text = row.text if row.start <= now else row.text_ahead
        told.setdefault(text, []).append(row.gpu)
    few = [*told.items()][:2]
    said = [f"{', '.join(gpus)} {'is' if len(gpus) == 1 else 'are'} {text}" for text, gpus in few]
    return "; ".join([*said, *([f"and {len(told) - 2} more"] if len(told) > 2 else [])])
