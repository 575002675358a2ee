"""Texts for people of times, amounts and jobs; missing is unknown, never 0. Pure: `now` and zone are arguments."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any

from greenrun.core.formatting import (
    clock_text,
    compared_text,
    intensity_text,
    localized_text,
    ranges_text,
    span_text,
)

_CLEANER = ("cleanest_window", "shared_window", "suspended", "provisional")  # what is gained says more than the words
_SHORT = {
    "cleanest_window": "cleaner then",
    "now_is_cleanest": "cleanest now",
    "shared_window": "cleanest that is left",
    "clean_enough": "clean enough",
    "not_worth_waiting": "waiting saves little",
    "asked_now": "asked to start now",
    "due": "its time has come",
    "soonest": "as soon as GPUs are free",
    "deadline": "past its latest start",
    "forecast_too_short": "forecast too short",
    "no_forecast": "no forecast",
    "no_limit_left": "waited long enough",
    "provisional": "place may still move",
    "gpus_busy": "GPUs are busy",
    "reserved": "GPUs are reserved",
    "gives_way": "gives way to others",
    "gpus_held_elsewhere": "GPUs held elsewhere",
    "no_cpu_slots": "no CPU slots",
    "power_cap": "waits for power",
    "array_full": "its array's turn",
    "cancel_requested": "is being cancelled",
    "goes_on": "goes on",
    "no_progress": "made no progress",
    "checkpoint_failed": "checkpoint failed",
    "suspended": "suspended",
    "succeeded": "",
    "cancelled": "",
    "timed_out": "reached its time limit",
    "lost": "lost",
    "expired": "missed its latest start",
}  # of others the sentence begins with what matters
_BARE = {
    "waits_for": "jobs that it is to run after",
    "gpus_used_by_others": "GPUs are used by others",
    "gpus_lost": "GPUs are lost",
    "too_few_gpus": "too few GPUs",
    "too_much_power": "the site's power cap",
    "host_short": "this machine is short of resources",
    "unreachable": "its executor cannot be reached",
}  # where the sentence, which names the jobs or GPUs, is not known
_SAYS_NOTHING = ("exit_code", "succeeded", "cancelled", "expired")  # beside a state and an exit code

Job = Mapping[str, Any]


def code_text(code: str) -> str:
    """Return a reason of which the code alone is known in a few words; empty where a state says as much."""
    return "" if code in _SAYS_NOTHING else _SHORT.get(code) or _BARE.get(code) or code.replace("_", " ")


_IN_SECONDS = timedelta(minutes=2)  # minutes alone would say of less that it takes no time
_AT_ONCE = timedelta(seconds=2)  # a start this near is "now": the next tick carries it out


_AWAY = ("drained", "gpus_lost", "gpus_used_by_others")  # their sentences name the GPUs after a colon


def state_text(job: Job) -> str:
    """Return a job's state as people see it: one that waits may be held or suspended."""
    if job["state"] != "queued":
        return str(job["state"])
    if job.get("held"):
        return "held"
    is_suspended = (job.get("reason") or {}).get("code") == "suspended" or _has_checkpointed(job)
    return "suspended" if is_suspended else "queued"


def _has_checkpointed(job: Job) -> bool:
    """Whether a waiting job goes on from a checkpoint; why it waits is then whatever the plan says."""
    runs: Sequence[Job] = job.get("runs") or ()
    return bool(runs) and runs[-1]["outcome"] == "checkpointed"


def instant(text: str) -> datetime:
    """Read an instant of the API's JSON."""
    return datetime.fromisoformat(text)


def below_text(planned: Mapping[str, Any]) -> str | None:
    """Return how a placement compares with a start now: in grams where they are known, else in intensity."""
    for ours, theirs in (("expected_g", "start_now_g"), ("g_per_kwh", "start_now_g_per_kwh")):
        if planned.get(ours) is not None and planned.get(theirs):
            return compared_text(planned[ours], planned[theirs])
    return None


def forecast_text(g_per_kwh: float | None, signal: str | None = None) -> str:
    """Return an expected intensity, or that emissions are unknown."""
    return "emissions unknown: no forecast" if g_per_kwh is None else intensity_text(g_per_kwh, signal)


def planned_text(planned: Mapping[str, Any], now: datetime, zone: tzinfo | None = None) -> str:
    """Return `planned 02:30-08:30 (93 g/kWh, 41 % below now)`, or `starts now (131 g/kWh)`."""
    start, grams = instant(planned["start"]), forecast_text(planned.get("g_per_kwh"), planned.get("signal"))
    if start <= now + _AT_ONCE:
        return f"starts now ({grams})"
    grounds = ", ".join(part for part in (grams, below_text(planned)) if part)
    return f"planned {span_text(start, instant(planned['end']), now, zone)} ({grounds})"


