"""What different views of the hours to come are worth: the emissions saved by jobs that wait, on a real forecast.

    python benchmarks/forecasts.py --data ../shared/data          # some minutes; --quick looks at every third week

California 2021-22, hourly: a day-ahead forecast that is seen 24 h ahead, and the actual values. A job arrives every
third hour from 2021-01-08 on; GPUs are free at all times. Hour by hour, until it has started (or ended, if
interruptible), a job decides again by what is then known: it starts when no later window looks cleaner, or runs in
this hour if it is among the cleanest that it still needs. "4h/24h" is a job of 4 hours that may be delayed by 24, so
that it must end within 28. Savings are on the measured intensities, against starting at once, of all jobs together.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from greenrun.core.carbon.blend import Calibration
from greenrun.core.carbon.calibration import ISSUE_EVERY, MEMORY, calibrate
from greenrun.core.carbon.intensity import Forecast, Kind, Series, SeriesId
from greenrun.core.carbon.outlook import outlook

Floats = NDArray[np.float64]

NAME = "intensity/US-CAL-CISO_2021-2022_{}.csv"
ZONE = SeriesId(provider="file", zone="US-CAL-CISO")
REACH = 72  # hours seen ahead: the longest window
VISIBLE = 24
FIRST = 7 * 24
EVERY = 3
WEEK = 7 * 24
ROWS = [(4, 24, False), (8, 24, False), (8, 24, True), (24, 24, True), (24, 48, True), (8, 48, False), (8, 48, True)]
TO_REACH = [37.7, 34.1, 35.8, 22.9, 34.3, 34.7, 37.7]
RESTART_H = 5 / 60


def read(path: Path, kind: Kind) -> Series:
    """Return a file of `start,g_per_kwh` with hourly slots."""
    with path.open(newline="") as file:
        rows = [(datetime.fromisoformat(row["start"]), float(row["g_per_kwh"])) for row in csv.DictReader(file)]
    starts_s = np.array([start.timestamp() for start, _ in rows])
    values = np.array([value for _, value in rows])
    return Series(ZONE, starts_s, starts_s + 3600.0, values, (kind,) * len(rows))


def ahead(values: Floats, hours: int = REACH) -> Floats:
    """Return what `values` say of the next hours, seen from each: shape (n, REACH), NaN where they say nothing."""
    padded = np.concatenate([values, np.full(REACH, np.nan)])
    seen = np.lib.stride_tricks.sliding_window_view(padded, REACH)[: len(values)].copy()
    seen[:, hours:] = np.nan
    return seen


def normal(values: Floats, days: int) -> Floats:
    """Return the mean of the last days at the same hour, seen from each hour: shape (n, REACH)."""
    before = np.concatenate([np.full(24 * days, np.nan), values])
    lags = np.stack([before[24 * (days - back) : 24 * (days - back) + len(values)] for back in range(1, days + 1)])
    known = np.isfinite(lags)
    means = np.where(known, lags, 0.0).sum(axis=0) / np.maximum(1, known.sum(axis=0))
    first_day = ahead(means, 24)[:, :24]
    return np.tile(first_day, REACH // 24)


def blended(forecast: Floats, measured: Floats, weight: float, days: int) -> Floats:
    """Return forecast and climatology mixed as they are, and climatology beyond: the usual approach."""
    told, usual = ahead(forecast, VISIBLE), normal(measured, days)
    return np.where(np.isnan(told), usual, weight * told + (1 - weight) * usual)


def issues_of(series: Series, now: datetime) -> list[Forecast]:
    """Return a file's forecasts without issue times as known by `now`: each slot seen a day ahead."""
    every_s = ISSUE_EVERY.total_seconds()
    first_s = max(float(series.starts_s[0]), (now - MEMORY).timestamp())
    starts = np.arange(np.ceil(first_s / every_s) * every_s, now.timestamp(), every_s)
    moments = [datetime.fromtimestamp(float(at), UTC) for at in starts]
    return [Forecast(series=series.between(at, at + timedelta(days=1)), fetched_at=at) for at in moments]


def ours(forecast: Series, measured: Series, hours: Sequence[int], *, days: int = 28, learns: bool = True) -> Floats:
    """Return greenrun's own outlook, seen from each of `hours`; it is recalibrated weekly."""
    seen, lessons = np.full((len(measured), REACH), np.nan), Calibration()
    for hour in hours:
        now = datetime.fromtimestamp(float(measured.starts_s[hour]), UTC)
        if learns and hour % WEEK == 0:
            lessons = calibrate(issues_of(forecast, now), measured, now, days=days)
        known = forecast.between(now, now + timedelta(hours=VISIBLE))
        made = outlook(known, measured, now, now + timedelta(hours=REACH), calibration=lessons, days=days)
        assert made is not None, "there is a forecast"
        seen[hour] = made.values[:REACH]
    return seen


def window_g(seen: Floats, truth: Floats, arrivals: NDArray[np.int64], length: int, delay: int) -> Floats:
    """Return what each job emits in one piece, in g per kW: it starts when no later window looks cleaner."""
    emitted, waiting = np.zeros(len(arrivals)), np.arange(len(arrivals))
    for waited in range(delay + 1):
        view = seen[arrivals[waiting] + waited, : delay - waited + length]
        sums = np.cumsum(np.concatenate([np.zeros((len(view), 1)), view], axis=1), axis=1)
        windows = np.round(sums[:, length:] - sums[:, :-length], 9)
        starts = waiting[windows.argmin(axis=1) == 0]
        emitted[starts] = at_once_g(truth, arrivals[starts] + waited, length)
        waiting = waiting[windows.argmin(axis=1) != 0]
    return emitted


