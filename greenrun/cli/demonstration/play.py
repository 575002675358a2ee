"""`greenrun demo`: start a daemon in a temporary folder, submit jobs, watch them, account for them, and clean up."""

import shlex
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from greenrun.charts.terminal import Step
from greenrun.cli.access.web import sign_in_address
from greenrun.cli.command import FAILED, OK, Command, LocalError
from greenrun.cli.demonstration.baseline import account
from greenrun.cli.demonstration.lines import Lines
from greenrun.cli.demonstration.sandbox import Sandbox, open_sandbox
from greenrun.cli.demonstration.scenario import DEMO_JOBS, SOCKET, SPEED
from greenrun.cli.demonstration.summary import print_report
from greenrun.cli.demonstration.trace import Replay, replay_of
from greenrun.cli.demonstration.view import View, is_finished, is_live
from greenrun.cli.text import instant
from greenrun.client import ClientError
from greenrun.clock import utc_now
from greenrun.core.jobs.job import State

if TYPE_CHECKING:
    from greenrun.cli.demonstration.screen import Screen

BEAT_S = 0.3
PLAY_LIMIT_S, SETTLE_LIMIT_S = 76.0, 86.0  # both from the demo's own start


@click.command("demo", cls=Command)
@click.option("--keep", is_flag=True, help="Leave the daemon and its folder when it is over.")
@click.option("--plain", is_flag=True, help="Print a line per change, also on a terminal.")
def demo(keep: bool, plain: bool) -> None:
    """Watch a real daemon run eight real processes when a made-up grid is clean; it takes little more than a minute.

    The grid is synthetic (a day passes in a minute) and the GPUs are emulated. It needs no settings, uses a temporary
    folder, and leaves nothing behind. The exit code is 0 when every job succeeded and none was late.

    \b
    greenrun demo
    greenrun demo --keep
    """
    raise click.exceptions.Exit(play(keep=keep, plain=plain))


def play(*, keep: bool, plain: bool) -> int:
    """Run the demo; return 0 when every job succeeded and none was late, else 1; raise GreenrunError."""
    began_s = monotonic()
    with open_sandbox(keep=keep) as sandbox:
        try:
            code = _play(sandbox, began_s, plain=plain)
        except ClientError as exc:
            raise LocalError(f"The demo's daemon failed, so the demo ends here: {exc}. {sandbox.tail()}") from exc
        print(_kept(sandbox) if keep else _gone(sandbox))
    return code


def _play(sandbox: Sandbox, began_s: float, *, plain: bool) -> int:
    page_url = sign_in_address(sandbox.client.ticket())
    observer = Observer(sandbox, page_url)
    with _display(sandbox, page_url, plain=plain) as display:
        for demo_job in DEMO_JOBS:
            sandbox.client.submit(demo_job.request(utc_now(), sandbox.folder))
            display.show(observer.look())
        while not all(map(is_finished, (view := observer.look()).jobs)) and monotonic() < began_s + PLAY_LIMIT_S:
            display.show(view)
            threading.Event().wait(BEAT_S)
        display.show(view)
    return _account(sandbox, observer, view, began_s)


def _display(sandbox: Sandbox, page_url: str, *, plain: bool) -> "Lines | Screen":
    if plain:
        return Lines(page_url, sandbox.metrics_url)
    from rich.console import Console

    from greenrun.cli.demonstration.screen import Screen, can_draw

    console = Console()
    return Screen(console) if can_draw(console) else Lines(page_url, sandbox.metrics_url)


class Observer:
    """Observes the daemon through its API, and remembers past hours of the grid and the reasons for starts."""

    def __init__(self, sandbox: Sandbox, page_url: str) -> None:
        self._client = sandbox.client
        self._page_url = page_url
        self._gpus = [device["id"] for device in sandbox.client.devices() if device["kind"] == "gpu"]
        self._steps: dict[datetime, Step] = {}
        self._why: dict[int, dict[str, Any]] = {}
        self._learn()
        self.replay = self._find_replay(sandbox)

    def look(self) -> View:
        """Return the present view, from the daemon."""
        self._learn()
        jobs = sorted(self._client.jobs(), key=lambda job: int(job["id"]))
        self._why |= {job["id"]: job["reason"] for job in jobs if is_live(job)}
        now = utc_now()
        return View(
            now=now,
            began=min((instant(job["submitted_at"]) for job in jobs), default=now),
            jobs=jobs,
            steps=list(self._steps.values()),
            gpus=self._gpus,
            replay=self.replay,
            page_url=self._page_url,
            why=dict(self._why),
        )

    def _learn(self) -> None:
        for slot in self._client.forecast()["slots"]:
            start = instant(slot["start"])
            self._steps[start] = Step(start, instant(slot["end"]), slot["g_per_kwh"])

    def _find_replay(self, sandbox: Sandbox) -> Replay:
        found = replay_of(sandbox.trace, list(self._steps.values()), SPEED)
        if found is None:
            raise LocalError(f"The daemon forecasts something else than the demo's grid. {sandbox.tail()}")
        return found


def _account(sandbox: Sandbox, observer: Observer, view: View, began_s: float) -> int:
    """Wait until the books are settled, print the report, and return the exit code."""
    while not all(map(_is_settled, view.jobs)) and monotonic() < began_s + SETTLE_LIMIT_S:
        threading.Event().wait(BEAT_S)
        view = observer.look()
    entries = {job["id"]: sandbox.client.ledger(job["id"]) for job in view.jobs}
    lines = account(view.jobs, entries, observer.replay.on_the_wall(), len(view.gpus))
    print()
    print_report(lines)
    failed = [line.name for line in lines if line.state != State.SUCCEEDED]
    late = [line.name for line in lines if line.is_late]
    if failed or late:
        print(_blame(failed, late))
    return FAILED if failed or late else OK


def _is_settled(job: Mapping[str, Any]) -> bool:
    return bool(job["runs"]) and job["runs"][-1]["emissions_settled_g"] is not None


def _blame(failed: Sequence[str], late: Sequence[str]) -> str:
    parts = [f"{' and '.join(failed)} did not succeed"] if failed else []
    parts += [f"{' and '.join(late)} broke a limit"] if late else []
    return f"\nThe demo failed: {'; '.join(parts)}. A machine that is very busy can be the cause; try again."


def _gone(sandbox: Sandbox) -> str:
    return (
        f"\nIts page and its metrics ({sandbox.metrics_url}) go now, with the daemon;\n"
        "`greenrun demo --keep` leaves it running."
    )


def _kept(sandbox: Sandbox) -> str:
    folder = shlex.quote(str(sandbox.folder))
    socket = shlex.quote(str(sandbox.folder / SOCKET))
    return f"""
The daemon (process {sandbox.pid}) runs on in {sandbox.folder}. Look at it:
  export GREENRUN_SOCKET={socket}
  greenrun list --all
  greenrun explain 5
  greenrun web --print
  greenrun submit --duration 5s -- sleep 5
  curl {sandbox.metrics_url}
and stop it, which removes all of it:
  kill {sandbox.pid} && sleep 3 && rm -r {folder}"""
