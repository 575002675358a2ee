"""`greenrun events`: what happened to jobs and to the daemon, and what happens now."""

import csv
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from greenrun.cli import text
from greenrun.cli.command import Command
from greenrun.cli.jobs.addressing import Chosen, complete_jobs, selected
from greenrun.cli.options import OptionReader, connect, daemon_options, one_of, print_json, whole
from greenrun.cli.past_times import PAST_FORMS, parse_past
from greenrun.cli.tables import print_wrapped
from greenrun.clock import utc_now
from greenrun.core.formatting import clock_text, instant_text, iso_text, localized_text
from greenrun.core.jobs.transitions import SCHEDULER, EventKind
from greenrun.submission.local_zone import local_zone, zone_name

if TYPE_CHECKING:
    from greenrun.client import Answer

_LAST = 100  # events that are shown unless more are asked for
_BEFORE_FOLLOWING = 10
_PAGE = 1000
_COLUMNS = ("id", "at", "kind", "job", "run", "actor", "uid", "pid", "address", "before", "after", "detail")
_LOOK_EVERY_S = 1.0
_INDENT = " " * 10  # below the words, beside the time
_PATIENCE_S = 60.0  # a daemon that restarts meanwhile is back well within this


@click.command("events", cls=Command)
@click.argument("jobs", metavar="[JOB...]", nargs=-1, shell_complete=complete_jobs)
@click.option("--job", "also", metavar="JOB", multiple=True, help="As JOB without --job; may be repeated.")
@click.option("--user", metavar="USER", help="Only what this user did; 'scheduler' is the daemon itself.")
@click.option("--kind", "kinds", metavar="KIND", multiple=True, help="Only events of this kind; may be repeated.")
@click.option("--since", metavar="T", help="Only what happened since then: 2h (ago), yesterday, 'last week'.")
@click.option("--until", metavar="T", help="Only what happened before then.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--limit", metavar="N", help="At most the latest N. [default: 100; with --follow 10; with --since all]")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with who, from where, and what was before and after.")
@daemon_options
@click.pass_context
def events(
    ctx: click.Context,
    jobs: tuple[str, ...],
    also: tuple[str, ...],
    user: str | None,
    kinds: tuple[str, ...],
    since: str | None,
    until: str | None,
    follow: bool,
    limit: str | None,
    as_csv: bool,
    as_json: bool,
    socket: str | None,
    config: str | None,
) -> None:
    """Tell what happened to jobs (all, unless some are named) and to the daemon, in order.

    With --json, one object per line. You see what happened to your jobs, what you did, and what is about no job; root
    and the daemon's own user see all.

    \b
    greenrun events 12
    greenrun events --user ada --kind edited --since yesterday
    greenrun events --since "last week" --csv > events.csv
    greenrun events -f --json | jq .kind
    """
    reader = OptionReader()
    begin = reader.read("--since", since, _instant)
    end = reader.read("--until", until, _instant)
    most = reader.read("--limit", limit, whole)
    wanted = [kind for kind in (reader.read("--kind", kind, _kind) for kind in kinds) if kind is not None]
    if follow and until:
        reader.refuse("--until", "ends what --follow goes on with: give one of them")
    if as_csv and as_json:
        reader.refuse("--csv", "and --json are two forms: give one of them")
    reader.stop()
    client = connect(ctx, socket, config)
    words = (*jobs, *also)
    ids = [int(job["id"]) for job in selected(client, Chosen(words=words), "read")] if words else []
    asked = partial(client.all_events, ids, since=begin, until=end, user=user, kinds=wanted)
    write = print_json if as_json else _CsvWriter() if as_csv else _print
    usual = _PAGE * 10 if since else _BEFORE_FOLLOWING if follow else _LAST
    last = 0
    if sys.stdout.isatty() and write is _print:
        print(f"times in {zone_name(utc_now())}")
    for row in asked(limit=min(most or usual, _PAGE * 10)):
        write(row)
        last = int(row["id"])
    if not follow:
        if not last and write is _print:
            print("no events")
        return
    for row in _coming(asked, last):
        write(row)


def _instant(since: str) -> str:
    now = utc_now()
    begin = parse_past(since, now=now, zone=local_zone())
    if begin > now:
        raise ValueError(f"'{since}' lies ahead, and nothing has happened since; write it like {PAST_FORMS}")
    return iso_text(begin)


def _kind(word: str) -> str:
    return one_of(EventKind)(word.strip().lower().replace("-", "_"))


