"""Carbon intensity over time as a step function: a slot's value is its mean, and nothing is known between slots."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from greenrun.core.units import ABSURD_G_PER_KWH

Floats = NDArray[np.float64]


UNCOVERED_S, UNCOVERED_SHARE = 1e-5, 1e-2  # what may be missing of an interval that counts as covered: rounding


class Kind(StrEnum):
    """How a slot's value came to be."""

    MEASURED = "measured"
    FORECAST = "forecast"
    ESTIMATED = "estimated"


class Signal(StrEnum):
    """What the number answers: the mean of all power on the grid, or the response to one more kWh."""

    AVERAGE = "average"
    MARGINAL = "marginal"


class Accounting(StrEnum):
    """Whose power is counted: what the zone generates, or what it uses, imports included."""

    PRODUCTION = "production"
    CONSUMPTION = "consumption"


class Basis(StrEnum):
    """Which emissions are counted: the whole life cycle, or the stack alone."""

    LIFECYCLE = "lifecycle"
    DIRECT = "direct"


class FallbackLevel(StrEnum):
    """How trustworthy the source of a forecast is, best first; JSON and metrics call it `rung`."""

    FRESH = "fresh"
    STALE = "stale"
    CLIMATOLOGY = "climatology"
    STATIC = "static"
    NONE = "none"


