"""Who waits at a terminal is told for what, once per change; a pipe hears nothing."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from greenrun.cli.jobs import waiting_teller
from greenrun.cli.jobs.waiting_teller import WaitingTeller
from tests.cli.conftest import Run
from tests.cli.examples import at, job, planned, run_of
from tests.fake_api import HANG_UP, Asked, FakeApi
from tests.patience import HANGS_S

FINISHED = job(state="succeeded", planned=None, runs=[run_of()], reason={"code": "succeeded", "text": "finished"})
LATER = planned(start="2031-01-05T20:30:00Z", end="2031-01-05T22:30:00Z")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal whose user is impatient."""
    monkeypatch.setattr(waiting_teller, "has_reader", lambda: True)
    monkeypatch.setattr(WaitingTeller.__init__, "__defaults__", (0.0,))


def in_turn(answers: list[dict[str, Any]]) -> Callable[[Asked], tuple[int, object]]:
    """Answer with one after the other, and again and again with the last."""
    return lambda asked: (200, answers.pop(0) if len(answers) > 1 else answers[0])


@pytest.mark.usefixtures("terminal")
def test_waiting_tells_the_planned_start_and_the_reason_and_each_change_of_them(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    figures = job(planned=LATER | {"g_per_kwh": 1.0}, reason={"code": "cleanest_window", "text": "other figures"})
    busy = job(planned=None, reason={"code": "gpus_busy", "text": "waits for 2 GPUs, expected at 2031-01-05 20:30:00Z"})
    going = job(state="running", planned=None, runs=[run_of(ended_at=None, outcome=None)])
    answers = [job(), job(planned=LATER), figures, busy, busy, going, going, FINISHED]
    api.answers["GET", "/v1/jobs/12"] = in_turn(answers)
    ran = run("wait", "12")
    lines = ran.err.splitlines()
    assert lines[0 if "2031" in lines[0] else 1] == (
        "waiting: job 12 is queued, planned for 2031-01-05 21:30 CET: waits for the cleanest free window"
    )
    assert "waiting: job 12 is queued: waits for 2 GPUs, expected at 2031-01-05 21:30" in lines
    assert [line for line in lines if line.startswith("waiting: job 12 runs since ")] == lines[-1:]
    assert "other figures" not in ran.err
    assert ran.out == "job 12 succeeded: finished\n"


def test_in_a_pipe_and_of_what_is_soon_over_nothing_is_said(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_terminal, patience_s in ((False, 0.0), (True, HANGS_S)):
        monkeypatch.setattr(WaitingTeller.__init__, "__defaults__", (patience_s,))
        monkeypatch.setattr(waiting_teller, "has_reader", lambda is_terminal=is_terminal: is_terminal)
        answers = [job(), job(), FINISHED]
        api.answers["GET", "/v1/jobs/12"] = lambda asked, answers=answers: (
            200,
            answers.pop(0) if answers else FINISHED,
        )
        assert run("wait", "12").err == ""


@pytest.mark.usefixtures("terminal")
def test_an_outage_is_told(api: FakeApi, run: Run) -> None:
    answers = [(200, job()), (200, job()), (HANG_UP, None), (200, job()), (200, FINISHED)]
    api.answers["GET", "/v1/jobs/12"] = lambda asked: answers.pop(0) if len(answers) > 1 else answers[0]
    err = run("wait", "12").err
    assert "waiting: the daemon does not answer; job 12 goes on, and the daemon is waited for\n" in err


@pytest.mark.usefixtures("terminal")
def test_who_follows_a_log_is_told_what_the_job_waits_for(api: FakeApi, run: Run) -> None:
    cancelled = job(state="cancelled", planned=None)
    asked_s: list[Asked] = []

    def answer(asked: Asked) -> tuple[int, object]:
        asked_s.append(asked)
        return 200, job(held=True, planned=None, reason={"code": "held", "text": "held by ada"}) if len(
            asked_s
        ) < 3 else cancelled

    api.answers["GET", "/v1/jobs/12"] = answer
    ran = run("logs", "-f", "12")
    assert ran.err.splitlines()[0] == "waiting: job 12 is queued: held by ada"
    assert ran.code == 1


def test_a_job_that_starts_now_is_said_to() -> None:
    now = waiting_teller.utc_now()
    said = waiting_teller.waiting_text(job(planned=planned(start=at(seconds=-1))), now)
    assert said == "job 12 is queued, starts now: waits for the cleanest free window"