def pieces_g(
    seen: Floats, truth: Floats, arrivals: NDArray[np.int64], length: int, delay: int, restart_h: float = 0.0
) -> Floats:
    """Return what each interruptible job emits, in g per kW; continuing after a pause costs `restart_h` of the hour."""
    emitted, left = np.zeros(len(arrivals)), np.full(len(arrivals), length)
    running = np.zeros(len(arrivals), bool)
    for passed in range(length + delay):
        view = seen[arrivals + passed, : length + delay - passed]
        runs = _runs_now(view, left, running, length, restart_h)
        restarts = runs & ~running & (left < length)
        emitted += truth[arrivals + passed] * (runs + restart_h * restarts)
        left, running = left - runs, runs
    assert not left.any(), "every job ends in time"
    return emitted


def _runs_now(
    view: Floats, left: NDArray[np.int64], running: NDArray[np.bool_], length: int, restart_h: float
) -> NDArray[np.bool_]:
    """Whether the first hour of the view is one to run in."""
    if not restart_h:
        return np.asarray((view[:, 1:] < view[:, :1]).sum(axis=1) < left)
    jobs, hours = view.shape
    least = np.full((jobs, length + 1, 2), np.inf)  # by hours left, and whether it ran in the hour before
    least[:, 0] = 0.0
    paused = np.r_[np.inf, np.full(length - 1, restart_h), 0.0]  # the first start is none after a pause
    for hour in range(hours - 1, -1, -1):
        price = view[:, hour, None]
        run = np.full((jobs, length + 1), np.inf)
        run[:, 1:] = price + least[:, :-1, 1]
        after_pause = run + np.where(np.isfinite(paused), paused, 0.0) * price
        rest = least[:, :, 0]
        if hour == 0:
            rows = np.arange(jobs)
            return np.asarray(np.where(running, run[rows, left], after_pause[rows, left]) <= rest[rows, left]) & (
                left > 0
            )
        least = np.stack([np.minimum(after_pause, rest), np.minimum(run, rest)], axis=2)
    raise AssertionError("a window has at least an hour")


def at_once_g(truth: Floats, arrivals: NDArray[np.int64], length: int) -> Floats:
    """Return what jobs that start when they arrive emit, in g per kW."""
    return np.asarray(sum(truth[arrivals + hour] for hour in range(length)))


def savings(seen: Floats, truth: Floats, arrivals: NDArray[np.int64], restart_h: float = 0.0) -> list[float | None]:
    """Return the saving of each of ROWS in per cent; with a restart cost of the interruptible ones alone."""
    found: list[float | None] = []
    for length, delay, is_interruptible in ROWS:
        base = at_once_g(truth, arrivals, length).sum()
        if is_interruptible:
            found.append(100 * (1 - pieces_g(seen, truth, arrivals, length, delay, restart_h).sum() / base))
        else:
            spent = None if restart_h else window_g(seen, truth, arrivals, length, delay).sum()
            found.append(None if spent is None else 100 * (1 - spent / base))
    return found


def show(name: str, values: Sequence[float | None]) -> None:
    """Print one line of a table."""
    print(f"{name:<34}" + "".join("       -" if value is None else f"{value:8.2f}" for value in values), flush=True)


def views(forecast: Series, measured: Series, hours: Sequence[int]) -> dict[str, Callable[[], Floats]]:
    """Return every way of looking ahead, by name."""
    told, came = forecast.values, measured.values
    return {
        "hindsight": lambda: ahead(came),
        "forecast, then 7-day mean": lambda: blended(told, came, 1.0, 7),
        "7-day mean alone": lambda: blended(told, came, 0.0, 7),
        "28-day mean alone": lambda: blended(told, came, 0.0, 28),
        "even blend, 7 days": lambda: blended(told, came, 0.5, 7),
        "even blend, 28 days": lambda: blended(told, came, 0.5, 28),
        "greenrun, nothing learned": lambda: ours(forecast, measured, hours, learns=False),
        "greenrun, 14 days": lambda: ours(forecast, measured, hours, days=14),
        "greenrun": lambda: ours(forecast, measured, hours),
    }


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds intensity/")
    parser.add_argument("--quick", action="store_true", help="jobs of every third week only")
    options = parser.parse_args()
    measured = read(options.data / NAME.format("actual"), Kind.MEASURED)
    forecast = read(options.data / NAME.format("forecast"), Kind.FORECAST)
    arrivals = np.arange(FIRST, len(measured) - REACH + 1, EVERY)
    arrivals = arrivals[arrivals // WEEK % 3 == 0] if options.quick else arrivals
    hours = np.unique(arrivals[:, None] + np.arange(REACH)).tolist()
    hours = [hour for hour in hours if hour < len(measured)]
    print(f"saved in % of starting at once, {len(arrivals)} jobs")
    names = [f"{length}h/{delay}h{'i' if split else ''}" for length, delay, split in ROWS]
    print(f"{'(i: interruptible)':<34}" + "".join(f"{name:>8}" for name in names))
    show("to reach", TO_REACH)
    seen = {}
    for name, view in views(forecast, measured, hours).items():
        seen[name] = view()
        show(name, savings(seen[name], measured.values, arrivals))
    print("\nwhen continuing costs five minutes")
    for name in ("hindsight", "even blend, 7 days", "greenrun"):
        show(name, savings(seen[name], measured.values, arrivals, RESTART_H))


if __name__ == "__main__":
    main()