def submitted_text(job: Job, now: datetime, zone: tzinfo | None = None, *, new: bool = True) -> str:
    """Return the one line that answers a submission."""
    head = "dry run, nothing submitted:" if job["id"] is None else f"job {job['id']} {job['state']},"
    if not new and job["id"] is not None:
        from greenrun.core.jobs.job import State  # here, so that a submission does not load it

        head = f"job {job['id']} was submitted before with this key; it {State(job['state']).said},"
    planned, reason = job.get("planned"), reason_text(job, now, zone)
    if planned is None:
        return f"{head[:-1]}: {reason}" if reason else head[:-1]
    when = planned_text(planned, now, zone)
    return f"{head} {when}: {reason}" if when.startswith("starts now") and reason else f"{head} {when}"


def array_text(jobs: Sequence[Job], now: datetime, zone: tzinfo | None = None, *, new: bool = True) -> str:
    """Return the one line that answers the submission of an array: how many, when they run, and why others wait."""
    ids = [job["id"] for job in jobs]
    named = f"{len(jobs)} jobs of {printable(str(jobs[0]['name']).rpartition('[')[0])}"
    if None in ids:
        head = f"dry run, nothing submitted: {named}"
    elif new:
        head = f"{named} queued ({ranges_text(ids)})"
    else:
        head = f"{named} were submitted before with this key ({ranges_text(ids)})"
    planned = [job["planned"] for job in jobs if job.get("planned")]
    waiting = [job for job in jobs if not job.get("planned") and job["state"] == "queued"]
    parts = [_planned_between(planned, now, zone)] if planned else []
    parts += [f"{len(waiting)} without a place yet: {reason_text(waiting[0], now, zone)}"] if waiting else []
    return ", ".join([head, "; ".join(parts)]) if parts else head


def _planned_between(planned: Sequence[Mapping[str, Any]], now: datetime, zone: tzinfo | None) -> str:
    start, end = min(instant(row["start"]) for row in planned), max(instant(row["end"]) for row in planned)
    is_short = end - start < _IN_SECONDS
    began = "now" if start <= now + _AT_ONCE else clock_text(start, now, zone, seconds=is_short)
    return f"{len(planned)} planned from {began} to {clock_text(end, now, zone, seconds=is_short)}"


def started_at(job: Job) -> datetime | None:
    """Return when the last run began that did, None where none has."""
    return next((instant(run["started_at"]) for run in reversed(job["runs"]) if run["started_at"]), None)


def ended_at(job: Job) -> datetime | None:
    """Return when the job's last run ended, None where it goes on."""
    last = job["runs"][-1]["ended_at"] if job["runs"] else None
    return instant(last) if last else None


def expected_end(job: Job, started: datetime) -> datetime:
    """Return when a job that runs since then is expected to end, for what it had done before."""
    return started + timedelta(seconds=job["duration_s"] - (job.get("progress_s") or 0))


def is_told(job: Job) -> bool:
    """Whether all of a job is told to whoever asks, not only that another user has it; an earlier release tells all."""
    return bool(job.get("access", "all") != "listed")


def labels_text(job: Job) -> str:
    """Return a job's labels as options give them: `team=vision seed=1`."""
    return " ".join(f"{key}={value}" for key, value in (job["labels"] or {}).items())


def reason_text(job: Job, now: datetime | None = None, zone: tzinfo | None = None) -> str:
    """Return the sentence of a job's (or placement's) reason in local time, "" when it has none.

    It may name files, so it is `printable`.
    """
    reason = job.get("reason") or {}
    return printable(localized_text(str(reason.get("text") or ""), now, zone))


def short_reason(job: Job, now: datetime) -> str:
    """Return why a job is where it is in a few words, for a list; "" where its state says it all."""
    reason = job.get("reason") or {}
    code, planned = reason.get("code"), job.get("planned")
    below = below_text(planned) if planned and code in _CLEANER else None
    if below and below != "as now":
        return below
    if code == "waits_for" and (found := re.search(r"job \d+", reason_text(job))):
        return f"after {found[0]}"
    if code in _AWAY:
        return reason_text(job, now).partition(": ")[2]
    said = _SHORT.get(str(code))
    if said is not None:
        return said
    sentence = re.sub("^its command (?:ended with|was ended by) ", "", reason_text(job, now))
    return re.split(r"[:;] | \(|, (?:so|expected) ", sentence.replace("started: ", "started, "))[0]


def emitted_g(run: Mapping[str, Any]) -> float | None:
    """Return what a run emitted by the average, as reports have it: settled as far as it is, else as booked.

    A daemon of an earlier release tells both sums alone.
    """
    if "emissions_location_g" in run:
        grams: float | None = run["emissions_location_g"]
        return grams
    settled: float | None = run.get("emissions_settled_g")
    return run.get("emissions_g") if settled is None else settled


def summed(values: Iterable[float | None]) -> float | None:
    """Return the sum, None when there is nothing or any part is unknown."""
    parts = list(values)
    known = [part for part in parts if part is not None]
    return sum(known) if parts and len(known) == len(parts) else None


def printable(text: str) -> str:
    """Return text whose control characters are shown escaped, so that it cannot command a terminal."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