Measure = tuple[Signal, Accounting | None, Basis | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesId:
    """Where a series comes from; series that differ in any part are never spliced or summed. None: not stated."""

    provider: str
    zone: str
    signal: Signal = Signal.AVERAGE
    accounting: Accounting | None = None
    basis: Basis | None = None

    @property
    def measure(self) -> Measure:
        """What it counts: grams of series that agree in this may be summed over zones and sources."""
        return self.signal, self.accounting, self.basis

    @property
    def signal_text(self) -> str:
        """Its signal, of averages with their basis: `average_lifecycle`, `marginal`."""
        is_plain = self.signal is not Signal.AVERAGE or self.basis is None
        return self.signal.value if is_plain else f"{self.signal.value}_{self.basis}"


@dataclass(frozen=True, slots=True)
class Slot:
    """The mean intensity over `[start, end)`, in g CO2e per kWh."""

    start: datetime
    end: datetime
    intensity_g_per_kwh: float
    kind: Kind


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Slots in order, without overlap, perhaps with holes; integrals are exact and None across a hole.

    Build with `Series.of`. Arrays have shape (n,): slot starts and ends in epoch seconds, values in g/kWh.
    """

    id: SeriesId
    starts_s: Floats
    ends_s: Floats
    values: Floats
    kinds: tuple[Kind, ...]
    _knots_s: Floats = field(init=False, repr=False)
    _integral: Floats = field(init=False, repr=False)
    _covered_s: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        knots = np.unique(np.concatenate([self.starts_s, self.ends_s]))
        slot = np.searchsorted(self.starts_s, knots[:-1], side="right") - 1
        inside = (slot >= 0) & (knots[:-1] < self.ends_s[slot]) if len(self.starts_s) else np.zeros(0, bool)
        widths = np.diff(knots) * inside
        heights = np.where(inside, self.values[slot], 0.0) if len(self.starts_s) else np.zeros(0)
        for name, steps in (("_integral", widths * heights), ("_covered_s", widths)):
            object.__setattr__(self, name, np.concatenate([[0.0], np.cumsum(steps)]) if len(knots) else np.zeros(0))
        object.__setattr__(self, "_knots_s", knots)

    @classmethod
    def of(cls, series_id: SeriesId, slots: Iterable[Slot]) -> "Series":
        """Build from slots in time order; raise ValueError naming the first slot that is unordered, empty or absurd."""
        rows = tuple(slots)
        for slot in rows:
            _check(slot)
        for before, after in pairwise(rows):
            if after.start < before.end:
                raise ValueError(f"slots overlap or are unsorted at {after.start.isoformat()}")
        return cls(
            series_id,
            np.array([s.start.timestamp() for s in rows], dtype=np.float64),
            np.array([s.end.timestamp() for s in rows], dtype=np.float64),
            np.array([s.intensity_g_per_kwh for s in rows], dtype=np.float64),
            tuple(s.kind for s in rows),
        )

    def __len__(self) -> int:
        return len(self.kinds)

    def __iter__(self) -> Iterator[Slot]:
        for start, end, value, kind in zip(self.starts_s, self.ends_s, self.values, self.kinds, strict=True):
            yield Slot(_instant(start), _instant(end), float(value), kind)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots as values, in time order."""
        return tuple(self)

    @property
    def start(self) -> datetime | None:
        """Start of the first slot; None when empty."""
        return _instant(self.starts_s[0]) if len(self) else None

    @property
    def end(self) -> datetime | None:
        """End of the last slot; None when empty."""
        return _instant(self.ends_s[-1]) if len(self) else None

    @property
    def step(self) -> timedelta | None:
        """The usual (median) slot length; None when empty."""
        if not len(self):
            return None
        widths_s = self.ends_s - self.starts_s
        alike = bool((widths_s == widths_s[0]).all())  # which the eye sees at once, and a median costs ten times more
        return timedelta(seconds=float(widths_s[0] if alike else np.median(widths_s)))

    def at(self, instant: datetime) -> float | None:
        """The value of the slot that holds `instant`, or None in a hole or outside."""
        index = self._index(instant)
        return None if index is None else float(self.values[index])

    def kind_at(self, instant: datetime) -> Kind | None:
        """The kind of the slot that holds `instant`, or None in a hole or outside."""
        index = self._index(instant)
        return None if index is None else self.kinds[index]

    def mean(self, start: datetime, end: datetime) -> float | None:
        """The time-weighted mean over `[start, end)`; None unless every instant of it is covered."""
        mean = float(self.means_between(np.array([start.timestamp()]), np.array([end.timestamp()]))[0])
        return mean if isfinite(mean) else None

    def means(self, starts_s: Floats, duration_s: float) -> Floats:
        """Means over `[start, start + duration_s)` for many starts at once; NaN where not wholly covered."""
        return self.means_between(starts_s, starts_s + duration_s)

    def means_between(self, starts_s: Floats, ends_s: Floats) -> Floats:
        """Means over `[start, end)` of each pair; NaN where not wholly covered."""
        widths_s = ends_s - starts_s  # as the floats have it, which differs from the duration by a fraction of 1e-6
        if not len(self) or not np.all(widths_s > 0):
            return np.full(len(starts_s), np.nan)
        total = np.interp(ends_s, self._knots_s, self._integral) - np.interp(starts_s, self._knots_s, self._integral)
        covered = np.interp(ends_s, self._knots_s, self._covered_s) - np.interp(
            starts_s, self._knots_s, self._covered_s
        )
        missing_s = np.minimum(UNCOVERED_S, UNCOVERED_SHARE * widths_s)
        return np.where(covered >= widths_s - missing_s, total / widths_s, np.nan)

    @property
    def curves(self) -> tuple[Floats, Floats, Floats]:
        """Knots in epoch seconds, and up to each the integral (g/kWh x s) and the seconds that are covered."""
        return self._knots_s, self._integral, self._covered_s

    def edges(self, start: datetime, end: datetime) -> list[datetime]:
        """Every slot boundary strictly inside `(start, end)`, in order."""
        inside = (self._knots_s > start.timestamp()) & (self._knots_s < end.timestamp())
        return [_instant(edge) for edge in self._knots_s[inside]]

    def next_edge(self, after: datetime, before: datetime) -> datetime | None:
        """The first slot boundary strictly inside `(after, before)`; None when there is none."""
        index = int(np.searchsorted(self._knots_s, after.timestamp(), side="right"))
        inside = index < len(self._knots_s) and self._knots_s[index] < before.timestamp()
        return _instant(self._knots_s[index]) if inside else None

    def between(self, start: datetime, end: datetime) -> "Series":
        """The slots that touch `[start, end)`, whole."""
        first = int(np.searchsorted(self.ends_s, start.timestamp(), side="right"))
        kept = slice(first, int(np.searchsorted(self.starts_s, end.timestamp(), side="left")))
        return Series(self.id, self.starts_s[kept], self.ends_s[kept], self.values[kept], self.kinds[kept])

    def followed_by(self, later: "Series") -> "Series":
        """These slots up to where `later` begins, then `later`'s own; raise ValueError when they differ in identity."""
        if self.id != later.id:
            raise ValueError(f"series of {self.id} and {later.id} are never spliced")
        if not len(self) or not len(later):
            return later if len(later) else self
        keep = self.starts_s < later.starts_s[0]
        kinds = tuple(kind for kind, kept in zip(self.kinds, keep, strict=True) if kept) + later.kinds
        ends_s = np.minimum(self.ends_s[keep], later.starts_s[0])
        return Series(
            self.id,
            np.concatenate([self.starts_s[keep], later.starts_s]),
            np.concatenate([ends_s, later.ends_s]),
            np.concatenate([self.values[keep], later.values]),
            kinds,
        )

    def holes(self) -> list[tuple[datetime, datetime]]:
        """The uncovered intervals between the first start and the last end."""
        gaps = np.flatnonzero(self.starts_s[1:] > self.ends_s[:-1] + 1e-5)
        return [(_instant(self.ends_s[i]), _instant(self.starts_s[i + 1])) for i in gaps]

    def uncovered(self, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        """The intervals of `[start, end)` that no slot covers."""
        inside = self.between(start, end)
        if inside.start is None or inside.end is None:
            return [(start, end)] if start < end else []
        before = [(start, inside.start)] if start < inside.start else []
        after = [(inside.end, end)] if inside.end < end else []
        return [*before, *inside.holes(), *after]

    def _index(self, instant: datetime) -> int | None:
        at = instant.timestamp()
        index = int(np.searchsorted(self.starts_s, at, side="right")) - 1
        return index if index >= 0 and at < self.ends_s[index] else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """What a provider says of the hours to come. `issued_at` is None where the source does not tell."""

    series: Series
    fetched_at: datetime
    issued_at: datetime | None = None
    fallback_level: FallbackLevel = FallbackLevel.FRESH

    @property
    def known_at(self) -> datetime:
        """The instant from which this forecast could be known."""
        return self.issued_at or self.fetched_at


def _check(slot: Slot) -> None:
    value = slot.intensity_g_per_kwh
    if slot.end <= slot.start:
        raise ValueError(f"the slot at {slot.start.isoformat()} ends before it begins")
    if not isfinite(value):
        raise ValueError(f"the value at {slot.start.isoformat()} is not a number")
    if not 0 <= value <= ABSURD_G_PER_KWH:
        raise ValueError(f"the value at {slot.start.isoformat()} is absurd: {value:g} g/kWh")


def _instant(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(float(epoch_s), UTC)
