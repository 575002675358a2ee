"""Turn the core's values into the JSON of job_models.py and grid_models.py."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from greenrun.api.grid_models import DeviceOut, EntryOut, ForecastOut, PricedOut, SlotOut
from greenrun.api.job_models import (
    AfterOut,
    ArrayOut,
    EventOut,
    JobOut,
    PieceOut,
    PlacementOut,
    PlannedOut,
    PlanOut,
    ReasonOut,
    RunOut,
    WaitingOut,
)
from greenrun.api.run_view import run_view
from greenrun.core.carbon.fallback import ActiveForecast
from greenrun.core.energy.ledger import Entry, Priced, Total
from greenrun.core.energy.model import Device
from greenrun.core.jobs.anomalies import Spell
from greenrun.core.jobs.job import LIVE, Event, Job, Run, State
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.planning.model import Placement, Plan
from greenrun.engine.ports import Store


def job_views(jobs: Sequence[Job], store: Store, plan: Plan) -> list[JobOut]:
    """Return jobs with their runs as the books have them now, and the plan for those that wait."""
    runs = store.runs([job.id for job in jobs])
    totals = store.run_totals([run.id for rows in runs.values() for run in rows])
    spells = store.anomalies([job_id for job_id, rows in runs.items() if rows])
    return [job_view(job, runs.get(job.id, ()), totals, spells, plan) for job in jobs]


def job_view(
    job: Job, runs: Sequence[Run], totals: Mapping[int, Total], spells: Mapping[int, Sequence[Spell]], plan: Plan
) -> JobOut:
    """Return one job; a waiting one carries the plan's reason rather than the stored one."""
    waits = job.state is State.QUEUED
    placement = plan.placement(job.id) if waits else None
    is_stopping = job.cancel_requested and job.state in LIVE
    has_reason = job.reason is not None and job.reason.code is ReasonCode.ANOMALOUS  # better than that it is cancelled
    stopping = because(ReasonCode.CANCEL_REQUESTED) if is_stopping and not has_reason else None
    reason = (plan.reason(job.id) if waits else stopping) or job.reason
    views = [run_view(run, totals.get(run.id), spells.get(run.id, ())) for run in runs]
    return _job_out(job, views, placement, reason)


def tried_view(job: Job, placement: Placement | None, reason: Reason | None) -> JobOut:
    """Return a job that has just been submitted, or only tried, with where it would be placed."""
    return _job_out(job, [], placement, reason or job.reason)


def _job_out(job: Job, runs: list[RunOut], placement: Placement | None, reason: Reason | None) -> JobOut:
    spec = job.spec
    return JobOut(
        id=job.id,
        name=job.name,
        project=spec.project,
        user=job.user,
        state=job.state,
        reason=_reason(reason) if reason else None,
        command=list(spec.command),
        gpus=spec.gpus,
        gpu_model=spec.gpu_model,
        gpu_memory_gib=spec.gpu_memory_gib,
        duration_s=spec.duration.total_seconds(),
        duration_source=spec.duration_source,
        duration_note=spec.duration_note,
        time_limit_s=_seconds(spec.time_limit),
        finish_by=spec.finish_by,
        max_delay_s=_seconds(spec.max_delay),
        start_after=spec.start_after,
        start_now=spec.start_now,
        expire=spec.expire,
        priority=spec.priority,
        power_w=spec.power_w,
        power_source=spec.power_source,
        power_note=spec.power_note,
        min_saving=spec.min_saving,
        run_below_g_per_kwh=spec.run_below_g_per_kwh,
        retries=spec.retries,
        grace_s=spec.grace.total_seconds(),
        interruptible=spec.interruptible,
        min_run_s=_seconds(spec.min_run) if spec.interruptible else None,
        restart_cost_s=_seconds(spec.restart_cost) if spec.interruptible else None,
        checkpoint_signal=spec.checkpoint_signal if spec.interruptible else None,
        checkpoint_exit_code=spec.checkpoint_exit_code if spec.interruptible else None,
        progress_s=_seconds(job.progress) if spec.interruptible else None,
        after=[AfterOut(job=row.job_id, on=row.on) for row in spec.after],
        array=ArrayOut(**asdict(spec.array)) if spec.array else None,
        held=job.held,
        cancel_requested=job.cancel_requested,
        submitted_at=job.submitted_at,
        finished_at=job.finished_at,
        planned=planned_view(placement),
        runs=runs,
        labels=dict(spec.labels),
        env_names=sorted(spec.env),
        env_file=spec.env_file,
        log=spec.log,
        workdir=spec.workdir,
        unique_key=spec.unique_key,
        git_commit=spec.git_commit,
        stop_on=list(spec.stop_on),
    )


def planned_view(placement: Placement | None) -> PlannedOut | None:
    """Return when a job is planned to run, if it has a place in the plan."""
    if placement is None:
        return None
    return PlannedOut(
        start=placement.start,
        end=placement.end,
        g_per_kwh=placement.intensity_g_per_kwh,
        start_now_g_per_kwh=placement.start_now_g_per_kwh,
        expected_g=placement.expected_g,
        start_now_g=placement.start_now_g,
        pieces=_pieces(placement),
        promised=_promised(placement),
        put_offs=placement.put_offs,
    )


def plan_view(plan: Plan) -> PlanOut:
    """Return the plan."""
    return PlanOut(
        made_at=plan.made_at,
        horizon_end=plan.horizon_end,
        gap_ratio=plan.gap_ratio,
        bound_g=plan.bound_g,
        expected_g=plan.expected_g,
        start_at_once_g=plan.start_at_once_g,
        placements=[_placement_view(row) for row in plan.placements],
        waiting=[WaitingOut(job=row.job_id, reason=_reason(row.reason)) for row in plan.waiting],
    )


def _placement_view(row: Placement) -> PlacementOut:
    return PlacementOut(
        job=row.job_id,
        start=row.start,
        end=row.end,
        gpus=row.gpus,
        g_per_kwh=row.intensity_g_per_kwh,
        start_now_g_per_kwh=row.start_now_g_per_kwh,
        expected_g=row.expected_g,
        start_now_g=row.start_now_g,
        pieces=_pieces(row),
        promised=_promised(row),
        put_offs=row.put_offs,
        late=row.late,
        reason=_reason(row.reason),
    )


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


def event_view(event: Event) -> EventOut:
    """Return one change of a job."""
    return EventOut(
        id=event.id,
        at=event.at,
        actor=event.actor,
        kind=event.kind,
        job=event.job_id,
        run=event.run_id,
        detail=dict(event.detail),
    )


def _promised(placement: Placement) -> PieceOut | None:
    if placement.promised is None:
        return None
    start, end = placement.promised
    return PieceOut(start=start, end=end)


def _pieces(placement: Placement) -> list[PieceOut]:
    return [PieceOut(start=start, end=end) for start, end in placement.pieces]


def _reason(reason: Reason) -> ReasonOut:
    return ReasonOut(code=reason.code, text=reason.text)


def _seconds(span: timedelta | None) -> float | None:
    return span.total_seconds() if span is not None else None
