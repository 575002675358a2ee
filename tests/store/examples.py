"""Values that the store's tests share: one instant, and jobs, slices and forecasts with the least that matters set."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from greenrun.core.carbon.intensity import Basis, Forecast, Kind, Series, SeriesId, Slot
from greenrun.core.energy.ledger import Entry, Priced
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.errors import JobError
from greenrun.core.jobs.job import Job, JobSpec, Outcome, Run, State
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.core.jobs.transitions import Intent
from greenrun.store import Store

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
SERIES = SeriesId(provider="uk", zone="GB", basis=Basis.LIFECYCLE)
WHY = Reason(ReasonCode.DUE, "its planned window has come")


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def spec(**changes: Any) -> JobSpec:
    given = {"command": ("python", "train.py"), "workdir": "/home/ada", "duration": timedelta(hours=1)}
    return JobSpec(**(given | changes))


def submit(store: Store, **changes: Any) -> Job:
    return store.jobs.add_job(spec(**changes), user="ada", uid=1000, now=NOW)[0]


def intend(store: Store, intent: Intent, job_id: int, *, actor: str = "ada") -> Job:
    """Note what a user wants of one job; raise why it was refused."""
    (outcome,) = store.jobs.intend(intent, [job_id], actor=actor, now=NOW)
    if isinstance(outcome, JobError):
        raise outcome
    return outcome


def claim(store: Store, job: Job, *devices: str) -> Run:
    run = store.runs.claim(job.id, devices, reason=WHY, now=after(1))
    assert run is not None
    return run


def running(store: Store, *devices: str, **changes: Any) -> Run:
    """A run that was submitted at NOW and started two seconds later."""
    run = claim(store, submit(store, **changes), *devices)
    assert store.runs.confirm(run.id, started_at=after(2), log="/logs/1", now=after(3))
    return run


def close(store: Store, run: Run, **changes: Any) -> bool:
    ending: dict[str, Any] = {
        "outcome": Outcome.SUCCEEDED,
        "exit_code": 0,
        "started_at": None,
        "ended_at": after(60),
        "log": None,
        "job_state": State.SUCCEEDED,
        "reason": Reason(ReasonCode.SUCCEEDED, "finished with exit code 0"),
        "now": after(61),
    }
    return store.runs.close_run(run.id, **(ending | changes))


def entry(
    start_s: float = 0,
    *,
    device: str = "GPU-0",
    run: Run | None = None,
    energy_j: float | None = 3_600.0,
    quality: Quality = Quality.MEASURED,
    grams: float | None = 0.2,
    component: Component = Component.GPU,
) -> Entry:
    """A slice of one minute, priced at 200 g/kWh (or, with grams None, not priced)."""
    piece = Slice(
        device=device,
        component=component,
        run_id=run.id if run else None,
        start=after(start_s),
        end=after(start_s + 60),
        energy_j=energy_j,
        quality=quality,
    )
    return Entry(slice=piece, pue=1.0, booked=priced(grams) if grams is not None else Priced())


def priced(grams: float | None, kind: Kind = Kind.FORECAST, **of_series: Any) -> Priced:
    return Priced(intensity_g_per_kwh=200.0, emissions_g=grams, kind=kind, series=replace(SERIES, **of_series))


def series(*values: float, kind: Kind = Kind.FORECAST, start_s: float = 0, step_s: float = 1800) -> Series:
    """Slots of half an hour from NOW + `start_s` on."""
    starts = [start_s + step_s * index for index in range(len(values))]
    pairs = zip(starts, values, strict=True)
    return Series.of(SERIES, [Slot(after(start), after(start + step_s), value, kind) for start, value in pairs])


def forecast(*values: float, **changes: Any) -> Forecast:
    given = {"series": series(*values), "fetched_at": NOW, "issued_at": NOW}
    return Forecast(**(given | changes))


def latest(store: Store, zone: str = "GB") -> Forecast | None:
    """The last forecast that was saved for a zone."""
    return next(iter(store.grid.forecasts(zone, datetime(9000, 1, 1, tzinfo=UTC))), None)
