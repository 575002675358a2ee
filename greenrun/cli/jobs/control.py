"""`greenrun wait`, `cancel`, `hold`, `release`, `start-now` and `approve`: act on jobs, several at a time."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import click

from greenrun.cli.command import FAILED, OK, USAGE, Command, LocalError, WaitTimedOut, print_error
from greenrun.cli.jobs.addressing import Chosen, chosen, job_filters, selected
from greenrun.cli.jobs.waiting_teller import WaitingTeller
from greenrun.cli.options import connect, daemon_options, print_json
from greenrun.cli.text import reason_text
from greenrun.core.jobs.job import FINISHED, MOST_TOGETHER, Outcome, State
from greenrun.submission.times import parse_duration

if TYPE_CHECKING:
    from greenrun.client import Answer, ApiClient

_LOOK_EVERY_S = (0.1, 1.0)  # soon at first, then at this pace
_RETRY_LIMIT_S = 60.0  # a daemon that restarts while we wait is back well within this


@click.command("cancel", cls=Command)
@job_filters
@daemon_options
@click.pass_context
def cancel(ctx: click.Context, /, as_json: bool, socket: str | None, config: str | None, **named: Any) -> None:
    """Cancel jobs: a waiting one leaves the queue, a running one gets TERM, its grace, then KILL.

    With --json, one object per line.

    \b
    greenrun cancel 12 13
    greenrun cancel 20-29 sweep[7-9]
    greenrun cancel --project vision --state queued
    """
    picked = chosen(**named)
    _each(picked, connect(ctx, socket, config).cancel_many, as_json)


@click.command("hold", cls=Command)
@job_filters
@daemon_options
@click.pass_context
def hold(ctx: click.Context, /, as_json: bool, socket: str | None, config: str | None, **named: Any) -> None:
    """Keep waiting jobs from starting until they are released.

    With --json, one object per line.

    \b
    greenrun hold 12
    greenrun hold train
    """
    picked = chosen(**named)
    _each(picked, connect(ctx, socket, config).hold_many, as_json)


@click.command("release", cls=Command)
@job_filters
@daemon_options
@click.pass_context
def release(ctx: click.Context, /, as_json: bool, socket: str | None, config: str | None, **named: Any) -> None:
    """Let held jobs go: they are planned again.

    With --json, one object per line.

    \b
    greenrun release 12
    greenrun release --all
    """
    picked = chosen(**named)
    _each(picked, connect(ctx, socket, config).release_many, as_json)


@click.command("start-now", cls=Command)
@job_filters
@daemon_options
@click.pass_context
def start_now(ctx: click.Context, /, as_json: bool, socket: str | None, config: str | None, **named: Any) -> None:
    """Start waiting jobs as soon as GPUs are free, whatever the grid does; they are still measured.

    With --json, one object per line.

    \b
    greenrun start-now 12
    """
    picked = chosen(**named)
    _each(picked, connect(ctx, socket, config).start_now_many, as_json)


@click.command("approve", cls=Command)
@job_filters
@daemon_options
@click.pass_context
def approve(ctx: click.Context, /, as_json: bool, socket: str | None, config: str | None, **named: Any) -> None:
    """Let waiting jobs start although a budget has no room for them, as an admin.

    What they use is charged all the same. With --json, one object per line.

    \b
    greenrun approve 12
    """
    picked = chosen(**named)
    _each(picked, connect(ctx, socket, config).approve_many, as_json)


def _each(picked: Chosen, order: "Callable[..., list[Answer]]", as_json: bool) -> None:
    """Send one request for all jobs, tell what came of each, and exit with the first failure's exit code."""
    words = picked.ids or picked.words
    parts = [words[at : at + MOST_TOGETHER] for at in range(0, len(words), MOST_TOGETHER)] or [()]
    rows = [row for part in parts for row in order(part, **picked.filters)]
    codes = [_told(row, as_json) for row in rows]
    if len(rows) == 1 and picked.ids and not as_json:
        _tell_of_array(rows[0]["job"])
    raise click.exceptions.Exit(next((code for code in codes if code), OK))


def _tell_of_array(job: "Answer | None") -> None:
    """Say how to name all jobs of an array to somebody who may have taken a number for that."""
    size = ((job or {}).get("array") or {}).get("size", 1)
    if job and size > 1:
        number = job["id"]
        print(f"note: job {number} is one of the {size} jobs of its array; {number}[] names them all", file=sys.stderr)


