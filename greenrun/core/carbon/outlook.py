"""What the planner sees of the hours to come: the forecast tempered by what was measured, and extended past its end.

A blended or extended outlook is not the provider's word: its identity has `+climatology` behind the provider's name, so
that it can be neither spliced with the forecast nor shown for it.
"""

from dataclasses import replace
from datetime import UTC, datetime
from math import ceil, floor

import numpy as np

from greenrun.core.carbon.blend import PERSISTENCE_S, Calibration, Departures, MeasuredPast, weights_at
from greenrun.core.carbon.climatology import Climatology
from greenrun.core.carbon.intensity import Floats, Kind, Series, SeriesId
from greenrun.core.units import ABSURD_G_PER_KWH

BLENDED = "+climatology"  # ends the provider's name in the identity of an outlook that is not its word alone
JOINT_S = 6 * 3_600.0  # the departure that dies away past the forecast's end is the mean of its last hours


def outlook(
    forecast: Series | None,
    measured: Series | None,
    now: datetime,
    until: datetime,
    *,
    calibration: Calibration | None = None,
    known_at: datetime | None = None,
    days: int = 28,
) -> Series | None:
    """Return what to expect of every slot that touches `[now, until)`; None when nothing at all is known of it.

    Slots lie where the forecast's do, and go on at its step in its holes and past its end (at the measured step, where
    there is no forecast). Where the provider spoke, the kind is its own, though the value is blended with what was
    measured; MEASURED slots of a forecast stay as they are. Where it is silent a slot is ESTIMATED: the normal of its
    hour, with a departure that dies away; where that hour was never measured, the mean of the forecast itself at that
    hour; else it is left out. Nothing is ever held flat. An outlook to which nothing was added keeps its identity.

    `measured` may reach beyond `now`; only slots over by then are used. It is ignored where it answers another question
    than the forecast (another zone, signal, accounting or basis). `known_at` is when the forecast was made, from which
    lead times count: `now` if left out. Raise ValueError for an empty horizon and for values that are no intensities.
    """
    if until <= now:
        raise ValueError(f"the horizon ends at {until.isoformat()}, which is not after {now.isoformat()}")
    told = None if forecast is None else _valid(forecast)
    past = None if measured is None or not _comparable(told, measured) else _valid(measured)
    step_s = _step_s(told, past)
    if step_s is None:
        return None
    seen = told.between(now, until) if told is not None else None
    starts_s, ends_s = _slots(seen, _anchor_s(told, past), step_s, now.timestamp(), until.timestamp())
    values, kinds = _as_told(seen, starts_s)
    if all(kind is Kind.MEASURED for kind in kinds):
        return _series(told, (starts_s, ends_s, values), values, kinds)  # nothing can temper what was measured
    learned = calibration or Calibration()
    paths = MeasuredPast.of(past, learned, now, days).paths(starts_s, step_s, values)
    leads_s = np.maximum(0.0, starts_s + step_s / 2 - (known_at or now).timestamp())
    expected = _expected(paths, weights_at(leads_s, learned.weights), kinds, starts_s)
    if np.isnan(expected).any():
        expected = np.where(np.isnan(expected), _by_itself(told, starts_s, step_s), expected)
    return _series(told or past, (starts_s, ends_s, expected), values, kinds)


def _valid(series: Series) -> Series:
    """Return the series, unless a value of it could not be an intensity or its slots are not in order."""
    bad = ~((series.values >= 0) & (series.values <= ABSURD_G_PER_KWH))
    if bad.any():
        at = datetime.fromtimestamp(series.starts_s[bad][0], UTC).isoformat()
        raise ValueError(f"the value at {at} is no intensity: {series.values[bad][0]:g} g/kWh")
    if (series.starts_s[1:] < series.ends_s[:-1] - 1e-5).any() or (series.ends_s <= series.starts_s).any():
        raise ValueError(f"the slots of {series.id.provider} for {series.id.zone} overlap or are unsorted")
    return series


def _comparable(told: Series | None, measured: Series) -> bool:
    return told is None or comparability_key(told.id) == comparability_key(measured.id)


def comparability_key(series_id: SeriesId) -> tuple[object, ...]:
    """Return what a series answers: values of two that answer different questions say nothing of one another."""
    return series_id.zone, series_id.signal, series_id.accounting, series_id.basis


