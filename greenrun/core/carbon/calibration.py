"""Learn how far a provider's forecasts can be followed, from those it issued and what was measured after."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from itertools import product

import numpy as np
from numpy.typing import NDArray

from greenrun.core.carbon.blend import EVEN, LEADS_H, Calibration, Departures, MeasuredPast, weights_at
from greenrun.core.carbon.intensity import Floats, Forecast, Kind, Series

ISSUE_EVERY = timedelta(hours=6)  # forecasts that follow one another sooner say nearly the same
MEMORY = timedelta(days=56)  # how long an issue is learned from
WINDOW = timedelta(hours=48)  # how far into an issue its order of hours is judged
ENOUGH_DAYS = 14.0  # of issues, before the weights leave the even blend; then they move to the best ones, as 14 : days
CHOICES = (0.0, 0.25, 0.5, 0.75, 1.0)
SWEEPS = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PastIssue:
    """An issue as it could be seen at its time, how far ahead its slots lay, and what was measured then, in g/kWh."""

    paths: Departures
    leads_s: Floats
    truth: Floats


def calibrate(issues: Sequence[Forecast], measured: Series, now: datetime, *, days: int = 28) -> Calibration:
    """Return how much the forecasts count by lead time, and how they usually err, from what was known at `now`.

    Weights are those under which the hours of past issues come in the order in which they then turned out (the least
    squared difference of ranks), for it is the order by which hours are chosen. Each issue is seen as it could be at
    its time. Issues not over at `now`, and measured slots after it, are not looked at.
    """
    chosen = thinned(issues, now)
    errors = _errors(chosen, measured, now)
    seen = _of_one_length([row for issue in chosen if (row := _hindsight(issue, measured, errors, now, days))])
    seen_days = len(seen) * (ISSUE_EVERY / timedelta(days=1))
    if seen_days < ENOUGH_DAYS:
        return Calibration(errors=errors)
    best = _best_weights(seen)
    share = seen_days / (seen_days + ENOUGH_DAYS)
    return Calibration(weights=tuple(EVEN + share * (weight - EVEN) for weight in best), errors=errors)


def thinned(issues: Sequence[Forecast], now: datetime) -> list[Forecast]:
    """Return what of issues is learned from at `now`: the first of every six hours of the last weeks, in time order."""
    kept: dict[float, Forecast] = {}
    recent = [issue for issue in issues if now - MEMORY <= issue.known_at <= now]
    for issue in sorted(recent, key=lambda issue: issue.known_at):
        kept.setdefault(issue.known_at.timestamp() // ISSUE_EVERY.total_seconds(), issue)
    return list(kept.values())


def _errors(issues: Sequence[Forecast], measured: Series, now: datetime) -> Series | None:
    """Measured minus forecast for each slot that was over at `now`, by the last issue six hours before it or sooner."""
    columns = [_columns(issue) for issue in issues]
    if not columns:
        return None
    starts_s, ends_s, values = (np.concatenate(column)[::-1] for column in zip(*columns, strict=True))
    starts_s, last = np.unique(starts_s, return_index=True)  # of equal starts the first here, which was issued last
    ends_s, values = np.minimum(ends_s[last], np.append(starts_s[1:], np.inf)), values[last]
    errors = measured.means_between(starts_s, ends_s) - values if len(starts_s) else values
    kept = np.isfinite(errors) & (ends_s <= now.timestamp())
    kinds = (Kind.ESTIMATED,) * int(kept.sum())
    return Series(issues[-1].series.id, starts_s[kept], ends_s[kept], errors[kept], kinds) if kept.any() else None


def _columns(issue: Forecast) -> tuple[Floats, Floats, Floats]:
    late = issue.series.starts_s >= (issue.known_at + ISSUE_EVERY).timestamp()
    return issue.series.starts_s[late], issue.series.ends_s[late], issue.series.values[late]


def _hindsight(issue: Forecast, measured: Series, errors: Series | None, now: datetime, days: int) -> PastIssue | None:
    """Return an issue beside what came; None where it is not over yet or not all is known."""
    at = issue.known_at
    series = issue.series.between(at, at + WINDOW)
    if len(series) < 2 or series.end is None or series.end > now:
        return None
    truth = measured.means_between(series.starts_s, series.ends_s)
    past = MeasuredPast.of(measured, Calibration(errors=errors), at, days)
    step_s = float(np.median(series.ends_s - series.starts_s))
    paths = past.paths(series.starts_s, step_s, series.values)
    known = np.isfinite(truth) & np.isfinite(paths.provider)
    leads_s = np.maximum(0.0, series.starts_s + step_s / 2 - at.timestamp())
    return PastIssue(paths=paths, leads_s=leads_s, truth=truth) if known.all() else None


def _best_weights(seen: Sequence[PastIssue]) -> tuple[float, ...]:
    """Search lead by lead, twice, for the weights that order the hours best; of equals the nearest to an even blend."""
    table, ranks = _stacked(seen), _ranks(np.stack([row.truth for row in seen]))

    def miss(weights: tuple[float, ...]) -> float:
        expected = table.paths.normal + table.paths.departures(weights_at(table.leads_s, weights))
        order = np.argsort(expected, axis=1, kind="stable")
        return float(((np.take_along_axis(ranks, order, axis=1) - np.arange(order.shape[1])) ** 2).mean())

    weights = (EVEN,) * len(LEADS_H)
    for _, place in product(range(SWEEPS), range(len(LEADS_H))):
        tried = [(*weights[:place], choice, *weights[place + 1 :]) for choice in CHOICES]
        weights = min(tried, key=lambda each: (miss(each), abs(each[place] - EVEN)))
    return weights


def _of_one_length(seen: Sequence[PastIssue]) -> list[PastIssue]:
    """Keep the issues of the commonest number of slots, so that they make a table."""
    commonest = Counter(len(row.truth) for row in seen).most_common(1)
    return [row for row in seen if len(row.truth) == commonest[0][0]]


def _stacked(seen: Sequence[PastIssue]) -> PastIssue:
    """Lay issues under one another: every array has shape (issues, slots)."""
    names = [part.name for part in fields(Departures)]
    paths = Departures(**{name: np.stack([getattr(row.paths, name) for row in seen]) for name in names})
    leads_s, truth = np.stack([row.leads_s for row in seen]), np.stack([row.truth for row in seen])
    return PastIssue(paths=paths, leads_s=leads_s, truth=truth)


def _ranks(values: Floats) -> NDArray[np.int64]:
    """The place of each value in the order of its row."""
    return np.argsort(np.argsort(values, axis=1, kind="stable"), axis=1, kind="stable")
