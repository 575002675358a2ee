"""What a notebook shows of jobs, plans, forecasts and reports: small tables and one drawing, all text escaped."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

from greenrun.core.formatting import duration_text, intensity_text, mass_text
from greenrun.core.units import J_PER_KWH

if TYPE_CHECKING:
    from greenrun.client.answers import Explanation, Forecast, Plan, Planned, Report, Slot
    from greenrun.client.submitted_job import Job

_MOST_ROWS = 50
_WIDTH, _HEIGHT = 640, 120


def job_html(job: "Job") -> str:
    """Return a job as a table: where it stands and why, when it is planned, and its runs."""
    rows = [
        ("state", f"{job.state}{': ' + job.reason.text if job.reason else ''}"),
        ("command", " ".join(job.command) if job.command else "not told"),
        ("GPUs", str(job.gpus)),
        ("planned", _planned(job.planned)),
        *(
            (f"run {run.number}", _run_text(run.started_at, run.ended_at, run.outcome, run.energy_j, run.emissions_g))
            for run in job.runs
        ),
        *(("note", warning) for warning in job.warnings),
    ]
    shown = [(label, text) for label, text in rows if text]
    return _caption(f"Job {job.id} {job.name}", _table((), shown))


def plan_html(plan: "Plan") -> str:
    """Return a plan as a table of what starts when, and of what waits."""
    rows = [
        (str(row.job), _time(row.start), _time(row.end), str(row.gpus), _intensity(row.g_per_kwh), row.reason.text)
        for row in plan.placements
    ]
    waiting = [(str(row.job), "waits", "", "", "", row.reason.text) for row in plan.waiting]
    heading = f"Plan of {_time(plan.made_at)}, expected {mass_text(plan.expected_g)} CO2e"
    return _caption(heading, _table(("job", "start", "end", "GPUs", "intensity", "why"), [*rows, *waiting]))


def forecast_html(forecast: "Forecast") -> str:
    """Return a forecast as a drawing of steps, with its range in words."""
    zone = forecast.zone or "no zone"
    if not forecast.slots:
        return _caption(f"Forecast of {zone}", f"<p>{escape(forecast.why or 'there is none')}</p>")
    lowest = min(forecast.slots, key=lambda slot: slot.g_per_kwh)
    highest = max(forecast.slots, key=lambda slot: slot.g_per_kwh)
    told = (
        f"{_intensity(lowest.g_per_kwh)} from {_time(lowest.start)} is the cleanest, "
        f"{_intensity(highest.g_per_kwh)} from {_time(highest.start)} the dirtiest; "
        f"{forecast.rung}, by {forecast.provider}"
    )
    return _caption(f"Forecast of {zone}", f"{_steps(forecast.slots, told)}<p>{escape(told)}</p>")


def explanation_html(told: "Explanation") -> str:
    """Return an explanation as a list of its sentences."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in told.sentences)
    return _caption(f"Job {told.job} is {told.state}", f"<ul>{items}</ul>")


def report_html(report: "Report") -> str:
    """Return a report's sums as a table."""
    total = report.total
    sums = [(name, _value(getattr(total, name))) for name in total.__slots__]
    shown = [(name.replace("_", " "), text) for name, text in sums if text]
    return _caption(f"Report from {_time(report.from_)} to {_time(report.to)}", _table((), shown))


def _value(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    return f"{value:,.6g}"


def _planned(planned: "Planned | None") -> str:
    if planned is None:
        return ""
    grams = f", {mass_text(planned.expected_g)} CO2e" if planned.expected_g is not None else ""
    against = f" ({mass_text(planned.start_now_g)} if it started now)" if planned.start_now_g is not None else ""
    return f"{_time(planned.start)} to {_time(planned.end)}, {_intensity(planned.g_per_kwh)}{grams}{against}"


def _run_text(
    start: datetime | None, end: datetime | None, outcome: str | None, energy_j: float | None, mass_g: float | None
) -> str:
    if start is None:
        return "is being started"
    lasted = f", {duration_text(end - start)}" if end else ""
    energy = f", {energy_j / J_PER_KWH:.3g} kWh" if energy_j is not None else ""
    grams = f", {mass_text(mass_g)} CO2e" if mass_g is not None else ""
    return (
        f"{outcome or 'runs'} since {_time(start)}{lasted}{energy}{grams}"
        if not end
        else (f"{(outcome or 'ended').replace('_', ' ')} at {_time(end)}{lasted}{energy}{grams}")
    )


def _intensity(g_per_kwh: float | None) -> str:
    return "unknown intensity" if g_per_kwh is None else intensity_text(g_per_kwh)


def _time(at: datetime) -> str:
    return f"{at.astimezone():%a %Y-%m-%d %H:%M %Z}"


def _caption(heading: str, body: str) -> str:
    return f"<div><strong>{escape(heading)}</strong>{body}</div>"


def _table(heads: Sequence[str], rows: Sequence[Iterable[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows[:_MOST_ROWS])
    more = f"<p>and {len(rows) - _MOST_ROWS} more</p>" if len(rows) > _MOST_ROWS else ""
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>{more}"


def _steps(slots: "Sequence[Slot]", told: str) -> str:
    """Return intensities as an area of steps; numbers alone go into it."""
    first, last = slots[0].start.timestamp(), slots[-1].end.timestamp()
    most = max(slot.g_per_kwh for slot in slots) or 1.0

    def place(at: datetime, value: float) -> str:
        return f"{(at.timestamp() - first) / (last - first) * _WIDTH:.1f},{_HEIGHT * (1 - value / most):.1f}"

    points = [place(at, slot.g_per_kwh) for slot in slots for at in (slot.start, slot.end)]
    outline = " ".join([f"0,{_HEIGHT}", *points, f"{_WIDTH},{_HEIGHT}"])
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{escape(told)}"><polygon points="{outline}" fill="#4a9" stroke="#276"/></svg>'
    )
