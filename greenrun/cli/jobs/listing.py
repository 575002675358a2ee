"""`greenrun list`: jobs as a table with chosen columns, in an order of one's own, once or again and again."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from greenrun.cli import text
from greenrun.cli.command import Command
from greenrun.cli.devices.overview import gpu_notes
from greenrun.cli.jobs.stray_runs import stray_notes
from greenrun.cli.options import OptionReader, connect, daemon_options, one_of, print_json, whole
from greenrun.cli.tables import Column, fitted, has_styles, output_width, table_lines
from greenrun.clock import utc_now
from greenrun.core.formatting import (
    clock_text,
    day_clock_text,
    day_span_text,
    duration_text,
    energy_text,
    mass_text,
    power_text,
    span_text,
)
from greenrun.core.jobs.job import FINISHED, State
from greenrun.submission.local_zone import here_and_now, zones_text

if TYPE_CHECKING:
    from greenrun.client import Answer, ApiClient

Job = Mapping[str, Any]

_LAST_FINISHED = 10
_OF_QUEUED = {"held", "suspended"}
_PIPE, _WIDE, _NARROW = range(3)  # forms of WHEN: dated for programs, and with weekdays, whole or its beginning alone


class _Field(NamedTuple):
    """A column that a list can have: how it is drawn, what it says of a job, and what jobs are sorted by."""

    column: Column
    cell: Callable[[Job, datetime], str]
    key: Callable[[Job], Any]


@click.command("list", cls=Command)
@click.option("--all", "-a", "everything", is_flag=True, help="All jobs, not only the last 10 finished.")
@click.option(
    "--state", multiple=True, metavar="STATE", help="Only jobs in this state, or held, suspended; may be repeated."
)
@click.option("--project", metavar="NAME", help="Only this project's.")
@click.option("--user", metavar="NAME", help="Only this user's.")
@click.option("--limit", metavar="N", help="At most the latest N.")
@click.option("--columns", metavar="A,B", help="These columns alone, in this order.")
@click.option("--sort", metavar="COLUMN", help="By this column; -COLUMN: the largest first.")
@click.option(
    "--watch", is_flag=False, flag_value="2s", metavar="[D]", help="Show it again every D, until q. [default: 2s]"
)
@daemon_options
@click.pass_context
def list_jobs(
    ctx: click.Context,
    everything: bool,
    state: tuple[str, ...],
    project: str | None,
    user: str | None,
    limit: str | None,
    columns: str | None,
    sort: str | None,
    watch: str | None,
    as_json: bool,
    socket: str | None,
    config: str | None,
) -> None:
    """List jobs: those that wait or run, and the last 10 that finished.

    WHY says what a job waits for, or how far a running one is. On a terminal the least important columns are left out
    until a row fits, and names are shortened; in a pipe there are all of them.

    \b
    greenrun list
    greenrun list --state failed --project vision
    greenrun list --columns id,name,state,energy --sort -energy
    greenrun list --watch
    greenrun list --all --json | jq '.[].id'
    """
    reader = OptionReader()
    for each in state:
        reader.read("--state", each, one_of((*State, *sorted(_OF_QUEUED))))
    most = reader.read("--limit", limit, whole)
    chosen = reader.read("--columns", columns, _chosen)
    order = reader.read("--sort", sort, _order)
    every_s = reader.read("--watch", watch, _pause_s)
    reader.stop()
    client = connect(ctx, socket, config)

    nothing = "no such jobs" if (state or project or user) and not everything else "no jobs"

    def jobs() -> "list[Answer]":
        if state:
            found = _in_states(client, state, project, user, most)
        else:
            found = client.jobs((), project, user, most) if everything else _recent(client, project, user, most)
        return found if order is None else order(found)

    def notes() -> list[str]:
        """Return what is in no list of jobs: GPUs that nobody gets, and runs that the database does not know."""
        return [*gpu_notes(client, utc_now()), *stray_notes(client)]

    if as_json:
        print_json(jobs())
        return
    lines_of = partial(_lines, chosen=chosen, nothing=nothing)
    if every_s is not None and _watched(lambda: (jobs(), notes()), lines_of, every_s):
        return
    for line in lines_of(jobs(), now=utc_now(), width=output_width()):
        print(line)
    for line in notes():
        print(line)


def _watched(
    look: "Callable[[], tuple[list[Answer], list[str]]]", lines_of: "Callable[..., Sequence[str]]", every_s: float
) -> bool:
    """Show jobs below what is in no list of them, until q; False where there is no terminal for it."""
    from greenrun.cli.terminal.live_screen import Look, can_be_live, page_of, show_live
    from greenrun.cli.terminal.width import wrapped

    def draw(seen: "Look[tuple[list[Answer], list[str]]]", width: int, height: int) -> list[str]:
        now = utc_now()
        rows, told = seen.seen or ((), ())
        lines = [
            part for note in told for part in wrapped(note, width, "  ")
        ]  # first: a list may be longer than a page
        lines += [] if seen.seen is None else lines_of(rows, now=now, width=width)
        return page_of(f"greenrun list   {here_and_now(now)}   q leaves", lines, seen, width, height)

    if not can_be_live():
        return False
    show_live(look, draw, every_s)
    return True


def _recent(client: "ApiClient", project: str | None, user: str | None, most: int | None) -> "list[Answer]":
    unfinished = client.jobs([state for state in State if state not in FINISHED], project, user)
    finished = client.jobs(sorted(FINISHED), project, user, _LAST_FINISHED)
    by_id = {job["id"]: job for job in (*unfinished, *finished)}
    return [by_id[key] for key in sorted(by_id)][-(most or 0) :]


def _in_states(
    client: "ApiClient", states: Sequence[str], project: str | None, user: str | None, most: int | None
) -> "list[Answer]":
    """Return the jobs in these states, as the list names them: of those that are queued some are held or suspended."""
    asked = list(dict.fromkeys(State.QUEUED if state in _OF_QUEUED else state for state in states))
    if not _OF_QUEUED & set(states) or State.QUEUED in states:
        return client.jobs(asked, project, user, most)
    found = client.jobs(asked, project, user)
    return [job for job in found if job["state"] in states or text.state_text(job) in states][-(most or 0) :]


def _chosen(columns: str) -> list[str]:
    names = [name.strip().lower() for name in columns.split(",") if name.strip()]
    unknown = [name for name in names if name not in _FIELDS]
    if unknown or not names:
        named = ", ".join(f"'{name}'" for name in unknown)
        what = "is not a column" if len(unknown) == 1 else "are not columns"
        raise ValueError(f"{f'{named} {what}' if unknown else 'names no column'}; there are {', '.join(_FIELDS)}")
    return names


def _order(sort: str) -> "Callable[[list[Answer]], list[Answer]]":
    name, is_descending = sort.strip().lower().removeprefix("-"), sort.strip().startswith("-")
    if name not in _FIELDS:
        raise ValueError(f"'{name}' is not a column; there are {', '.join(_FIELDS)}")
    key = _FIELDS[name].key

    def ordered(jobs: "list[Answer]") -> "list[Answer]":
        """What is not known comes last, whichever way."""
        known = [job for job in jobs if key(job) is not None]
        return sorted(known, key=key, reverse=is_descending) + [job for job in jobs if key(job) is None]

    return ordered


def _pause_s(watch: str) -> float:
    from greenrun.submission.times import parse_duration

    seconds = float(watch) if watch.replace(".", "", 1).isdigit() else parse_duration(watch).total_seconds()
    return max(0.2, seconds)


def _lines(
    jobs: Sequence[Job], chosen: Sequence[str] | None, now: datetime, width: int | None, *, nothing: str
) -> list[str]:
    if not jobs:
        return [nothing]
    names = chosen or _default(jobs)
    described = [_FIELDS[name].column for name in names]
    zones = zones_text(now, *(at for job in jobs for at in (_begins(job), text.ended_at(job)) if at))
    described = [
        column._replace(name=f"{column.name} ({zones})") if column.name in _TIMES else column for column in described
    ]
    if chosen:  # they are wanted, so none is left out
        described = [column._replace(rank=0) for column in described]
    for form in (_PIPE,) if width is None else (_WIDE, _NARROW):
        rows = [[_cell(name, job, now, form) for name in names] for job in jobs]
        layout = fitted(described, rows, width)
        if all(layout.shows(index) for index, name in enumerate(names) if name in _WANTED_WITH_SPANS):
            break
    return table_lines(described, rows, width=width, styled=has_styles())


def _default(jobs: Sequence[Job]) -> Sequence[str]:
    """Return the usual columns, with that of marginal emissions where some are known."""
    is_marginal = any(run.get("emissions_marginal_g") is not None for job in jobs for run in job["runs"])
    return _DEFAULT if not is_marginal else (*_DEFAULT[:-1], "marginal", _DEFAULT[-1])


def _cell(name: str, job: Job, now: datetime, form: int) -> str:
    return _when(job, now, form) if name == "when" else _FIELDS[name].cell(job, now)


def _when(job: Job, now: datetime, form: int) -> str:
    planned, started, ended = job.get("planned"), text.started_at(job), text.ended_at(job)
    if job["state"] == State.QUEUED:
        if not planned:
            return ""
        if form == _PIPE:
            return text.planned_text(planned, now).partition(" (")[0]
        return _span(text.instant(planned["start"]), text.instant(planned["end"]), now, form, "from")
    if started is None:
        return ""
    if ended is None:
        return f"since {clock_text(started, now) if form == _PIPE else day_clock_text(started, now)}"
    return _span(started, ended, now, form, "until")


def _span(start: datetime, end: datetime, now: datetime, form: int, word: str) -> str:
    if form == _PIPE:
        return span_text(start, end, now)
    if form == _WIDE:
        return day_span_text(start, end, now)
    return f"{word} {day_clock_text(end if word == 'until' else start, now)}"


def why_text(job: Job, now: datetime) -> str:
    """Return what a waiting job waits for, how far a running one is, or how a finished one ended, in a few words."""
    if job["state"] != State.RUNNING or job.get("cancel_requested"):
        return text.short_reason(job, now)
    marks = [f"! {name}" for name in _ongoing(job["runs"][-1])] if job["runs"] else []
    return ", ".join([*marks, *([progress] if (progress := progress_text(job, now)) else [])])


def _ongoing(run: Job) -> list[str]:
    return [row["anomaly"] for row in run.get("anomalies") or () if row["until"] is None]


def progress_text(job: Job, now: datetime) -> str:
    """Return how much of its expected duration a running job has behind it, and what is left: `34 %, 3h58m left`."""
    started = text.started_at(job)
    if started is None or not job["duration_s"]:
        return ""
    done_s = (job.get("progress_s") or 0) + max(0.0, (now - started).total_seconds())
    left_s = job["duration_s"] - done_s
    if left_s < 0:
        return f"{duration_text(round(-left_s))} overdue"
    return f"{int(100 * done_s / job['duration_s'])} %, {duration_text(round(left_s))} left"


def _begins(job: Job) -> datetime | None:
    """Return when a job began, or is planned to."""
    if job["state"] == State.QUEUED:
        return text.instant(job["planned"]["start"]) if job.get("planned") else None
    return text.started_at(job)


def _sum(job: Job, name: str) -> float | None:
    return text.summed(run.get(name) for run in job["runs"])


def _emitted_g(job: Job) -> float | None:
    """Return what all of its runs emitted: the same figure as in reports."""
    return text.summed(text.emitted_g(run) for run in job["runs"])


def _amount(job: Job, name: str, said: Callable[[float | None], str]) -> str:
    return said(_sum(job, name)) if job["runs"] and text.is_told(job) else ""


def _instant_field(name: str, at: Callable[[Job], datetime | None]) -> _Field:
    return _Field(Column(name), lambda job, now: day_clock_text(found, now) if (found := at(job)) else "", at)


def _text_field(name: str, rank: int, least: int, of: Callable[[Job], str]) -> _Field:
    column = Column(name, rank=rank, least=least, squeezed=min(6, least))
    return _Field(column, lambda job, now: text.printable(of(job)), lambda job: of(job).lower())


def _devices(job: Job) -> str:
    return ", ".join(job["runs"][-1]["devices"]) if job["runs"] else ""


def _submitted(job: Job) -> datetime:
    return text.instant(job["submitted_at"])


_FIELDS: dict[str, _Field] = {
    "id": _Field(Column("id", right=True), lambda job, now: str(job["id"]), lambda job: job["id"]),
    "state": _Field(Column("state"), lambda job, now: text.state_text(job), text.state_text),
    "name": _text_field("name", 1, 16, lambda job: str(job["name"])),
    "project": _text_field("project", 7, 8, lambda job: str(job["project"])),
    "user": _text_field("user", 8, 6, lambda job: str(job["user"])),
    "gpus": _Field(Column("gpus", right=True, rank=3), lambda job, now: str(job["gpus"]), lambda job: job["gpus"]),
    "when": _Field(Column("when"), lambda job, now: _when(job, now, _WIDE), _begins),
    "why": _Field(Column("why", rank=2, least=17, squeezed=11), why_text, lambda job: why_text(job, utc_now()).lower()),
    "duration": _Field(
        Column("duration", rank=6), lambda job, now: duration_text(job["duration_s"]), lambda job: job["duration_s"]
    ),
    "energy": _Field(
        Column("energy", right=True, rank=5),
        lambda job, now: _amount(job, "energy_j", energy_text),
        lambda job: _sum(job, "energy_j"),
    ),
    "co2e": _Field(
        Column("CO2e", right=True, rank=4),
        lambda job, now: mass_text(_emitted_g(job)) if job["runs"] and text.is_told(job) else "",
        lambda job: _emitted_g(job),
    ),
    "marginal": _Field(
        Column("marginal CO2e", right=True, rank=4),
        lambda job, now: _amount(job, "emissions_marginal_g", mass_text),
        lambda job: _sum(job, "emissions_marginal_g"),
    ),
    "priority": _Field(
        Column("priority", right=True), lambda job, now: str(job.get("priority", 0)), lambda job: job.get("priority", 0)
    ),
    "power": _Field(
        Column("power", right=True),
        lambda job, now: power_text(job["power_w"]) if job.get("power_w") is not None else "",
        lambda job: job.get("power_w"),
    ),
    "submitted": _instant_field("submitted", _submitted),
    "started": _instant_field("started", text.started_at),
    "ended": _instant_field("ended", text.ended_at),
    "reason": _Field(
        Column("reason", wraps=True),
        lambda job, now: text.reason_text(job, now),
        lambda job: text.reason_text(job).lower(),
    ),
    "devices": _text_field("devices", 0, 8, _devices),
    "labels": _text_field("labels", 0, 8, text.labels_text),
}
_TIMES = ("when", "submitted", "started", "ended")
_DEFAULT = ("id", "state", "name", "project", "user", "gpus", "when", "duration", "energy", "co2e", "why")
_WANTED_WITH_SPANS = ("name", "why", "gpus")  # the beginning alone is told before one of these is left out
