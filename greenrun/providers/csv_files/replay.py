"""Map a trace's slots onto the wall clock: unchanged, or replayed from an anchor at a speed."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from greenrun.core.carbon.intensity import Floats, Kind, Series, SeriesId, Slot
from greenrun.providers.csv_files.trace import Flags, Micros, Trace, TraceIssue, from_us


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockMapping:
    """Maps trace time to the wall clock, in epoch microseconds: `at_us` to `anchor_us`, then `speed` times as fast."""

    at_us: int = 0
    anchor_us: int = 0
    speed: float = 1.0

    def to_wall(self, trace_us: Micros) -> Micros:
        """Return the wall instants of trace instants; equal edges stay equal, so slots tile exactly."""
        return self.anchor_us + np.rint((trace_us - self.at_us) / self.speed).astype(np.int64)

    def one_to_wall(self, trace_us: int) -> int:
        """Return the wall instant of one trace instant, rounded as `to_wall` does."""
        return int(self.to_wall(np.array([trace_us]))[0])

    def to_trace(self, wall_us: int) -> int:
        """Return the trace instant at a wall instant."""
        return self.at_us + round((wall_us - self.anchor_us) * self.speed)

    def step(self, trace: Trace) -> timedelta:
        """Return the length of a slot on the wall clock."""
        return timedelta(microseconds=trace.step_us / self.speed)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timetable:
    """An issue on the wall clock: starts and ends in epoch microseconds, `trace_us` the starts in trace time."""

    mapping: ClockMapping
    step_us: int
    issued_us: int | None
    trace_us: Micros
    starts_us: Micros
    ends_us: Micros
    values: Floats
    estimated: Flags

    @classmethod
    def of(cls, issue: TraceIssue, step_us: int, mapping: ClockMapping) -> "Timetable":
        """Map an issue, whose slots usually last `step_us` of trace time, to the wall clock."""
        return cls(
            mapping=mapping,
            step_us=step_us,
            issued_us=None if issue.issued_us is None else mapping.one_to_wall(issue.issued_us),
            trace_us=issue.starts_us,
            starts_us=mapping.to_wall(issue.starts_us),
            ends_us=mapping.to_wall(issue.ends_us),
            values=issue.values,
            estimated=issue.estimated,
        )

    def __len__(self) -> int:
        return len(self.values)

    def ended_by(self, wall_us: int) -> int:
        """Return how many slots have ended at this instant; also the index of the first that has not."""
        return int(np.searchsorted(self.ends_us, wall_us, side="right"))

    def begun_before(self, wall_us: int) -> int:
        """Return how many slots begin before this instant."""
        return int(np.searchsorted(self.starts_us, wall_us, side="left"))

    def slot_begin_us(self, wall_us: int) -> int:
        """Return the trace instant at which the slot that contains this one begins, or would begin in a hole.

        There must be a slot that has not ended yet.
        """
        following = self.ended_by(wall_us)
        next_us = int(self.trace_us[following])
        if self.starts_us[following] <= wall_us:
            return next_us
        ahead_us = max(0, next_us - self.mapping.to_trace(wall_us))
        return next_us + (-ahead_us // self.step_us) * self.step_us

    def within(self, begin_us: int, horizon: timedelta) -> int:
        """Return how many slots begin within `horizon` of trace time after the trace instant `begin_us`."""
        return int(np.searchsorted(self.trace_us, begin_us + horizon // timedelta(microseconds=1), side="left"))

    def series(self, series_id: SeriesId, first: int, last: int, kind: Kind) -> Series:
        """Return the slots from index `first` up to `last`, of this kind unless the file marks them as estimated.

        With MEASURED, estimated ones are left out.
        """
        rows = zip(self.starts_us[first:last], self.ends_us[first:last], self.values[first:last], strict=True)
        kinds = [Kind.ESTIMATED if estimated else kind for estimated in self.estimated[first:last]]
        slots = (Slot(from_us(a), from_us(b), float(g), own) for (a, b, g), own in zip(rows, kinds, strict=True))
        return Series.of(series_id, (slot for slot in slots if kind is not Kind.MEASURED or slot.kind is kind))
