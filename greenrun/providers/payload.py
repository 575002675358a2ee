"""Turn a response's values into a series: each is validated, and missing ones stay holes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isfinite
from typing import Annotated, NoReturn

from pydantic import BeforeValidator

from greenrun.core.carbon.intensity import Forecast, Kind, Series, SeriesId, Slot
from greenrun.core.carbon.slot_lengths import slot_lengths
from greenrun.core.errors import ProviderGarbage, ProviderUnavailable
from greenrun.core.parsing import parse_instant

HIGHEST_G_PER_KWH = 2_000.0  # above any zone's average or marginal intensity: a wrong unit or corrupt data
FAR = timedelta(days=400)
FIRST_YEAR, LAST_YEAR = 1990, 2200


def _when(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("is not an instant in ISO 8601")
    return checked(parse_instant(value))


def _number(value: object) -> float | None:
    """Return a number, None for a missing one; raise ValueError for text and booleans."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("is not a number")
    return float(value) if abs(value) < 1e300 and isfinite(value) else None


Instant = Annotated[datetime, BeforeValidator(_when)]
Number = Annotated[float | None, BeforeValidator(_number)]


@dataclass(frozen=True, slots=True)
class Point:
    """The mean over the slot that begins at `start`, in g/kWh; None where the source has none.

    `end` is where the slot ends, where the source says so of each.
    """

    start: datetime
    g_per_kwh: float | None
    kind: Kind = Kind.FORECAST
    end: datetime | None = None


def checked(instant: datetime) -> datetime:
    """Return the instant, unless it is so far off that it must be a mistake: raise ValueError."""
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise ValueError(f"{instant.isoformat()} is outside the years {FIRST_YEAR} to {LAST_YEAR}")
    return instant


def from_epoch(seconds: float, source: str) -> datetime:
    """Return the instant of epoch seconds; raise ProviderGarbage for an implausible one."""
    try:
        return checked(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError) as exc:
        raise ProviderGarbage(f"greenrun does not use what {source} answered: {seconds!r} is no instant") from exc


def forecast_of(
    series_id: SeriesId, points: Iterable[Point], now: datetime, *, dropped: Counter[str],
    issued_at: datetime | None = None, step: timedelta | None = None,
) -> Forecast:  # fmt: skip
    """Return the forecast made of points, from the slot that contains `now` on; raise ProviderError.

    `issued_at` is as the source states it, None if it does not; after `now` (a wrong clock) it is set to `now`.
    """
    series = tiled(series_id, points, dropped=dropped, step=step).between(now, now + FAR)
    if not len(series):
        raise ProviderUnavailable(
            f"{series_id.provider} has no values for {series_id.zone} from now on; what is known stays in use"
        )
    return Forecast(series=series, fetched_at=now, issued_at=issued_at and min(issued_at, now))


def history_of(
    series_id: SeriesId, points: Iterable[Point], start: datetime, end: datetime, now: datetime, *,
    dropped: Counter[str], step: timedelta | None = None,
) -> Series:  # fmt: skip
    """Return the MEASURED slots that overlap `[start, end)` and had ended at `now`; raise ProviderGarbage."""
    series = tiled(series_id, points, dropped=dropped, step=step).between(start, end)
    return Series.of(series_id, [slot for slot in series if slot.kind is Kind.MEASURED and slot.end <= now])


def tiled(
    series_id: SeriesId, points: Iterable[Point], *, dropped: Counter[str], step: timedelta | None = None
) -> Series:
    """Return the slots of the points, up to their ends, or else of length `step` (default: `slot_lengths`).

    Missing and implausible values leave holes, and `dropped` counts them by cause. A measured value takes precedence
    over a forecast of the same slot. Raise ProviderGarbage if points contradict one another, overlap, or are mostly
    implausible.
    """
    rows = _unique(list(points), series_id)
    if not rows:
        return Series.of(series_id, ())
    ends = _ends(rows, step, series_id)
    _refuse_overlaps(rows, ends, series_id)
    known = [(row, end) for row, end in zip(rows, ends, strict=True) if _is_intensity(row, dropped)]
    given = sum(row.g_per_kwh is not None for row in rows)
    if 2 * len(known) < given:
        _refuse(series_id, f"{given - len(known)} of {given} values are no intensities in g/kWh; is the unit another?")
    return Series.of(series_id, [Slot(row.start, end, row.g_per_kwh or 0.0, row.kind) for row, end in known])


def _unique(points: Sequence[Point], series_id: SeriesId) -> list[Point]:
    """Return one point per start, in order; raise ProviderGarbage for contradictions."""
    best: dict[datetime, Point] = {}
    for point in sorted(points, key=lambda row: row.start):
        other = best.get(point.start)
        if other is None or other.g_per_kwh is None or _outranks(point, other):
            best[point.start] = point
        elif point.g_per_kwh not in (None, other.g_per_kwh) and not _outranks(other, point):
            _refuse(series_id, f"it says both {other.g_per_kwh:g} and {point.g_per_kwh:g} of {point.start.isoformat()}")
        elif point.end != other.end and point.g_per_kwh is not None and point.kind is other.kind:
            _refuse(series_id, f"it says of the slot at {point.start.isoformat()} that it ends at two instants")
    return list(best.values())


def _outranks(point: Point, other: Point) -> bool:
    return point.kind is Kind.MEASURED and other.kind is not Kind.MEASURED and point.g_per_kwh is not None


def _ends(rows: Sequence[Point], step: timedelta | None, series_id: SeriesId) -> list[datetime]:
    ends = [row.end for row in rows if row.end is not None]
    if len(ends) == len(rows):
        return ends
    lengths = [step] * len(rows) if step else _lengths(rows, series_id)
    return [row.end or row.start + length for row, length in zip(rows, lengths, strict=True)]


def _refuse_overlaps(rows: Sequence[Point], ends: Sequence[datetime], series_id: SeriesId) -> None:
    for row, end in zip(rows, ends, strict=True):
        if end <= row.start:
            _refuse(series_id, f"the slot at {row.start.isoformat()} does not end after it begins")
    for (before, after), end in zip(pairwise(rows), ends, strict=False):
        if after.start < end:
            length = end - before.start
            _refuse(series_id, f"a slot begins at {after.start.isoformat()}, before the one above ends ({length} long)")


def _lengths(rows: Sequence[Point], series_id: SeriesId) -> list[timedelta]:
    """Return how long each slot is, by the distances between their starts."""
    if len(rows) < 2:
        _refuse(series_id, "it has one value only, so the length of its slots cannot be told")
    return slot_lengths([row.start for row in rows])


def _is_intensity(point: Point, dropped: Counter[str]) -> bool:
    if point.g_per_kwh is None:
        dropped["missing"] += 1
        return False
    if 0 <= point.g_per_kwh <= HIGHEST_G_PER_KWH:
        return True
    dropped["absurd"] += 1
    return False


def _refuse(series_id: SeriesId, why: str) -> NoReturn:
    raise ProviderGarbage(f"greenrun does not use what {series_id.provider} answered for {series_id.zone}: {why}")
