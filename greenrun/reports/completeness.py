"""How much of its period a report knows: since when devices are in the books, where nobody read them, what waits."""

from datetime import datetime, timedelta
from math import fsum

import numpy as np

from greenrun.core.accounting.period import Period, microseconds
from greenrun.core.accounting.watched import BookedTime
from greenrun.core.energy.gpu_parts import board_of, share_of
from greenrun.core.energy.ledger import UNBOOKED_S
from greenrun.core.units import J_PER_KWH
from greenrun.reports.period_models import Completeness, DeviceCompleteness, InFlight

HOUR_S = 3600.0
MICROS = 1e6
BOOKED_WITHIN = timedelta(hours=1)  # the longest that energy waits to be booked while greenrun runs


def completeness(period: Period, now: datetime) -> Completeness:
    """Return for how much of a period up to `now` the books know each device."""
    passed_s = max(0.0, (min(period.end, now) - period.start).total_seconds())
    booked = period.booked
    device_s, booked_s = passed_s * len(booked), fsum(min(row.seconds, passed_s) for row in booked)
    gap_s = fsum(row.gap_s for row in booked)
    return Completeness(
        since=min((row.since for row in booked), default=None),
        until=max((row.until for row in booked), default=None),
        hours=passed_s / HOUR_S,
        booked_hours=min(passed_s, max((row.seconds for row in booked), default=0.0)) / HOUR_S,
        device_hours=device_s / HOUR_S,
        booked_device_hours=booked_s / HOUR_S,
        gap_device_hours=gap_s / HOUR_S,
        watched_ratio=max(0.0, booked_s - gap_s) / device_s if device_s else None,
        is_whole=period.end <= now and bool(booked) and all(_is_whole(row, passed_s) for row in booked),
        devices=[_device(row) for row in booked],
    )


def in_flight(period: Period, now: datetime) -> InFlight:
    """Return what the books of a period lack at `now`, or can still change."""
    pending, runs = period.pending, period.runs
    is_late = runs.has_started & (~runs.has_ended | (runs.ended > microseconds(now - BOOKED_WITHIN)))
    waiting = [(at, device) for at in np.flatnonzero(is_late).tolist() for device in runs.holdings[runs.holding[at]]]
    seconds = [(_unbooked_s(period, at, device, now), device) for at, device in waiting]
    energies = [_energy_j(period, device, each_s) for each_s, device in seconds if each_s > 0]
    known = [energy_j for energy_j in energies if energy_j is not None]
    return InFlight(
        running_runs=int((runs.has_started & (runs.started < microseconds(period.end)) & ~runs.has_ended).sum()),
        booked_until=pending.booked_until(),
        unbooked_device_seconds=fsum(each_s for each_s, _ in seconds),
        unbooked_kwh=fsum(known) / J_PER_KWH if len(known) == len(energies) else None,
        unsettled_slices=pending.unsettled_slices,
        unsettled_kwh=pending.unsettled_j / J_PER_KWH,
    )


def is_open(period: Period, now: datetime) -> bool:
    """Whether a period is not over, or its last minutes can still come into the books."""
    if period.end >= now:
        return True
    booked_until = period.pending.booked_until()
    return booked_until is not None and booked_until < period.end and now < period.end + BOOKED_WITHIN


def _is_whole(row: BookedTime, passed_s: float) -> bool:
    return row.seconds >= passed_s - UNBOOKED_S and row.gap_s <= 0


def _device(row: BookedTime) -> DeviceCompleteness:
    return DeviceCompleteness(
        device=row.device,
        component=row.component,
        since=row.since,
        until=row.until,
        booked_hours=row.seconds / HOUR_S,
        gap_hours=row.gap_s / HOUR_S,
    )


def _unbooked_s(period: Period, run: int, device: str, now: datetime) -> float:
    """Return how much of a run's time on a device is not booked, of a part its share of its board's."""
    mark, table = period.pending.marks.get(board_of(device)), period.runs
    since = max(microseconds(period.start), int(table.started[run]), *([microseconds(mark.at)] if mark else ()))
    until = min(microseconds(period.end), microseconds(now), *([int(table.ended[run])] if table.has_ended[run] else ()))
    return max(0, until - since) / MICROS * share_of(device)


def _energy_j(period: Period, device: str, seconds: float) -> float | None:
    mark = period.pending.marks.get(board_of(device))
    return None if mark is None or mark.held_w is None else mark.held_w * seconds
