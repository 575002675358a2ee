"""What nobody did becomes an event: a limit at risk, a source that is lost or back, a condition; each told once."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.conditions import Condition, ConditionCode, Effect
from greenrun.core.errors import StoreError
from greenrun.core.jobs.job import Job, JobSpec, Run, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.jobs.trail import EventKind, NewEvent
from greenrun.core.planning.model import Placement, Plan
from greenrun.engine.polling import RequestCounts
from greenrun.notifications.watching import (
    AT_RISK_FOR,
    FAILURES,
    OVER_FOR,
    ConditionWatch,
    RiskWatch,
    SourceWatch,
    Watch,
)
from greenrun.store import Store
from tests.notifications.build import NOW

HOUR = timedelta(hours=1)
FULL = Condition(code=ConditionCode.DISK_FULL, effect=Effect.WARNING, text="full", remedy="make room", since=NOW)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


def submitted(store: Store, **limits: Any) -> Job:
    spec = JobSpec(command=("true",), workdir="/", duration=HOUR, **limits)
    return store.jobs.add_job(spec, user="ada", uid=1000, now=NOW)[0]


def plan(job: Job, start: datetime) -> Plan:
    why = because(ReasonCode.ASKED_NOW)
    place = Placement(job_id=job.id, pool="cpu", gpus=0, start=start, end=start + HOUR, reason=why)
    return Plan(made_at=NOW, placements=(place,))


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def risks(watch: RiskWatch, job: Job, planned: Plan, now: datetime, live: tuple[Run, ...] = ()) -> list[NewEvent]:
    return [event for _, event in watch.look({job.id: job}, live, planned, now)]


def test_a_job_that_is_planned_past_its_limit_for_half_a_minute_is_told_once_and_again_with_another_limit(
    store: Store,
) -> None:
    job = submitted(store, finish_by=NOW + 2 * HOUR)
    late = plan(job, NOW + 3 * HOUR)
    watch = RiskWatch({})
    assert risks(watch, job, late, NOW) == []
    (event,) = risks(watch, job, late, NOW + AT_RISK_FOR)
    assert event.detail == {"limit": "2026-11-23T05:00:00Z", "expected_end": "2026-11-23T07:00:00Z"}
    assert risks(watch, job, late, after(60)) == []
    edited = replace(job, spec=replace(job.spec, finish_by=NOW + 2.5 * HOUR))
    assert [row.detail["limit"] for row in risks(watch, edited, late, after(90))] == ["2026-11-23T05:30:00Z"]


def test_a_risk_that_passes_meanwhile_is_not_told(store: Store) -> None:
    job = submitted(store, max_delay=HOUR)
    watch = RiskWatch({})
    for at, start in ((0, 3 * HOUR), (20, timedelta(0)), (40, 3 * HOUR), (60, 3 * HOUR)):
        assert risks(watch, job, plan(job, NOW + start), after(at)) == []


def test_a_run_that_takes_too_long_is_a_risk_before_it_is_late(store: Store) -> None:
    job = submitted(store, finish_by=NOW + HOUR / 2)
    run = Run(id=1, job_id=job.id, number=1, token="t", devices=(), claimed_at=NOW, started_at=NOW)
    watch = RiskWatch({})
    risks(watch, job, Plan(made_at=NOW), NOW, (run,))
    (event,) = risks(watch, job, Plan(made_at=NOW), NOW + AT_RISK_FOR, (run,))
    assert event.detail["expected_end"] == "2026-11-23T04:00:00Z"


def test_a_run_that_has_outlasted_its_estimate_near_its_limit_is_a_risk_before_it_is_late(store: Store) -> None:
    """The estimate is only a tenth beyond the last one, which is within the limit until that has passed."""
    job = submitted(store, finish_by=NOW + 1.2 * HOUR)
    job = replace(job, state=State.RUNNING)
    run = Run(id=1, job_id=job.id, number=1, token="t", devices=(), claimed_at=NOW, started_at=NOW)
    watch, limit = RiskWatch({}), NOW + 1.2 * HOUR
    found = [risks(watch, job, Plan(made_at=NOW), limit - timedelta(seconds=left), (run,)) for left in (600, 40, 29, 5)]
    assert [len(events) for events in found] == [0, 0, 1, 0]
    assert found[2][0].detail["expected_end"] > "2026-11-23T04:12:01Z"


def test_a_run_that_started_in_time_is_no_risk_however_long_it_takes(store: Store) -> None:
    job = replace(submitted(store, max_delay=HOUR), state=State.RUNNING)
    run = Run(id=1, job_id=job.id, number=1, token="t", devices=(), claimed_at=NOW, started_at=NOW)
    watch = RiskWatch({})
    assert [risks(watch, job, Plan(made_at=NOW), NOW + hours * HOUR, (run,)) for hours in (1.99, 2.01, 9)] == [
        [],
        [],
        [],
    ]


def test_of_a_limit_that_is_near_is_told_at_once(store: Store) -> None:
    job = submitted(store, finish_by=after(20))
    (event,) = risks(RiskWatch({}), job, plan(job, NOW), after(1))
    assert event.kind == EventKind.LIMIT_AT_RISK


def test_a_job_without_a_limit_of_its_users_is_never_at_risk(store: Store) -> None:
    job = submitted(store)
    watch = RiskWatch({})
    assert [risks(watch, job, plan(job, NOW + 99 * HOUR), after(at)) for at in (0, 60)] == [[], []]


def asked(counts: RequestCounts, name: str, *, fails: bool) -> None:
    counts.requests[name] += 1
    if fails:
        counts.failures[name, "ProviderUnavailable"] += 1


def test_a_source_is_lost_after_failures_in_a_row_and_back_with_an_answer() -> None:
    counts = RequestCounts()
    watch = SourceWatch(counts)
    found = []
    for fails in [False, *[True] * (FAILURES - 1), False, *[True] * (FAILURES + 2), False, False]:
        asked(counts, "uk", fails=fails)
        found.append([(row.kind.value, row.detail["provider"]) for row in watch.look(NOW)])
    lost, back = [("source_lost", "uk")], [("source_back", "uk")]
    assert found == [[]] * (1 + FAILURES - 1 + 1 + FAILURES - 1) + [lost, [], [], back, []]


def test_a_source_that_never_answered_is_lost_too() -> None:
    counts = RequestCounts()
    watch = SourceWatch(counts)
    kinds = []
    for _ in range(FAILURES + 1):
        asked(counts, "uk", fails=True)
        kinds += [row.kind for row in watch.look(NOW)]
    assert kinds == [EventKind.SOURCE_LOST]


def test_a_condition_is_told_when_it_begins_gets_worse_and_is_over_for_a_while() -> None:
    watch = ConditionWatch()

    def look(*found: Condition, at: float) -> list[tuple[str, object]]:
        return [(row.kind.value, row.detail["effect"]) for row in watch.look(found, after(at))]

    failing = replace(FULL, effect=Effect.FAILING)
    assert look(FULL, at=0) == [("condition_began", "warning")]
    assert look(replace(FULL, text="nearly full"), at=1) == []
    assert look(failing, at=2) == [("condition_began", "failing")]
    assert look(at=3) == []
    assert look(failing, at=4) == []
    assert look(at=5) == []
    assert look(at=5 + OVER_FOR.total_seconds()) == [("condition_over", "failing")]
    assert look(at=999) == []


def test_what_is_found_is_in_the_audit_trail_and_what_was_told_before_a_restart_is_not_told_again(store: Store) -> None:
    job = submitted(store, finish_by=NOW + 2 * HOUR)
    counts, found = RequestCounts(), [FULL]

    def new_watch() -> Watch:
        return Watch(store, counts, lambda: plan(job, NOW + 3 * HOUR), lambda: found, lambda _: None)

    watch = new_watch()
    watch.look(NOW)
    watch.look(NOW + AT_RISK_FOR)
    kinds = [(event.kind, event.job_id) for event in store.jobs.events()[1:]]
    assert kinds == [("condition_began", None), ("limit_at_risk", job.id)]
    found.clear()
    again = new_watch()
    again.look(after(60))
    again.look(after(60) + AT_RISK_FOR)
    assert len(store.jobs.events(kinds=[EventKind.LIMIT_AT_RISK])) == 1


def test_what_cannot_be_stored_is_handed_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: NewEvent) -> None:
        raise StoreError("there is no room left")

    handed: list[NewEvent] = []
    watch = Watch(store, RequestCounts(), lambda: Plan(made_at=NOW), lambda: [FULL], handed.append)
    monkeypatch.setattr(store.jobs, "note_event", fails)
    watch.look(NOW)
    assert [event.kind for event in handed] == ["condition_began"]
