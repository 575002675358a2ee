"""`greenrun show` and `explain`: tell all about one job."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from greenrun.cli import text
from greenrun.cli.command import Command
from greenrun.cli.jobs.addressing import job_argument, one
from greenrun.cli.options import connect, daemon_options, print_json
from greenrun.cli.tables import print_wrapped
from greenrun.clock import utc_now
from greenrun.core.formatting import (
    clock_text,
    duration_text,
    energy_text,
    joules_text,
    localized_text,
    mass_text,
    money_text,
    number_text,
    percent_text,
    power_text,
    told_instants,
)
from greenrun.core.units import J_PER_KWH
from greenrun.submission.local_zone import zones_text

if TYPE_CHECKING:
    from greenrun.client import ApiClient

EARLIEST_START = "at the earliest start on the same GPUs"
_DURATION_SOURCES = {
    "given": "as given",
    "learned": "learned from earlier runs",
    "default": "the default: none was given",
}


@click.command("show", cls=Command)
@job_argument
@daemon_options
@click.pass_context
def show(ctx: click.Context, job: str, as_json: bool, socket: str | None, config: str | None) -> None:
    """Show everything about one job: what it is, why it is where it is, and what its runs used.

    \b
    greenrun show 12
    greenrun show train
    """
    client = connect(ctx, socket, config)
    answer = client.job(one(client, job))
    if as_json:
        print_json(answer)
        return
    emulated = _emulated(client) if answer["runs"] else frozenset()
    print_wrapped(card_lines(answer, emulated, utc_now()), " " * 14)


@click.command("explain", cls=Command)
@job_argument
@daemon_options
@click.pass_context
def explain(ctx: click.Context, job: str, as_json: bool, socket: str | None, config: str | None) -> None:
    """Say in sentences why a job waits, runs or ended, and what its limits are.

    \b
    greenrun explain 12
    greenrun explain sweep[3]
    """
    client = connect(ctx, socket, config)
    answer = client.explain(one(client, job))
    if as_json:
        print_json(answer)
        return
    now = utc_now()
    sentences = [localized_text(sentence, now) for sentence in answer["sentences"]]
    if sentences != answer["sentences"]:
        sentences.append(f"Times are in {zones_text(now, *_instants(answer))}.")
    print_wrapped(map(text.printable, sentences))


def _instants(answer: Mapping[str, Any]) -> Iterator[datetime]:
    for sentence in answer["sentences"]:
        yield from told_instants(sentence)


def _emulated(client: "ApiClient") -> frozenset[str]:
    return frozenset(device["id"] for device in client.devices() if device.get("emulated"))


def card_lines(job: Mapping[str, Any], emulated: frozenset[str], now: datetime) -> list[str]:
    """Return the card of a job; devices in `emulated` are said to be emulated."""
    facts = [(label, value) for label, value in _facts(job, now) if value]
    lines = [f"job {job['id']}  {text.printable(job['name'])}  ({text.state_text(job)})"]
    lines += [f"  {label + ':':<11} {value}" for label, value in facts]
    for run in job["runs"]:
        lines += _run_lines(job, run, emulated, now)
    if not text.is_told(job):
        lines.append(f"It is {text.printable(job['user'])}'s: what is not shown is for its owner, root and admins.")
    return lines


def _facts(job: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    yield "why", text.reason_text(job, now)
    if job.get("planned"):
        yield "planned", text.planned_text(job["planned"], now).removeprefix("planned ")
    if text.is_told(job):
        yield from _what_runs(job)
    yield "project", job["project"]
    yield "user", job["user"]
    yield "labels", text.printable(text.labels_text(job))
    yield "gpus", ", ".join([str(job["gpus"]), *_gpu_kind(job)])
    yield "resources", ", ".join(_resources(job))
    source = _DURATION_SOURCES.get(job["duration_source"], job["duration_source"])
    grounds = _grounds(job.get("duration_note"), source) if text.is_told(job) else ""
    yield "duration", duration_text(job["duration_s"]) + grounds
    if job.get("power_w") is not None:
        yield "power", power_text(job["power_w"]) + _grounds(job.get("power_note"), "as given")
    if job.get("power_cap"):
        yield "power cap", text.printable(job["power_cap"]) + _grounds(job.get("power_cap_note"), "as given")
    yield "priority", str(job["priority"]) if job.get("priority") is not None else ""
    yield "limits", ", ".join(_limits(job, now))
    yield "after", ", ".join(_after(row) for row in job.get("after") or ())
    yield "array", _array(job.get("array"))
    yield "stopped on", ", ".join(job.get("stop_on") or ())
    yield "told of", ", ".join(job.get("notify") or ())
    if job.get("interruptible"):
        yield "checkpoint", ", ".join(_checkpoints(job))
    submitted = text.instant(job["submitted_at"])
    yield "submitted", f"{clock_text(submitted, now, seconds=True)} (times in {zones_text(submitted, now)})"
    if job.get("cost") is not None:
        missing_j = job["cost_missing_kwh"] * J_PER_KWH
        lacks = f", {energy_text(missing_j)} has no known price" if missing_j else ""
        yield "cost", f"{money_text(job['cost'], job['currency'])}{lacks}"


def _what_runs(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    commit = job.get("git_commit")
    yield "command", text.printable(shlex.join(job["command"]))
    yield "container", text.printable(job.get("container") or "")
    yield "folder", text.printable(job.get("workdir") or "") + (f" (at commit {commit[:12]})" if commit else "")


def _grounds(note: str | None, source: str) -> str:
    return f", {text.printable(note)}" if note else f" ({source})"


def _limits(job: Mapping[str, Any], now: datetime) -> Iterator[str]:
    if job.get("time_limit_s") is not None:
        yield f"stopped after {duration_text(job['time_limit_s'])}"
    if job.get("finish_by"):
        yield f"must end by {clock_text(text.instant(job['finish_by']), now)}"
    if job.get("max_delay_s") is not None:
        yield f"starts at most {duration_text(job['max_delay_s'])} after submission"
    if job.get("start_after"):
        yield f"not before {clock_text(text.instant(job['start_after']), now)}"


def _gpu_kind(job: Mapping[str, Any]) -> Iterator[str]:
    if job.get("shared"):
        yield "a part is enough"
    if job.get("gpu_model"):
        yield text.printable(job["gpu_model"])
    if job.get("gpu_memory_gib") is not None:
        yield f"{number_text(job['gpu_memory_gib'])} GiB each"


def _resources(job: Mapping[str, Any]) -> Iterator[str]:
    if job.get("memory_gib") is not None:
        yield f"at most {number_text(job['memory_gib'])} GiB of memory"
    if job.get("cpus") is not None:
        yield f"at most {number_text(job['cpus'])} CPU{'' if job['cpus'] == 1 else 's'}"
    if job.get("io_weight") is not None:
        yield f"a weight of {job['io_weight']} on disks"


def _after(row: Mapping[str, Any]) -> str:
    return f"job {row['job']} {'succeeded' if row['on'] == 'ok' else 'ended'}"


def _array(array: Mapping[str, Any] | None) -> str:
    if array is None:
        return ""
    most = "" if array["at_once"] is None else f", at most {array['at_once']} at once"
    return f"index {array['index']} of {array['size']} jobs{most}"


def _checkpoints(job: Mapping[str, Any]) -> Iterator[str]:
    yield f"on SIG{job['checkpoint_signal']} (exit code {job['checkpoint_exit_code']})"
    yield f"at the soonest {duration_text(job['min_run_s'])} after a start"
    yield f"{duration_text(job['restart_cost_s'])} to continue"
    if job["progress_s"]:
        yield f"{duration_text(job['progress_s'])} done so far"


def _run_lines(
    job: Mapping[str, Any], run: Mapping[str, Any], emulated: frozenset[str], now: datetime
) -> Iterator[str]:
    code = "" if run["exit_code"] is None else f", exit code {run['exit_code']}"
    ended = f"{(run['outcome'] or 'running').replace('_', ' ')}{code}"
    yield f"run {job['id']}.{run['number']}  {ended}"
    yield f"  {'when:':<11} {_run_when(run, now)}"
    yield f"  {'devices:':<11} {', '.join(_device(device, emulated) for device in run['devices']) or 'no GPU'}"
    if not text.is_told(job):
        return
    yield f"  {'energy:':<11} {_energy(run)}"
    yield f"  {'emissions:':<11} {_emissions(run)}"
    if run.get("emissions_marginal_g") is not None:
        marginal = mass_text(run["emissions_marginal_g"])
        yield f"  {'marginal:':<11} {marginal} CO2e by the marginal signal, in no other sum"
    yield from _work_lines(run, now)
    if run.get("image"):
        yield f"  {'image:':<11} {text.printable(run['image'])}"
    if run.get("power_limit"):
        yield f"  {'power cap:':<11} {_capping(run['power_limit'])}"
    if run["log"]:
        yield f"  {'log:':<11} {text.printable(run['log'])}"


def _work_lines(run: Mapping[str, Any], now: datetime) -> Iterator[str]:
    if run.get("gpu_utilization") is not None:
        coverage = run["gpu_utilization_coverage"]
        known = "" if coverage > 0.99 else f", known for {percent_text(coverage)} of it"
        yield f"  {'gpus busy:':<11} {percent_text(run['gpu_utilization'])} of the time{known}"
    if run.get("work") is not None:
        unit, each = text.printable(run["work_unit"]), run["energy_per_work_j"]
        per = "" if each is None else f" ({number_text(run['work_per_kwh'])} per kWh, {joules_text(each)} each)"
        yield f"  {'work:':<11} {run['work']:,.15g} {unit}{per}"
    for row in run.get("anomalies") or ():
        since, until = (row[name] and clock_text(text.instant(row[name]), now) for name in ("since", "until"))
        span = f"{since} to {until}" if until else f"since {since}"
        yield f"  {'anomaly:':<11} {row['anomaly']} {span}: {text.printable(localized_text(row['text'], now))}"


def _capping(effect: Mapping[str, Any]) -> str:
    lowered = f"to {power_text(effect['least_w'])} for {duration_text(effect['lowered_s'])}"
    if effect["saved_g"] is None:
        return f"{lowered}; what that saved is unknown: {effect['why']}"
    grams, margin_g = effect["saved_g"], effect["saved_g_uncertainty"]
    verb = "saved" if grams >= 0 else "cost"
    saved = f"{verb} {mass_text(abs(grams))} CO2e" + ("" if margin_g is None else f" ± {mass_text(margin_g)}")
    lost = duration_text(effect["time_lost_s"])
    margin_s = effect["time_lost_uncertainty_s"]
    lost += "" if margin_s is None else f" ± {duration_text(margin_s)}"
    source = "measured" if effect["slowdown_source"] == "measured" else "by the slowdown that its user stated"
    return f"{lowered}; {saved}, took {lost} longer ({source})"


def _run_when(run: Mapping[str, Any], now: datetime) -> str:
    if not run["started_at"]:
        return "did not start" if run["outcome"] else "is being started"
    started = text.instant(run["started_at"])
    if not run["ended_at"]:
        return f"since {clock_text(started, now, seconds=True)}"
    ended = text.instant(run["ended_at"])
    ran_s = run.get("duration_s")  # by a clock that nobody can set; else, of an older daemon, by the host's
    length = duration_text((ended - started).total_seconds() if ran_s is None else ran_s)
    return f"{clock_text(started, now, seconds=True)} to {clock_text(ended, now, seconds=True)} ({length})"


def _device(device: str, emulated: Sequence[str] | frozenset[str]) -> str:
    return f"{device} (emulated)" if device in emulated else device


def _energy(run: Mapping[str, Any]) -> str:
    if run["energy_j"] is None:
        return "unknown: " + ("nothing is booked yet" if not run["outcome"] else "no meter could read it")
    so_far = "" if run["outcome"] else " so far"
    return f"{energy_text(run['energy_j'])}{so_far} ({run['energy_quality']})"


def _emissions(run: Mapping[str, Any]) -> str:
    booked, settled = run["emissions_g"], run["emissions_settled_g"]
    if booked is None:
        why = "its energy is unknown" if run["energy_j"] is None else "a part of it has no known average intensity"
        first = f"unknown, because {why}"
    else:
        first = f"{mass_text(booked)} CO2e booked"
    later = "not settled yet" if settled is None else f"{mass_text(settled)} CO2e settled with measured intensity"
    avoided = run.get("avoided_g")
    than = "" if avoided is None else f"; {mass_text(abs(avoided))} {_less(avoided)} than {EARLIEST_START}"
    return f"{first}; {later}{than}"


def _less(avoided_g: float) -> str:
    return "less" if avoided_g >= 0 else "more"