def _coming(asked: "Callable[..., list[Answer]]", last: int) -> "Iterator[Answer]":
    """Yield what happens after the event `last`, for ever; a daemon that is away for a minute is waited for."""
    from greenrun.client import NotReachable

    heard_s = time.monotonic()
    while True:
        try:
            rows = asked(after=last, limit=_PAGE)
            heard_s = time.monotonic()
        except NotReachable:
            if time.monotonic() - heard_s > _PATIENCE_S:
                raise
            rows = []
        for row in rows:
            last = int(row["id"])
            yield row
        if len(rows) < _PAGE:
            threading.Event().wait(_LOOK_EVERY_S)


def _print(row: "Answer") -> None:
    print_wrapped([event_text(row, utc_now())], _INDENT)
    sys.stdout.flush()


class _CsvWriter:
    """Writes events as lines of CSV, below the names of the columns."""

    def __init__(self) -> None:
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._writer.writerow(_COLUMNS)

    def __call__(self, row: "Answer") -> None:
        values = [row.get(name) for name in _COLUMNS]
        self._writer.writerow([json.dumps(value) if isinstance(value, dict) else value for value in values])
        sys.stdout.flush()


def event_text(row: Mapping[str, Any], now: datetime) -> str:
    """Return an event in a line: when, which job, what, what it was before, and by whom where that was a user."""
    at = clock_text(text.instant(row["at"]), now, seconds=True)
    about = f"job {row['job']}" if row["job"] is not None else "greenrun"
    by = "" if row["actor"] == SCHEDULER else f", by {row['actor']}"
    return text.printable(localized_text(f"{at}  {about}: {_what(row)}{_difference(row)}{by}", now))


def _difference(row: Mapping[str, Any]) -> str:
    """Return what changed of what users state, from what to what: of a job's state the words tell already."""
    before, after = row.get("before") or {}, row.get("after") or {}
    if row["kind"] not in _WITH_DIFFERENCE:
        return ""
    names = [name for name in {**before, **after} if name not in ("state", "retry_at", "progress_s")]
    found = [_from_to(name, before.get(name), after.get(name)) for name in names]
    return f" ({'; '.join(found)})" if found else ""


def _from_to(name: str, before: Any, after: Any) -> str:
    if before == after:  # a secret, of which nothing else is told
        return f"{name} {after}"
    return f"{name} {_value(before)} -> {_value(after)}"


def _value(value: Any) -> str:
    return "none" if value in (None, [], "") else str(value) if isinstance(value, str) else json.dumps(value)


def _what(row: Mapping[str, Any]) -> str:
    detail = row["detail"]
    found = _WORDS.get(row["kind"])
    try:
        said = found(detail) if found else ""
    except KeyError:  # of an earlier release, which noted less
        said = ""
    if said:
        return said
    facts = ", ".join(f"{name}={value}" for name, value in detail.items() if value not in (None, [], ""))
    said = str(row["kind"]).replace("_", " ")
    return said + (f" ({facts})" if facts and row["kind"] not in _WITH_DIFFERENCE else "")


def _claimed(detail: Mapping[str, Any]) -> str:
    devices = f" on {', '.join(detail['devices'])}" if detail["devices"] else ""
    return f"run {detail['number']} is being started{devices}: {detail.get('why') or text.code_text(detail['reason'])}"


def _ended(detail: Mapping[str, Any]) -> str:
    if "number" not in detail:
        return f"{detail['state']}{_because(detail)}"
    code = "" if detail["exit_code"] is None else f" with exit code {detail['exit_code']}"
    then = f"; the job is {detail['state']}" if detail["state"] != detail["outcome"] else ""
    return f"run {detail['number']} {detail['outcome'].replace('_', ' ')}{code}{_because(detail)}{then}"


def _because(detail: Mapping[str, Any]) -> str:
    said = text.code_text(detail["reason"])
    return f" ({said})" if said and said != detail.get("outcome") else ""


def _requeued(detail: Mapping[str, Any]) -> str:
    if "was" not in detail:
        return _ended(detail)
    return f"queued again; it was {detail['was']}" + (f"; {_changed(detail)}" if detail["changed"] else "")


def _changed(detail: Mapping[str, Any]) -> str:
    return f"changed: {', '.join(detail['changed']).replace('_', ' ')}"


