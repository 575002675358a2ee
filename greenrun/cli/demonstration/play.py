"""The demo from curtain to curtain: start a daemon, submit, watch, account, and clear away."""

import shlex
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from greenrun.charts.terminal import Step
from greenrun.cli.command import FAILED, OK, LocalError
from greenrun.cli.demonstration.accounts import account
from greenrun.cli.demonstration.lines import Lines
from greenrun.cli.demonstration.report import print_report
from greenrun.cli.demonstration.scene import ACTS, SOCKET, SPEED
from greenrun.cli.demonstration.stage import Stage, raised
from greenrun.cli.demonstration.trace import Replay, replay_of
from greenrun.cli.demonstration.view import View, is_finished, is_live
from greenrun.cli.text import instant
from greenrun.client import ClientError
from greenrun.clock import utc_now
from greenrun.core.jobs.job import State

if TYPE_CHECKING:
    from greenrun.cli.demonstration.screen import Screen

BEAT_S = 0.3
PLAY_LIMIT_S, SETTLE_LIMIT_S = 76.0, 5.0  # the first from the demo's own start


def play(*, keep: bool, plain: bool) -> int:
    """Run the demo; return 0 when every job succeeded and none was late, else 1. Raises GreenrunError, telling why."""
    curtain = monotonic() + PLAY_LIMIT_S
    with raised(keep=keep) as stage:
        try:
            code = _play(stage, curtain, plain=plain)
        except ClientError as exc:
            raise LocalError(f"The demo's daemon failed, so the demo ends here: {exc}. {stage.tail()}") from exc
        print(_kept(stage) if keep else _gone(stage))
    return code


def _play(stage: Stage, curtain: float, *, plain: bool) -> int:
    witness = Witness(stage)
    with _audience(stage, plain=plain) as audience:
        for act in ACTS:
            stage.client.submit(act.request(utc_now(), stage.folder))
            audience.show(witness.look())
        while not all(map(is_finished, (view := witness.look()).jobs)) and monotonic() < curtain:
            audience.show(view)
            threading.Event().wait(BEAT_S)
        audience.show(view)
    return _account(stage, witness, view)


def _audience(stage: Stage, *, plain: bool) -> "Lines | Screen":
    if plain:
        return Lines(stage.metrics_url)
    from rich.console import Console

    from greenrun.cli.demonstration.screen import Screen, can_draw

    console = Console()
    return Screen(console) if can_draw(console) else Lines(stage.metrics_url)


class Witness:
    """Looks at the daemon through its API, and remembers what it told of hours gone by and of starts."""

    def __init__(self, stage: Stage) -> None:
        self._client = stage.client
        self._metrics_url = stage.metrics_url
        self._gpus = [device["id"] for device in stage.client.devices() if device["kind"] == "gpu"]
        self._steps: dict[datetime, Step] = {}
        self._why: dict[int, dict[str, Any]] = {}
        self._learn()
        self.replay = self._find_replay(stage)

    def look(self) -> View:
        """Ask the daemon how everything stands."""
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
            metrics_url=self._metrics_url,
            why=dict(self._why),
        )

    def _learn(self) -> None:
        for slot in self._client.forecast()["slots"]:
            start = instant(slot["start"])
            self._steps[start] = Step(start, instant(slot["end"]), slot["g_per_kwh"])

    def _find_replay(self, stage: Stage) -> Replay:
        found = replay_of(stage.trace, list(self._steps.values()), SPEED)
        if found is None:
            raise LocalError(f"The daemon forecasts something else than the demo's grid. {stage.tail()}")
        return found


def _account(stage: Stage, witness: Witness, view: View) -> int:
    """Wait until the books are settled, print the report, and return the exit code."""
    end = monotonic() + SETTLE_LIMIT_S
    while not all(map(_is_settled, view.jobs)) and monotonic() < end:
        threading.Event().wait(BEAT_S)
        view = witness.look()
    entries = {job["id"]: stage.client.ledger(job["id"]) for job in view.jobs}
    lines = account(view.jobs, entries, witness.replay.on_the_wall(), len(view.gpus))
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


def _gone(stage: Stage) -> str:
    return (
        f"\nIts metrics were at {stage.metrics_url} and go now, with the daemon;\n"
        "`greenrun demo --keep` leaves it running."
    )


def _kept(stage: Stage) -> str:
    folder = shlex.quote(str(stage.folder))
    socket = shlex.quote(str(stage.folder / SOCKET))
    return f"""
The daemon (process {stage.pid}) runs on in {stage.folder}. Look at it:
  export GREENRUN_SOCKET={socket}
  greenrun list --all
  greenrun explain 5
  greenrun submit --duration 5s -- sleep 5
  curl {stage.metrics_url}
and stop it, which removes all of it:
  kill {stage.pid} && sleep 3 && rm -r {folder}"""
