"""What a device used over a window, out of its readings: graded as the books grade it, and unknown where they would."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from math import fsum

from greenrun.core.energy.model import Component, Device, Mark, Quality, Reading, Slice, worst
from greenrun.core.energy.slicing import cut
from greenrun.core.formatting import duration_text

SLICE_STEP = timedelta(minutes=1)  # slices are cut on this grid (UTC), so that each is priced with its own intensity
LONG, LONG_STEP = timedelta(hours=2), timedelta(hours=1)
GAP_S = 2.5  # a longer pause between two readings was not watched, as the meters have it: they read once a second


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowEnergy:
    """What a device used over a window. `energy_j` is None, for a `reason`, where any part of it is unknown.

    `pieces` are its slices in time order, without a hole; `gap_s` adds up the seconds in which it was not read.
    """

    device: Device
    energy_j: float | None
    quality: Quality
    gap_s: float
    pieces: tuple[Slice, ...]
    reason: str | None = None


def counted(uses: Sequence[WindowEnergy]) -> list[WindowEnergy]:
    """Return the devices whose energy adds up: what another one tells with its own is not added to that.

    Nor is a meter at the plug, which holds the others, unless it is alone.
    """
    ids = {use.device.id for use in uses}
    apart = [use for use in uses if use.device.within not in ids]
    return [use for use in apart if use.device.kind is not Component.EXTERNAL] or apart


def total_j(uses: Sequence[WindowEnergy]) -> float | None:
    """Return the sum of what these devices used; None when there are none, or what any of them used is unknown."""
    known = [use.energy_j for use in uses if use.energy_j is not None]
    return fsum(known) if known and len(known) == len(uses) else None


class DeviceWindow:
    """One device from the instant `start` on. Let it hear the first reading before then, and `fold` from time to time.

    Readings come in time order; those that it has heard already are passed over. A pause between two of them that is
    longer than `gap_s` was not watched.
    """

    def __init__(self, device: Device, start: datetime, gap_s: float = GAP_S) -> None:
        self.device = device
        self.last_at: datetime | None = None
        self._longest_s = gap_s
        self._start = start
        self._mark: Mark | None = None
        self._ahead: list[Reading] = []  # readings that are not in slices yet
        self._pieces: list[Slice] = []
        self._gaps: list[tuple[datetime, datetime]] = []

    def hear(self, readings: Sequence[Reading]) -> None:
        """Take in readings of any devices; those of others are passed over too."""
        for reading in readings:
            if reading.device != self.device.id or (self.last_at is not None and reading.at <= self.last_at):
                continue
            if self.last_at is not None and (reading.at - self.last_at).total_seconds() > self._longest_s:
                self._gaps.append((self.last_at, reading.at))
            self.last_at = reading.at
            self._ahead.append(reading)

    def fold(self, through: datetime) -> None:
        """Make slices of what was heard, up to the last whole minute by `through`, so that memory stays small."""
        pieces, self._mark = self._cut(through)
        self._pieces += pieces
        self._ahead = [reading for reading in self._ahead if self._mark is None or reading.at > self._mark.at]

    def used(self, end: datetime) -> WindowEnergy:
        """Return what was used from the start to `end`, which is not before what was folded; changes nothing."""
        if end <= self._start or (self._mark is not None and self._mark.at > end):
            return self.nothing()
        pieces, mark = self._cut(end, min(end, self.last_at or end))
        known = [*self._pieces, *pieces]
        head = (self._start, known[0].start if known else end)
        tail = (min(mark.at, end) if mark and known else end, end)
        whole = (*self._unread(head), *known, *self._unread(tail))
        energies = [piece.energy_j for piece in whole if piece.energy_j is not None]
        is_known = bool(whole) and len(energies) == len(whole)
        if is_known and self.device.kind is Component.EXTERNAL and not any(energies):
            whole, is_known = tuple(self._unread((self._start, end))), False  # what is behind a plug uses something
        return WindowEnergy(
            device=self.device,
            energy_j=fsum(energies) if is_known else None,
            quality=worst(piece.quality for piece in whole) if is_known else Quality.UNKNOWN,
            gap_s=self._gap_s(head, tail, end),
            pieces=whole,
            reason=None if is_known else _reason(self.device, known, head, tail),
        )

    def nothing(self) -> WindowEnergy:
        """Return that what was used is unknown, since times do not compare."""
        why = "no time has passed, or the clock was set back meanwhile"
        return WindowEnergy(
            device=self.device, energy_j=None, quality=Quality.UNKNOWN, gap_s=0.0, pieces=(), reason=why
        )

    def _cut(self, through: datetime, *edges: datetime) -> tuple[list[Slice], Mark | None]:
        """Cut what was heard after the mark, and drop what was used before the start."""
        mark = self._mark or cut(None, self._ahead, [], [], through)[1]
        if mark is None:
            return [], None
        instants = [self._start, *_edges(mark.at, through), *edges]
        pieces, mark = cut(
            mark, self._ahead, [], instants, through, component=self.device.kind, gap_s=self._longest_s, is_held=False
        )
        return [piece for piece in pieces if piece.end > self._start], mark

    def _unread(self, span: tuple[datetime, datetime]) -> Iterator[Slice]:
        start, end = span
        if start < end:
            yield Slice(
                device=self.device.id, component=self.device.kind, run_id=None, start=start, end=end,
                energy_j=None, quality=Quality.UNKNOWN,
            )  # fmt: skip

    def _gap_s(self, head: tuple[datetime, datetime], tail: tuple[datetime, datetime], end: datetime) -> float:
        inside = ((max(start, self._start), min(stop, end)) for start, stop in self._gaps)
        return fsum(max(0.0, (stop - start).total_seconds()) for start, stop in chain(inside, (head, tail)))


def _edges(after: datetime, through: datetime) -> Iterator[datetime]:
    """Yield whole minutes; whole hours where there is so much between that nobody watched it, or the clock was set."""
    edge = after.astimezone(UTC).replace(second=0, microsecond=0) + SLICE_STEP
    step = SLICE_STEP
    if through - after > LONG:
        edge, step = edge.replace(minute=0) + LONG_STEP, LONG_STEP
    while edge <= through:
        yield edge
        edge += step


def _reason(
    device: Device, known: Sequence[Slice], head: tuple[datetime, datetime], tail: tuple[datetime, datetime]
) -> str:
    """Say why what was used is unknown."""
    if device.within is not None:
        return f"its energy is in that of {device.within}"
    if not known:
        return "it was not read in this time"
    head_s, tail_s = ((end - start).total_seconds() for start, end in (head, tail))
    if head_s > 0:
        return f"it was first read {duration_text(head_s)} after the start"
    if tail_s > 0:
        return f"it was last read {duration_text(tail_s)} before the end"
    lost = [piece for piece in known if piece.energy_j is None]
    if not lost:
        return "its counter did not move, so its steps are longer than what was used, or it stands still"
    lost_s = fsum((piece.end - piece.start).total_seconds() for piece in lost)
    return f"its counter began anew or jumped, so what it used in {duration_text(lost_s)} of this time cannot be told"
