"""What comes in at most 48 hours as a chart shows it: the intensity in steps, and on the same axis who runs when."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from greenrun.api.service import Service
from greenrun.core.formatting import count_text, intensity_text, iso_text, mass_text
from greenrun.core.jobs.access import Access, Viewer, name_for_others
from greenrun.core.planning.model import Placement
from greenrun.web.grid_now import AHEAD, GridNow
from greenrun.web.overview_sections import RunningRow, gpu_lanes, jobs_there
from greenrun.web.rendering import visible

MOST_BARS = 300
_SHORT = timedelta(hours=1)  # a chart of less tells seconds
_SHORTEST = timedelta(minutes=1)
CPU_LANE = "CPU"
HIDDEN = "a job of another user"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleBar:
    """A stretch of time on a lane: of a job that runs or is planned, or a reservation (`kind`)."""

    lane: str
    start: str
    end: str
    kind: str
    label: str
    text: str
    job: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWindow:
    """A stretch of time of a job or a reservation, for the table behind the chart; `lanes` where its GPUs are known."""

    label: str
    kind: str
    job: int | None
    gpus: int
    start: datetime
    end: datetime
    text: str
    lanes: Sequence[str] | None = None


def chart_data(grid: GridNow, lanes: Sequence[str], bars: Sequence[ScheduleBar], now: datetime) -> dict[str, Any]:
    """Return all that the chart draws, as JSON has it: from just before now until forecast and plan end."""
    ends = [*(end for _, end, _ in grid.steps), *(datetime.fromisoformat(bar.end) for bar in bars)]
    until = min(now + AHEAD, max(ends, default=now + AHEAD))
    is_short = until - now < _SHORT
    now = now if is_short else now.replace(second=0, microsecond=0)  # so that it seldom changes
    until = max(until, now + _SHORTEST)
    return {
        "from": iso_text(now - (until - now) / 48, "seconds"),
        "now": iso_text(now, "seconds"),
        "until": iso_text(until, "seconds"),
        "is_short": is_short,
        "zone": grid.zone,
        "level": grid.level,
        "signal": grid.signal,
        "is_fresh": grid.is_fresh,
        "steps": [[iso_text(start), iso_text(end), round(value, 2)] for start, end, value in grid.steps],
        "lanes": list(lanes),
        "bars": list(bars),
    }


def lanes_of(daemon: Service, windows: Sequence[JobWindow]) -> list[str]:
    """Return the lanes of the chart: one for each GPU, and one for jobs without, where there are any."""
    return [*gpu_lanes(daemon).values(), *([CPU_LANE] if any(not row.gpus for row in windows) else [])]


def windows_of(daemon: Service, visitor: Viewer | None, running: Sequence[RunningRow]) -> list[JobWindow]:
    """Return when jobs run, GPUs are reserved and jobs are planned to run; of hidden jobs only how many GPUs."""
    now = daemon.now()
    found = [_of_running(row, now) for row in running]
    if visitor is None:
        return found
    found += _of_reservations(daemon, now)
    live = {row.id for row in running}
    shown = [row for row in daemon.scheduler.plan().placements if row.job_id not in live and row.start < now + AHEAD]
    return [*found, *_of_plan(daemon, visitor, shown[: MOST_BARS - len(found)])]


def _of_running(row: RunningRow, now: datetime) -> JobWindow:
    return JobWindow(
        label=f"{row.id} {row.name}", kind="running", job=row.id, gpus=row.gpus, start=row.since or now,
        end=max(row.until or now, now), text=f"{row.state}, of {row.user}", lanes=row.lanes,
    )  # fmt: skip


def _of_reservations(daemon: Service, now: datetime) -> Iterator[JobWindow]:
    known = gpu_lanes(daemon)
    for row in daemon.scheduler.host.reservations(now):
        if row.start < now + AHEAD:
            lanes = sorted({known[device] for device in row.devices if device in known})
            yield JobWindow(
                label=row.name, kind="reserved", job=None, gpus=len(row.devices), start=max(row.start, now),
                end=row.end, text=row.whose, lanes=lanes,
            )  # fmt: skip


def _of_plan(daemon: Service, visitor: Viewer, rows: Sequence[Placement]) -> Iterator[JobWindow]:
    access = daemon.settings.access
    jobs = {job.id: job for job in jobs_there(daemon, [row.job_id for row in rows])}
    for row in rows:
        job = jobs.get(row.job_id)
        level = access.access(visitor, job.uid, job.user) if job else Access.NOTHING
        for start, end in row.intervals:
            if job is None or level is Access.NOTHING:
                yield JobWindow(label=HIDDEN, kind="planned", job=None, gpus=row.gpus, start=start, end=end, text="")
                continue
            name = job.name if level >= Access.READ else name_for_others(job)
            text = _figures(row) if level >= Access.READ else ""
            yield JobWindow(
                label=f"{job.id} {name}", kind="planned", job=job.id, gpus=row.gpus, start=start, end=end, text=text
            )


def _figures(row: Placement) -> str:
    grams = "" if row.expected_g is None else f", {mass_text(row.expected_g)} CO2e"
    return f"{intensity_text(row.intensity_g_per_kwh, row.signal)}{grams}"


def bars_of(windows: Sequence[JobWindow], lanes: Sequence[str]) -> list[ScheduleBar]:
    """Return windows on lanes: what runs or is reserved on its own GPUs, what is planned on those that are free then.

    Which GPUs a planned job gets is decided when it starts, so its lanes only show that there is room.
    """
    taken: dict[str, list[JobWindow]] = {lane: [] for lane in lanes}
    bars: list[ScheduleBar] = []
    for row in windows:
        used = row.lanes if row.lanes is not None else _free_lanes(row, taken)
        on = count_text(row.gpus, "GPU") if row.gpus else "no GPU"
        for lane in used if row.gpus else [CPU_LANE]:
            taken.setdefault(lane, []).append(row)
            bars.append(
                ScheduleBar(
                    lane=lane, start=iso_text(row.start), end=iso_text(row.end), kind=row.kind, job=row.job,
                    label=visible(row.label), text=visible(f"{on}, {row.text}" if row.text else on),
                )
            )  # fmt: skip
    return bars


def _free_lanes(row: JobWindow, taken: Mapping[str, Sequence[JobWindow]]) -> list[str]:
    """Return lanes on which nothing else is then; where there are too few, those on which something is, too."""

    def is_taken(lane: str) -> bool:
        return any(other.start < row.end and row.start < other.end for other in taken[lane])

    return sorted([lane for lane in taken if lane != CPU_LANE], key=is_taken)[: row.gpus]