def _step_s(told: Series | None, past: Series | None) -> float | None:
    steps = (series.step for series in (told, past) if series is not None)
    return next((step.total_seconds() for step in steps if step), None)


def _anchor_s(told: Series | None, past: Series | None) -> float:
    """An instant at which a slot ends: where to put slots of which nobody spoke."""
    series = told if told is not None and len(told) else past
    assert series is not None, "there is a step, so there is a slot"
    return float(series.ends_s[-1])


def _slots(seen: Series | None, anchor_s: float, step_s: float, now_s: float, until_s: float) -> tuple[Floats, Floats]:
    """Return starts and ends of the slots seen and of those that fill the gaps between, before and after them."""
    if seen is None or not len(seen):
        starts_s = np.arange(anchor_s + floor((now_s - anchor_s) / step_s) * step_s, until_s, step_s)
        return starts_s, starts_s + step_s
    head_s = seen.starts_s[0] - max(0, ceil((seen.starts_s[0] - now_s) / step_s)) * step_s
    gap_starts_s = np.concatenate([[head_s], seen.ends_s])
    gap_ends_s = np.concatenate([seen.starts_s, [until_s]])
    parts = [(seen.starts_s, seen.ends_s)]
    for gap in np.flatnonzero(gap_ends_s > gap_starts_s + 1e-5):
        starts_s = np.arange(gap_starts_s[gap], gap_ends_s[gap] - 1e-5, step_s)
        is_inside = gap < len(seen)
        parts.append((starts_s, np.minimum(starts_s + step_s, gap_ends_s[gap]) if is_inside else starts_s + step_s))
    starts_s, ends_s = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(starts_s)
    return starts_s[order], ends_s[order]


def _as_told(seen: Series | None, starts_s: Floats) -> tuple[Floats, list[Kind]]:
    """Return what the provider says of each slot, NaN and ESTIMATED where it is silent."""
    values, kinds = np.full(len(starts_s), np.nan), [Kind.ESTIMATED] * len(starts_s)
    if seen is not None:
        for place, value, kind in zip(np.searchsorted(starts_s, seen.starts_s), seen.values, seen.kinds, strict=True):
            values[place], kinds[place] = value, kind
    return values, kinds


def _expected(paths: Departures, weights: Floats, kinds: list[Kind], starts_s: Floats) -> Floats:
    """Return normal plus departure, or what was told where there is no normal; NaN where there is neither."""
    departures, silent = paths.departures(weights), np.isnan(paths.told)
    blended = np.isfinite(departures)
    beyond = _carried(starts_s, starts_s[blended], departures[blended]) if blended.any() else paths.own
    expected = np.clip(paths.normal + np.where(silent, beyond, departures), 0.0, ABSURD_G_PER_KWH)
    is_measured = np.array([kind is Kind.MEASURED for kind in kinds], dtype=bool)
    return np.where(~silent & (np.isnan(expected) | is_measured), paths.told, expected)


def _carried(starts_s: Floats, known_s: Floats, departures: Floats) -> Floats:
    """Return the departures of the slots at `known_s` carried over the gaps between, and dying away after the last."""
    joint = departures[known_s > known_s[-1] - JOINT_S].mean()
    after_s = starts_s - known_s[-1]
    outer = joint * np.exp(-np.maximum(0.0, after_s) / PERSISTENCE_S)
    return np.where(after_s > 0, outer, np.interp(starts_s, known_s, departures))


def _by_itself(told: Series | None, starts_s: Floats, step_s: float) -> Floats:
    """Return the mean of the forecast's own slots at the same time of day, NaN where it has none."""
    own = Climatology.of(told, told.end) if told is not None and told.end else None
    return own.expect(starts_s, step_s)[0] if own else np.full(len(starts_s), np.nan)


def _series(
    source: Series | None, slots: tuple[Floats, Floats, Floats], told: Floats, kinds: list[Kind]
) -> Series | None:
    """Return the slots that have a value, under the source's identity only where they are all its own words."""
    starts_s, ends_s, values = slots
    known = np.isfinite(values)
    if source is None or not known.any():
        return None
    own_word = bool(np.array_equal(values[known], told[known]))
    series_id = source.id if own_word else replace(source.id, provider=source.id.provider + BLENDED)
    kept = tuple(kind for kind, keep in zip(kinds, known, strict=True) if keep)
    return Series(series_id, starts_s[known], ends_s[known], values[known], kept)
