"""`greenrun events` tells what happened in lines, from the API's events, and goes on with what happens."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from greenrun.cli.jobs import events
from greenrun.cli.jobs.events import event_text
from greenrun.cli.text import code_text
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.jobs.transitions import EventKind
from tests.cli.conftest import Run
from tests.cli.examples import job
from tests.fake_api import HANG_UP, Asked, FakeApi

NOW = datetime(2026, 3, 2, 18, tzinfo=UTC)


def event(id: int = 1, kind: str = "held", **own: Any) -> dict[str, Any]:
    parts = {"at": "2026-03-02T12:00:05Z", "actor": "scheduler", "job": 12, "run": None, "detail": {}}
    return {"id": id, "kind": kind, **parts, **own}


@pytest.mark.parametrize(
    ("kind", "detail", "told"),
    [
        ("submitted", {"project": "vision"}, "submitted to project vision"),
        ("claimed", {"number": 2, "devices": ["GPU-1"], "reason": "due", "why": "its window has come"},
         "run 2 is being started on GPU-1: its window has come"),
        ("started", {"number": 2}, "run 2 started"),
        ("requeued", {"number": 1, "outcome": "failed", "exit_code": 7, "state": "queued", "reason": "retry_pause"},
         "run 1 failed with exit code 7 (retry pause); the job is queued"),
        ("requeued", {"changed": ["priority", "time_limit"], "state": "queued", "was": "failed"},
         "queued again; it was failed; changed: priority, time limit"),
        ("finished", {"number": 1, "outcome": "succeeded", "exit_code": 0, "state": "succeeded", "reason": "succeeded"},
         "run 1 succeeded with exit code 0"),
        ("finished", {"state": "expired", "reason": "expired"}, "expired"),
        ("edited", {"changed": ["max_delay"]}, "changed: max delay"),
        ("cancel_requested", {}, "cancellation requested"),
        ("reason_changed", {"reason": "held", "before": None}, "waits: held"),
        ("reason_changed", {"reason": "gpus_busy", "before": "held"}, "waits: GPUs are busy"),
        ("reason_changed", {"reason": "waits_for", "before": None}, "waits: jobs that it is to run after"),
        ("reason_changed", {"reason": "gpus_lost", "before": "held"}, "waits: GPUs are lost"),
        ("finished", {"number": 3, "outcome": "failed", "exit_code": 85, "state": "failed", "reason": "no_progress"},
         "run 3 failed with exit code 85 (made no progress)"),
        ("drained", {"device": "GPU-1", "reason": "fan"}, "GPU-1 is drained: fan"),
        ("resumed", {"device": None, "reason": ""}, "the machine is resumed"),
        ("limit_missed", {"limit": None}, "missed a limit of its user's"),
        ("run_end_requested", {"run": "12.1", "devices": []}, "the end of the stray run 12.1 was requested"),
        ("history_changed", {"how": "import", "provider": "uk"}, "values of the past were kept (import, uk)"),
        ("events_deleted", {"before": "2026-03-01T00:00:00.000000Z", "deleted": 7},
         "7 events from before 2026-03-01 were deleted"),
        ("of_a_later_release", {"a": 1, "b": None}, "of a later release (a=1)"),
        ("finished", {"outcome": "failed", "number": 1}, "finished (outcome=failed, number=1)"),
    ],
)  # fmt: skip
def test_an_event_is_a_line(kind: str, detail: dict[str, Any], told: str) -> None:
    assert event_text(event(kind=kind, detail=detail), NOW) == f"12:00:05  job 12: {told}"
    assert event_text(event(kind=kind, detail=detail, actor="ada"), NOW) == f"12:00:05  job 12: {told}, by ada"


def test_what_changed_is_told_from_what_to_what() -> None:
    told = event(
        kind="edited", detail={"changed": ["priority", "finish_by"]}, actor="ada",
        before={"priority": 1, "finish_by": None}, after={"priority": 5, "finish_by": "2026-03-03T00:00:00Z"},
    )  # fmt: skip
    assert event_text(told, NOW) == (
        "12:00:05  job 12: changed: priority, finish by "
        "(priority 1 -> 5; finish_by none -> 2026-03-03T00:00:00Z), by ada"
    )
    tick = event(kind="settings_changed", job=None, before={"planner.tick": "5s"}, after={"planner.tick": "7s"})
    assert event_text(tick, NOW) == "12:00:05  greenrun: settings changed (planner.tick 5s -> 7s)"
    key = event(kind="settings_changed", job=None, before={"maps (key)": "changed"}, after={"maps (key)": "changed"})
    assert event_text(key, NOW) == "12:00:05  greenrun: settings changed (maps (key) changed)"


def test_when_a_limit_is_missed_is_told_as_all_instants_are() -> None:
    risk = event(kind="limit_at_risk", detail={"limit": None, "expected_end": "2026-03-02T13:30:00.295703Z"})
    assert event_text(risk, NOW) == "12:00:05  job 12: will miss its limit: it ends at 13:30 as it looks now"


def test_filters_are_the_apis_and_csv_has_every_column(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs/select", [job(4)])
    api.get("/v1/events", [event(1, actor="ada", uid=1000, pid=77, before={"held": False}, after={"held": True})])
    ran = run("events", "--job", "sweep", "--user", "ada", "--kind", "Cancel-Requested", "--kind", "held", "--csv")
    assert (ran.err, ran.out.splitlines()) == (
        "",
        [
            "id,at,kind,job,run,actor,uid,pid,address,before,after,detail",
            '1,2026-03-02T12:00:05Z,held,12,,ada,1000,77,,"{""held"": false}","{""held"": true}",{}',
        ],
    )
    query = {"job": ["4"], "user": ["ada"], "kind": ["cancel_requested", "held"], "limit": ["100"]}
    assert api.asked[-1].query == query
    api.get("/v1/events", [])
    assert run("events", "--csv").out.count("\n") == 1
    wrong = run("events", "--kind", "hold", "-f", "--until", "1h")
    assert wrong.code == 2
    assert "--kind: 'hold' is none of submitted, claimed" in wrong.err
    assert "--until: ends what --follow goes on with" in wrong.err
    assert "are two forms: give one of them" in run("events", "--csv", "--json").err


def test_every_reason_reads_well_where_its_code_alone_is_known() -> None:
    """A code in small letters, or one that breaks off before the job it is about, is no reason for a person."""
    said = {code: code_text(code) for code in ReasonCode}
    assert [code for code, words in said.items() if "gpus" in words or words.endswith((" for", " short"))] == [
        ReasonCode.FORECAST_TOO_SHORT
    ]


@pytest.mark.parametrize("width", [60, 80])
def test_an_event_is_broken_between_words_where_the_terminal_ends(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    why = "its user asked for a start as soon as GPUs are free"
    detail = {"number": 2, "devices": ["GPU-aaaa"], "reason": "asked_now", "why": why}
    api.get("/v1/events", [event(kind="claimed", detail=detail)])
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run("events").out.splitlines()
    assert max(map(len, lines)) <= width
    assert " ".join(" ".join(lines).split()).endswith(f"run 2 is being started on GPU-aaaa: {why}")
    assert [line[:10] for line in lines[1:]] == [" " * 10] * (len(lines) - 1)
    assert len(lines) > 1


def test_every_kind_of_event_has_words() -> None:
    for kind in EventKind:
        assert "12:00:05  greenrun: " in event_text(event(kind=kind.value, job=None), NOW)


def test_the_daemon_s_own_events_are_told() -> None:
    started = event(kind="daemon_started", job=None, detail={"version": "1.2"})
    assert event_text(started, NOW) == "12:00:05  greenrun: the daemon started, version 1.2"


def test_events_of_jobs_that_are_named_as_people_do_since_a_time_of_the_past(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs/select", [job(4), job(5)])
    api.get("/v1/events", [event(1, "held", actor="ada"), event(2, "released", actor="ada")])
    ran = run("events", "sweep", "--since", "2026-03-01T00:00Z")
    assert (ran.code, [line.partition(": ")[2] for line in ran.out.splitlines()]) == (
        0,
        ["held, by ada", "released, by ada"],
    )
    assert api.asked[1].query == {"job": ["4", "5"], "since": ["2026-03-01T00:00:00Z"], "limit": ["10000"]}
    lines = run("events", "--json").out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [1, 2]
    assert api.asked[-1].query == {"limit": ["100"]}
    assert "--since: 'soonish'" in run("events", "--since", "soonish").err


def test_following_goes_on_behind_the_last_event_and_over_an_outage(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_LOOK_EVERY_S", 0.01)
    answers: Iterator[tuple[int, Any]] = iter(
        [(200, [event(7)]), (200, []), (HANG_UP, None), (200, [event(8), event(9)]), (404, {"detail": "enough"})]
    )

    def answer(asked: Asked) -> tuple[int, Any]:
        return next(answers)

    api.answers["GET", "/v1/events"] = answer
    ran = run("events", "-f", "--json")
    assert [json.loads(line)["id"] for line in ran.out.splitlines()] == [7, 8, 9]
    assert [asked.query.get("after") for asked in api.asked] == [None, ["7"], ["7"], ["7"], ["9"]]


def test_a_quiet_past_is_said_and_a_time_ahead_refused(api: FakeApi, run: Run) -> None:
    api.get("/v1/events", [])
    assert run("events").out == "no events\n"
    assert run("events", "--json").out == ""
    ran = run("events", "--since", "tomorrow", "--limit", "none")
    assert ran.code == 2
    assert "--since: 'tomorrow' lies ahead" in ran.err
    assert "--limit: 'none' is not a whole number from 1 up" in ran.err
