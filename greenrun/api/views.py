"""Turn the core's values into the JSON of job_models.py and grid_models.py."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from greenrun.api.grid_models import DeviceOut, EntryOut, ForecastOut, PricedOut, SlotOut
from greenrun.core.carbon.fallback import ActiveForecast
from greenrun.core.energy.ledger import Entry, Priced
from greenrun.core.energy.model import Device
from greenrun.core.jobs.job import Run


def forecast_view(zone: str | None, active: ActiveForecast, now: datetime, until: datetime) -> ForecastOut:
    """Return what is gone by at `now`, with the slots that touch `[now, until)`."""
    forecast, age_s = active.forecast, _seconds(active.age(now))
    if forecast is None:
        return ForecastOut(zone=zone, rung=active.fallback_level, why=active.why)
    series = forecast.series
    return ForecastOut(
        rung=active.fallback_level,
        why=active.why,
        age_s=age_s,
        zone=series.id.zone,
        provider=series.id.provider,
        signal=series.id.signal,
        accounting=series.id.accounting,
        basis=series.id.basis,
        issued_at=forecast.issued_at,
        fetched_at=forecast.fetched_at,
        step_s=_seconds(series.step),
        slots=[
            SlotOut(start=slot.start, end=slot.end, g_per_kwh=slot.intensity_g_per_kwh, kind=slot.kind)
            for slot in series
            if slot.end > now and slot.start < until
        ],
    )


def device_views(
    devices: Iterable[Device], live: Sequence[Run], elsewhere: Mapping[str, str], idle_w: Mapping[str, float]
) -> list[DeviceOut]:
    """Return the devices with who has them: one of the `live` runs, or somebody outside this daemon."""
    holders = {device: run for run in live for device in run.devices}
    return [
        _device_view(device, holders.get(device.id), elsewhere.get(device.id), idle_w.get(device.id))
        for device in devices
    ]


def _device_view(device: Device, holder: Run | None, elsewhere: str | None, idle_w: float | None) -> DeviceOut:
    return DeviceOut(
        id=device.id,
        index=device.index,
        model=device.model,
        kind=device.kind,
        source=device.source,
        emulated=device.emulated,
        memory_bytes=device.memory_bytes,
        leased_by_job=holder.job_id if holder else None,
        leased_by_run=holder.label if holder else None,
        held_elsewhere=elsewhere,
        idle_power_w=idle_w,
    )


def entry_view(entry: Entry) -> EntryOut:
    """Return a slice of energy as it is in the books."""
    piece = entry.slice
    return EntryOut(
        id=entry.id,
        job=entry.job_id,
        run=piece.run_id,
        project=entry.project,
        device=piece.device,
        component=piece.component,
        start=piece.start,
        end=piece.end,
        share=piece.share,
        busy_s=piece.busy_s,
        energy_j=piece.energy_j,
        quality=piece.quality,
        pue=entry.pue,
        booked=_priced_view(entry.booked),
        settled=_priced_view(entry.settled) if entry.settled else None,
    )


def _priced_view(priced: Priced) -> PricedOut:
    return PricedOut(
        g_per_kwh=priced.intensity_g_per_kwh,
        emissions_g=priced.emissions_g,
        kind=priced.kind,
        provider=priced.series.provider if priced.series else None,
    )


def _seconds(span: timedelta | None) -> float | None:
    return span.total_seconds() if span is not None else None