def _drained(detail: Mapping[str, Any]) -> str:
    why = f": {detail['reason']}" if detail["reason"] else ""
    return f"{detail['device'] or 'the machine'} is drained{why}"


def _reservation(detail: Mapping[str, Any]) -> str:
    span = " to ".join(instant_text(text.instant(detail[edge])) for edge in ("start", "end"))
    why = f" ({detail['reason']})" if detail["reason"] else ""
    return f"reservation {detail['reservation']} of {', '.join(detail['devices'])} from {span}{why}"


def _anomaly(detail: Mapping[str, Any]) -> str:
    return f"anomaly {detail['anomaly']} {'began' if detail['began'] else 'is over'}: {detail['text']}"


def _token(detail: Mapping[str, Any]) -> str:
    named = f" ({detail['name']})" if detail["name"] else ""
    return f"token {detail['token']} of {detail['user']}{named}, for {detail['scope']},"


_WITH_DIFFERENCE = (
    EventKind.EDITED, EventKind.REQUEUED, EventKind.SETTINGS_CHANGED, EventKind.DEVICES_CHANGED
)  # fmt: skip
_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    EventKind.SUBMITTED: lambda detail: f"submitted to project {detail['project']}",
    EventKind.CLAIMED: _claimed,
    EventKind.STARTED: lambda detail: f"run {detail['number']} started",
    EventKind.REQUEUED: _requeued,
    EventKind.FINISHED: _ended,
    EventKind.EDITED: _changed,
    EventKind.CANCEL_REQUESTED: lambda detail: "cancellation requested",
    EventKind.START_NOW_REQUESTED: lambda detail: "start requested as soon as GPUs are free",
    EventKind.REASON_CHANGED: lambda detail: f"waits: {text.code_text(detail['reason'])}",
    EventKind.ANOMALY: _anomaly,
    EventKind.WORK_IGNORED: lambda detail: f"reported work ignored: {detail['text']}",
    EventKind.DAEMON_STARTED: lambda detail: f"the daemon started, version {detail['version']}",
    EventKind.DAEMON_STOPPED: lambda detail: f"the daemon stopped, {detail['running']} jobs left running",
    EventKind.DRAINED: _drained,
    EventKind.RESUMED: lambda detail: f"{detail['device'] or 'the machine'} is resumed",
    EventKind.RESERVED: lambda detail: f"{_reservation(detail)} is made",
    EventKind.RESERVATION_ENDED: lambda detail: f"{_reservation(detail)} is ended",
    EventKind.LIMIT_MISSED: lambda detail: "missed a limit of its user's",
    EventKind.PAUSE_ENDED: lambda detail: "may be tried again at once, since the clock was set back",
    EventKind.RUN_END_REQUESTED: lambda detail: f"the end of the stray run {detail['run']} was requested",
    EventKind.HISTORY_CHANGED: lambda detail: f"values of the past were kept ({detail['how']}, {detail['provider']})",
    EventKind.LIMIT_AT_RISK: lambda detail: (
        f"will miss its limit: it ends at {instant_text(text.instant(detail['expected_end']))} as it looks now"
    ),
    EventKind.SOURCE_LOST: lambda detail: (
        f"the source {detail['provider']} does not answer any more ({detail['cause']})"
    ),
    EventKind.SOURCE_BACK: lambda detail: f"the source {detail['provider']} answers again",
    EventKind.CONDITION_BEGAN: lambda detail: f"{detail['code'].replace('_', ' ')}: {detail['text']}",
    EventKind.CONDITION_OVER: lambda detail: f"{detail['code'].replace('_', ' ')} is over",
    EventKind.NOTIFICATION_FAILED: lambda detail: f"the hook {detail['hook']} could not be told: {detail['why']}",
    EventKind.SIGNED_IN: lambda detail: f"signed in by a browser, session {detail['session']}",
    EventKind.SIGNED_OUT: lambda detail: f"signed out of session {detail['session']}",
    EventKind.SESSION_REVOKED: lambda detail: f"session {detail['session']} of {detail['user']} is revoked",
    EventKind.TOKEN_CREATED: lambda detail: f"{_token(detail)} is created",
    EventKind.TOKEN_REVOKED: lambda detail: f"{_token(detail)} is revoked",
    EventKind.ACCESS_REFUSED: lambda detail: f"access was refused: the {detail['why']}",
    EventKind.EVENTS_DELETED: lambda detail: (
        f"{detail['deleted']} events from before {detail['before'][:10]} were deleted"
    ),
}
