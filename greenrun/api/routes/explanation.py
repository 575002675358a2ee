"""Explain in sentences why a job is in its state, from what is stored and planned."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from greenrun.api.job_models import AnomalyOut, JobOut, PlannedOut, RunOut
from greenrun.core.carbon.fallback import ActiveForecast
from greenrun.core.carbon.intensity import FallbackLevel, Signal
from greenrun.core.energy.model import Device, gpus
from greenrun.core.formatting import duration_text, instant_text, intensity_text, mass_text, power_text
from greenrun.core.jobs.availability import GpuState
from greenrun.core.jobs.job import FINISHED, LIVE, DurationSource, Event, Job, JobSpec, Run, State
from greenrun.core.jobs.reasons import ReasonCode

MOST_GPUS_TOLD = 4
StateOf = Callable[[Device], GpuState]
_DURATION = {
    DurationSource.GIVEN: "as its user said",
    DurationSource.LEARNED: "learned from finished jobs like it",
    DurationSource.DEFAULT: "the configured default, because none was given",
}


def sentences(
    job: Job,
    view: JobOut,
    default_max_delay: timedelta,
    events: Sequence[Event],
    active: ActiveForecast | None = None,
    of_gpus: Sequence[str] = (),
    turn: str | None = None,
) -> list[str]:
    """Return sentences, the most important first; the reason for each run's start is taken from the job's events.

    `active` is the forecast that the plan uses; it is mentioned unless it is fresh. `of_gpus` tells of GPUs,
    `turn` when its turn is by fair share.
    """
    grounds = {event.run_id: str(event.detail["why"]) for event in events if "why" in event.detail}
    return [
        f"Job {job.id} ({job.name}) of {job.user} {job.state.said}.",
        *([_as_sentence(view.reason.text)] if view.reason else []),
        *([_planned(view.planned)] if view.planned else []),
        *of_gpus,
        *(
            [_forecast(active)]
            if active and job.state is State.QUEUED and active.fallback_level is not FallbackLevel.FRESH
            else []
        ),
        *(
            [*_limits(job, default_max_delay), _priority(job.spec), *([turn] if turn else [])]
            if job.state is State.QUEUED
            else []
        ),
        _duration(job),
        *([_power(job.spec)] if view.planned and view.planned.expected_g is not None else []),
        *(_run(job.id, run, grounds.get(run.id)) for run in view.runs),
        *(_anomaly(job.id, run, episode) for run in view.runs for episode in run.anomalies or ()),
        *([_stop_on(job.spec)] if job.spec.stop_on and job.state not in FINISHED else []),
        *([_code(job)] if job.state is State.QUEUED else []),
    ]


def gpu_sentences(job: Job, runs: Sequence[Run], devices: Sequence[Device], state_of: StateOf) -> list[str]:
    """Return what keeps jobs from GPUs, if it waits for some, or what is wrong with those that its live run holds."""
    held = {device for run in runs if run.outcome is None for device in run.devices}
    if job.state in LIVE:
        states = ((device, state_of(device)) for device in gpus(devices) if device.id in held)
        return [
            f"GPU {one.name}, on which it runs, is {text}; it goes on." for one, at in states if (text := _wrong(at))
        ]
    if job.state is not State.QUEUED or not job.spec.gpus:
        return []
    states = ((device, state_of(device)) for device in gpus(devices))
    said = [f"GPU {one.name} is {_wrong(at)}; {_planned_without(at)}." for one, at in states if at.absences]
    more = [f"So it is with {len(said) - MOST_GPUS_TOLD} more GPUs."] if len(said) > MOST_GPUS_TOLD else []
    return [*said[:MOST_GPUS_TOLD], *more]


def _planned_without(state: GpuState) -> str:
    codes = {absence.code for absence in state.absences} - {ReasonCode.GPUS_USED_BY_OTHERS}
    return "jobs are planned around that" if codes == {ReasonCode.RESERVED} else "plans go without it until it is back"


def _wrong(state: GpuState) -> str:
    """Say why no job may be started on a GPU, and who uses it with how much memory; nothing if all is well."""
    others = [absence.text for absence in state.absences if absence.code is not ReasonCode.GPUS_USED_BY_OTHERS]
    seen = [occupant.text_with_memory for occupant in state.occupants or ()]
    used = [f"used by {' and '.join(seen)}"] if seen else []
    unseen = [row.text for row in state.absences if row.code is ReasonCode.GPUS_USED_BY_OTHERS and not seen]
    return ", and ".join([*others, *used, *unseen])


def _as_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _planned(planned: PlannedOut) -> str:
    marginal = "" if planned.signal in (None, Signal.AVERAGE) else f" {planned.signal}"
    grams = "" if planned.expected_g is None else f", expected {mass_text(planned.expected_g)} CO2e{marginal}"
    against = "" if planned.start_now_g is None else f" ({mass_text(planned.start_now_g)} if it started now)"
    times = f"{instant_text(planned.start)} to {instant_text(planned.end)}"
    mean = "an unknown intensity" if planned.g_per_kwh is None else intensity_text(planned.g_per_kwh, planned.signal)
    return f"Planned from {times} at {mean}{grams}{against if grams else ''}.{_pieces(planned)}"


def _forecast(active: ActiveForecast) -> str:
    if active.fallback_level is FallbackLevel.NONE:
        return f"There is no forecast to plan with: {active.why}."
    names = {
        FallbackLevel.STALE: "a stale forecast",
        FallbackLevel.CLIMATOLOGY: "an estimate from past days",
        FallbackLevel.STATIC: "a yearly mean",
    }
    return f"The plan goes by {names[active.fallback_level]}: {active.why}."


def _pieces(planned: PlannedOut) -> str:
    if len(planned.pieces) < 2:
        return ""
    spans = "; ".join(f"{instant_text(piece.start)} to {instant_text(piece.end)}" for piece in planned.pieces)
    return f" It runs {spans}, and is suspended in between."


def _limits(job: Job, default_max_delay: timedelta) -> Iterator[str]:
    if job.spec.finish_by is not None:
        yield f"It must end by {instant_text(job.spec.finish_by)}."
    if job.spec.start_now:  # the reason says when, and what keeps it
        return
    latest = instant_text(job.latest_start(default_max_delay))
    whose = "by its own limits" if job.has_limit else "by the configured longest delay"
    yield f"It may start from {instant_text(job.earliest_start)} and should start by {latest}, {whose}."


def _priority(spec: JobSpec) -> str:
    return f"Its priority is {spec.priority}: jobs of a higher one go first, and it before those of a lower one."


def _duration(job: Job) -> str:
    spec, was = job.spec, "was" if job.state in FINISHED else "is"
    grounds = f": {spec.duration_note}" if spec.duration_note else f" ({_DURATION[spec.duration_source]})"
    return f"It {was} expected to run for {duration_text(spec.duration)}{grounds}."


def _power(spec: JobSpec) -> str:
    if spec.power_w is None:
        return "Its expected emissions take the nominal power of its GPUs, since its own is not known."
    grounds = f": {spec.power_note}" if spec.power_note else " (as its user said)"
    return f"It is expected to draw {power_text(spec.power_w)}{grounds}."


def _run(job_id: int, run: RunOut, why: str | None) -> str:
    label = f"Run {job_id}.{run.number}"
    ground = f" (because {why})" if why else ""
    began = f"started {instant_text(run.started_at)}{ground}" if run.started_at else "is being started"
    if run.outcome is None:
        return f"{label} {began} on {', '.join(run.devices) or 'no GPU'}."
    code = "" if run.exit_code is None else f" with exit code {run.exit_code}"
    ended = f" {began} and ended {instant_text(run.ended_at)}" if run.started_at and run.ended_at else ""
    return f"{label}{ended}: {run.outcome.replace('_', ' ')}{code}."


def _anomaly(job_id: int, run: RunOut, episode: AnomalyOut) -> str:
    label, since = f"Run {job_id}.{run.number}", instant_text(episode.since)
    if episode.until is not None:
        return (
            f"{label} had the anomaly {episode.anomaly} from {since} to {instant_text(episode.until)}: {episode.text}."
        )
    verb = "has" if run.outcome is None else "had"
    return f"{label} {verb} the anomaly {episode.anomaly} since {since}: {episode.text}."


def _stop_on(spec: JobSpec) -> str:
    return f"It is stopped on {' or '.join(spec.stop_on)}, as its user asked."


def _code(job: Job) -> str:
    commit = f", which was at commit {job.spec.git_commit[:12]} when it was submitted" if job.spec.git_commit else ""
    return f"It will run what it finds in {job.spec.workdir} when it starts{commit}."
