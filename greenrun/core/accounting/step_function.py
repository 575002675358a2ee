"""A step function of time that may have holes: what a kWh costs, or what a contract says that it emits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isfinite
from typing import NamedTuple

import numpy as np

from greenrun.core.carbon.intensity import UNCOVERED_S, UNCOVERED_SHARE, Floats
from greenrun.core.carbon.slot_lengths import slot_lengths


class Span(NamedTuple):
    """What holds throughout `[start, end)`."""

    start: datetime
    end: datetime
    value: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """Spans as arrays of shape (n,), in time order, in epoch seconds; nothing is known between them."""

    starts_s: Floats
    ends_s: Floats
    values: Floats

    @classmethod
    def of(cls, spans: Iterable[Span]) -> "Steps":
        """Build from spans in time order; raise ValueError naming the first that is empty, unordered or no number."""
        rows = tuple(spans)
        for row in rows:
            if row.end <= row.start:
                raise ValueError(f"the span at {row.start.isoformat()} ends before it begins")
            if not isfinite(row.value):
                raise ValueError(f"the value at {row.start.isoformat()} is not a number")
        for before, after in pairwise(rows):
            if after.start < before.end:
                raise ValueError(f"spans overlap or are unsorted at {after.start.isoformat()}")
        columns = [(row.start.timestamp(), row.end.timestamp(), row.value) for row in rows]
        starts_s, ends_s, values = np.array(columns, dtype=np.float64).reshape(-1, 3).T
        return cls(starts_s=starts_s, ends_s=ends_s, values=values)

    @classmethod
    def from_starts(cls, rows: Sequence[tuple[datetime, float | None]], longest: timedelta) -> "Steps":
        """Build from starts in order, each with its value or None for a hole; raise ValueError.

        A span is as long as `slot_lengths` has it, by the distances between starts.
        """
        starts = [start for start, _ in rows]
        distances = [after - before for before, after in pairwise(starts)]
        usual = sorted(distances)[(len(distances) - 1) // 2] if distances else None
        if usual is None or not timedelta(0) < min(distances) <= usual <= longest:
            raise ValueError(f"its values must follow one another, each once, at most {longest} apart")
        told = zip(rows, slot_lengths(starts), strict=True)
        return cls.of(Span(start, start + length, value) for (start, value), length in told if value is not None)

    def __len__(self) -> int:
        return len(self.values)

    def spans(self) -> list[Span]:
        """Return the spans, in time order."""
        columns = zip(self.starts_s.tolist(), self.ends_s.tolist(), self.values.tolist(), strict=True)
        return [Span(_instant(start), _instant(end), value) for start, end, value in columns]

    def between(self, start: datetime, end: datetime) -> "Steps":
        """Return the spans that touch `[start, end)`, whole."""
        kept = (self.ends_s > start.timestamp()) & (self.starts_s < end.timestamp())
        return Steps(starts_s=self.starts_s[kept], ends_s=self.ends_s[kept], values=self.values[kept])

    def scaled(self, *, plus: float, times: float) -> "Steps":
        """Return `(value + plus) x times` over the same spans."""
        return Steps(starts_s=self.starts_s, ends_s=self.ends_s, values=(self.values + plus) * times)

    def sums(self, starts_s: Floats, ends_s: Floats) -> tuple[Floats, Floats]:
        """Return of each `[start, end)` the integral (value x seconds) and how many seconds are covered."""
        if not len(self):
            return np.zeros(len(starts_s)), np.zeros(len(starts_s))
        integrals = self._up_to(ends_s, self.values) - self._up_to(starts_s, self.values)
        ones = np.ones(len(self))
        return integrals, self._up_to(ends_s, ones) - self._up_to(starts_s, ones)

    def means(self, starts_s: Floats, ends_s: Floats) -> Floats:
        """Return the time-weighted mean over each `[start, end)`; NaN where that is not wholly covered."""
        integrals, covered_s = self.sums(starts_s, ends_s)
        widths_s = ends_s - starts_s
        missing_s = np.minimum(UNCOVERED_S, UNCOVERED_SHARE * widths_s)
        whole = (widths_s > 0) & (covered_s >= widths_s - missing_s)
        return np.where(whole, integrals / np.where(widths_s > 0, widths_s, 1.0), np.nan)

    def mean(self, start: datetime, end: datetime) -> float | None:
        """Return the time-weighted mean over `[start, end)`; None unless every instant of it is covered."""
        mean = float(self.means(np.array([start.timestamp()]), np.array([end.timestamp()]))[0])
        return mean if isfinite(mean) else None

    def first_hole(self, start: datetime, end: datetime) -> datetime | None:
        """Return the first instant of `[start, end)` that is not covered; None when all of it is."""
        at_s, end_s = start.timestamp(), end.timestamp()
        for begins_s, ends_s in zip(self.starts_s, self.ends_s, strict=True):
            if begins_s > at_s + UNCOVERED_S:
                break
            at_s = max(at_s, float(ends_s))
        return _instant(at_s) if at_s < end_s - UNCOVERED_S else None

    def _up_to(self, at_s: Floats, heights: Floats) -> Floats:
        """Return the integral of `heights` from the beginning up to each instant."""
        widths_s = self.ends_s - self.starts_s
        before = np.concatenate([[0.0], np.cumsum(widths_s * heights)])
        index = np.maximum(np.searchsorted(self.starts_s, at_s, side="right") - 1, 0)
        inside_s = np.clip(at_s - self.starts_s[index], 0.0, widths_s[index])
        return np.asarray(before[index] + inside_s * heights[index])


def _instant(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(float(epoch_s), UTC)
