"""Projects and users beside the period before, and how much of the GPUs' time was allocated."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from math import fsum

from greenrun.core.accounting.parts import Parts
from greenrun.core.accounting.usage import Usage
from greenrun.core.accounting.watched import BookedTime
from greenrun.core.carbon.intensity import Signal
from greenrun.core.energy.model import Component
from greenrun.core.units import J_PER_KWH
from greenrun.reports.emissions import percent_of
from greenrun.reports.model import JobRow, Row
from greenrun.reports.period_models import Completeness, GpuHours, GroupTrend, PreviousPeriod

HOUR_S = 3600.0
WATCHED_ALIKE = 0.98  # the part of its device-hours in the books from which on a period is compared


def previous(
    span: tuple[datetime, datetime], used: Sequence[Usage], booked: Sequence[BookedTime], total: Row, now: Completeness
) -> PreviousPeriod:
    """Return the period before, and how far energy and emissions changed since where both were watched."""
    start, end = span
    device_s = (end - start).total_seconds() * len(booked)
    ratio = min(1.0, fsum(row.seconds for row in booked) / device_s) if device_s else None
    why = _why_not(ratio, now)
    energy_kwh, grams = _kwh(used), _location_g(used)
    return PreviousPeriod(
        start=start,
        end=end,
        booked_ratio=ratio,
        it_energy_kwh=energy_kwh,
        emissions_location_g=grams,
        energy_change_pct=_change_pct(total.it_energy_kwh, energy_kwh, why),
        emissions_change_pct=_change_pct(total.emissions_location_g, grams, why),
        why=why,
    )


def trends(
    rows: Iterable[Row | JobRow], used: Sequence[Usage], before: PreviousPeriod, group: Callable[[Usage], str | None]
) -> list[GroupTrend]:
    """Return these rows beside what the same projects or users, by their `group`, used in the period before."""
    of_group: defaultdict[str | None, list[Usage]] = defaultdict(list)
    for each in used:
        of_group[group(each)].append(each)
    found = []
    for row in rows:
        own = of_group.get(row.group, [])
        earlier_g = _location_g(own)
        found.append(
            GroupTrend(
                group=row.group,
                uid=row.uid,
                jobs=row.jobs,
                it_energy_kwh=row.it_energy_kwh,
                emissions_location_g=row.emissions_location_g,
                ci_avg_g_per_kwh=row.ci_avg_g_per_kwh,
                avoided_g=row.avoided_g,
                avoided_pct=row.avoided_pct,
                previous_energy_kwh=_kwh(own),
                previous_emissions_g=earlier_g,
                change_pct=_change_pct(row.emissions_location_g, earlier_g, before.why),
            )
        )
    return found


def gpu_hours(parts: Parts, known: Completeness, utilisation: float | None) -> GpuHours:
    """Return for how long GPUs are in the books and runs held them."""
    booked = [row.booked_hours for row in known.devices if row.component is Component.GPU]
    held_s = fsum(parts.seconds[parts.is_held & parts.of_component(Component.GPU)].tolist())
    available = fsum(booked)
    return GpuHours(
        gpus=len(booked),
        available_hours=available,
        allocated_hours=held_s / HOUR_S,
        allocated_ratio=min(1.0, held_s / HOUR_S / available) if available else None,
        utilisation_ratio=utilisation,
    )


def _why_not(ratio: float | None, now: Completeness) -> str | None:
    if not ratio:
        return "the books know nothing of the period before"
    if ratio < WATCHED_ALIKE:
        return "the books know only a part of the period before"
    if now.booked_device_hours < WATCHED_ALIKE * now.device_hours:
        return "the books know only a part of this period"
    return None


def _change_pct(now: float | None, before: float | None, why: str | None) -> float | None:
    return percent_of(now - before, before) if why is None and now is not None and before is not None else None


def _kwh(used: Sequence[Usage]) -> float | None:
    known = [row.energy_j for row in used if row.energy_j is not None]
    return fsum(known) / J_PER_KWH if known else None


def _location_g(used: Sequence[Usage]) -> float | None:
    """Sum the grams of averages; None where there are none, or they count different things."""
    known = [
        (row.series, row.emissions_g)
        for row in used
        if row.series is not None and row.emissions_g is not None and row.series.signal is Signal.AVERAGE
    ]
    measures = {(series.accounting, series.basis) for series, _ in known}
    return fsum(grams for _, grams in known) if len(measures) == 1 else None