def _told(row: "Answer", as_json: bool) -> int:
    from greenrun.client import error_of

    if row["problem"]:
        return print_error(error_of(row["problem"]), as_json=as_json)
    print_json(row["job"]) if as_json else print(_line(row["job"]))
    return OK


def _line(job: "Answer") -> str:
    reason = reason_text(job)
    return f"job {job['id']} {job['state']}: {reason}" if reason else f"job {job['id']} {job['state']}"


@click.command("wait", cls=Command)
@job_filters
@click.option("--timeout", metavar="D", help="Give up after this long, with exit code 6.")
@daemon_options
@click.pass_context
def wait(
    ctx: click.Context,
    /,
    timeout: str | None,
    as_json: bool,
    socket: str | None,
    config: str | None,
    **named: Any,
) -> None:
    """Wait until jobs are finished, and exit with their exit code.

    For several jobs that is the first exit code that is not 0, in the order given; a job that ended without one (lost,
    expired, cancelled before it ran) counts as 1. A daemon that restarts meanwhile is waited for. With --json, one
    object per line.

    \b
    greenrun wait 12 && ./publish.sh
    greenrun wait 12-14 --timeout 2h
    greenrun wait sweep && ./publish.sh
    """
    limit_s, picked = _seconds(timeout), chosen(**named)
    client = connect(ctx, socket, config)
    ids = [int(job["id"]) for job in selected(client, picked, "wait")]  # a wrong one is reported at once
    raise click.exceptions.Exit(wait_for(client, ids, limit_s, as_json))


def wait_for(
    client: "ApiClient", ids: Sequence[int], limit_s: float | None, as_json: bool, *, quiet: bool = False
) -> int:
    """Tell of each job once it is finished; return the first exit code that is not 0; raise WaitTimedOut."""
    until_s = None if limit_s is None else time.monotonic() + limit_s
    codes = []
    for job in ids:
        answer = _finished(client, job, until_s)
        if not quiet:
            print_json(answer) if as_json else print(_line(answer), flush=True)
        codes.append(job_exit_code(answer))
    return next((code for code in codes if code), OK)


def _seconds(timeout: str | None) -> float | None:
    try:
        return parse_duration(timeout).total_seconds() if timeout else None
    except ValueError as exc:
        raise LocalError(f"--timeout: {exc}", USAGE) from exc


def _finished(client: "ApiClient", job: int, until_s: float | None) -> "Answer":
    pause_s, most_s = _LOOK_EVERY_S
    retrying, teller = RetryingClient(client), WaitingTeller()
    while (answer := retrying.job(job))["state"] not in FINISHED:
        teller.tell(answer) if retrying.answers else teller.tell_outage(job)
        left_s = pause_s if until_s is None else until_s - time.monotonic()
        if left_s <= 0:
            raise WaitTimedOut(f"job {job} is still {answer['state']}; it goes on, only the waiting ended")
        threading.Event().wait(min(pause_s, left_s))
        pause_s = min(most_s, pause_s * 1.5)
    return answer


class RetryingClient:
    """Reads a job from the daemon, and tolerates outages of the daemon once it has answered."""

    def __init__(self, client: "ApiClient", limit_s: float = _RETRY_LIMIT_S) -> None:
        self._client = client
        self._limit_s = limit_s
        self._last: Any = None
        self._answered_s = time.monotonic()
        self.answers = True

    def job(self, job: int) -> "Answer":
        """Return the job; while the daemon is unreachable, its last known state, for at most `limit_s` seconds."""
        from greenrun.client import NotReachable

        try:
            self._last, self._answered_s = self._client.job(job), time.monotonic()
            self.answers = True
        except NotReachable:
            self.answers = False
            if self._last is None or time.monotonic() - self._answered_s > self._limit_s:
                raise
        return cast("Answer", self._last)


def job_exit_code(job: "Answer") -> int:
    """Return the exit code that a finished job gives to `wait`: its own, 1 when it has none or failed with 0."""
    last = job["runs"][-1] if job["runs"] else None
    own = last["exit_code"] if last and last["outcome"] != Outcome.CHECKPOINTED else None
    if job["state"] == State.SUCCEEDED:
        return own or OK
    return own or FAILED
