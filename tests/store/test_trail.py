"""The audit trail: who changed what, from where, from what to what, in the same transaction; and nobody changes it."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.errors import StoreError
from greenrun.core.jobs.availability import Drain
from greenrun.core.jobs.job import Event, Job, JobRequest, Origin, Outcome, State
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.core.jobs.trail import EventKind, NewEvent
from greenrun.core.jobs.transitions import Edit, Intent
from greenrun.store import Store
from greenrun.store.migrate import SCRIPTS, migrate
from greenrun.store.trail import MOST_DELETED
from tests.store.examples import NOW, WHY, after, claim, close, running, spec, submit

HERE = Origin(uid=1000, pid=4321)
DRAIN = Drain(device="GPU-1", user="root", since=NOW, reason="fan")
SECRET = "hunter2-hunter2"


def last(store: Store) -> Event:
    return store.jobs.events(limit=1)[0]


def edit(store: Store, job: Job, requeue: bool = False, **changes: Any) -> Job:
    wanted = Edit(before=job, spec=replace(job.spec, **changes), requeue=requeue)
    return store.jobs.edit([wanted], actor="ada", now=after(5), origin=HERE)[0]


def raw(store: Store, statement: str) -> None:
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(statement)


def test_a_submission_tells_who_and_from_where(store: Store) -> None:
    asked = JobRequest(specs=[spec()], user="ada", uid=1000, now=NOW, origin=HERE)
    store.jobs.add_requests([asked])
    event = last(store)
    assert (event.kind, event.actor, event.uid, event.pid, event.address) == ("submitted", "ada", 1000, 4321, None)
    assert (event.before, event.after) == (None, None)


@pytest.mark.parametrize(
    ("intent", "before", "after"),
    [
        (Intent.HOLD, {"held": False}, {"held": True}),
        (Intent.CANCEL, {"cancel_requested": False}, {"cancel_requested": True}),
        (
            Intent.START_NOW,
            {"start_now": False, "start_after": "2026-11-23T04:00:00Z"},
            {"start_now": True, "start_after": None},
        ),
    ],
)
def test_what_a_user_asks_of_a_job_tells_what_it_was_and_is(
    store: Store, intent: Intent, before: dict[str, object], after: dict[str, object]
) -> None:
    job = submit(store, start_after=NOW + timedelta(hours=1))
    store.jobs.intend(intent, [job.id], actor="ada", now=NOW, origin=Origin(uid=1000, address="10.0.0.7"))
    event = last(store)
    assert (event.before, event.after) == (before, after)
    assert (event.uid, event.pid, event.address) == (1000, None, "10.0.0.7")


def test_an_edit_tells_each_field_that_changed_and_no_other(store: Store) -> None:
    job = submit(store, priority=1, labels={"a": "b"}, env={"LANG": "C"})
    edit(store, job, priority=5, duration=timedelta(hours=2), labels={"a": "c"}, finish_by=NOW + timedelta(days=1))
    event = last(store)
    assert event.before == {"priority": 1, "duration_s": 3600.0, "labels": {"a": "b"}, "finish_by": None}
    assert event.after == {
        "priority": 5, "duration_s": 7200.0, "labels": {"a": "c"}, "finish_by": "2026-11-24T03:00:00Z",
    }  # fmt: skip


def test_of_the_environment_only_names_are_told(store: Store) -> None:
    job = submit(store, env={"TOKEN": SECRET, "OLD": "1", "SAME": "1"})
    edit(store, job, env={"TOKEN": SECRET[::-1], "NEW": "2", "SAME": "1"})
    event = last(store)
    assert (event.before, event.after) == ({"env": ["OLD", "TOKEN"]}, {"env": ["NEW", "TOKEN"]})
    run = claim(store, store.jobs.job(job.id))
    close(store, run, started_at=after(2))
    requeued = edit(store, store.jobs.job(job.id), requeue=True, env={"TOKEN": SECRET, "NEW": "2", "SAME": "1"})
    assert requeued.state is State.QUEUED
    told = json.dumps([[event.detail, event.before, event.after] for event in store.jobs.events()], default=str)
    assert SECRET not in told
    assert SECRET[::-1] not in told


def test_each_step_of_the_scheduler_tells_the_states_between_which_it_moves(store: Store) -> None:
    run = running(store)
    close(store, run, outcome=Outcome.FAILED, exit_code=1, job_state=State.QUEUED, retry_at=after(600))
    moves = [(event.kind, event.before, event.after) for event in store.jobs.events(run.job_id)[1:]]
    assert moves == [
        ("claimed", {"state": "queued"}, {"state": "starting"}),
        ("started", {"state": "starting"}, {"state": "running"}),
        (
            "requeued",
            {"state": "running", "retry_at": None},
            {"state": "queued", "retry_at": "2026-11-23T03:10:00Z"},
        ),
    ]
    assert {event.uid for event in store.jobs.events(run.job_id)} == {None}


def test_a_limit_that_is_missed_is_told_once(store: Store) -> None:
    job = submit(store, finish_by=after(10))
    for seconds in (60, 120):
        store.jobs.miss_limits([job.id], now=after(seconds))
    missed = [event for event in store.jobs.events(job.id) if event.kind == EventKind.LIMIT_MISSED]
    assert [(event.at, event.detail) for event in missed] == [(after(60), {"limit": "2026-11-23T03:00:10Z"})]
    assert (missed[0].before, missed[0].after) == ({"deadline_missed": False}, {"deadline_missed": True})


def test_a_run_that_starts_too_late_tells_that_its_limit_is_missed(store: Store) -> None:
    run = claim(store, submit(store, max_delay=timedelta(seconds=1)))
    store.runs.confirm(run.id, started_at=after(60), log=None, now=after(60))
    assert [event.kind for event in store.jobs.events(run.job_id)][-2:] == ["started", "limit_missed"]


def test_a_pause_that_ends_before_its_time_is_told(store: Store) -> None:
    run = running(store)
    close(store, run, outcome=Outcome.FAILED, exit_code=1, job_state=State.QUEUED, retry_at=after(600))
    store.jobs.end_pauses([run.job_id], now=after(9))
    event = last(store)
    assert (event.kind, event.after) == ("pause_ended", {"retry_at": None})


def test_a_drain_tells_what_was_said_of_the_device_before(store: Store) -> None:
    store.drains.drain([DRAIN], Origin(uid=0, pid=9))
    store.drains.drain([replace(DRAIN, user="ada", reason="memory")])
    store.drains.resume([], user="root", now=after(9), origin=Origin(uid=0, pid=10))
    fan = {"drained": True, "by": "root", "reason": "fan"}
    memory = {"drained": True, "by": "ada", "reason": "memory"}
    assert [(event.pid, event.before, event.after) for event in store.jobs.events()] == [
        (9, {"drained": False}, fan),
        (None, fan, memory),
        (10, memory, {"drained": False}),
    ]


def test_what_is_very_long_is_cut_off(store: Store) -> None:
    job = submit(store)
    edit(store, job, command=("sh", "-c", "x" * 100_000), labels={f"k{n}": "v" for n in range(1000)})
    assert len(json.dumps(last(store).after)) < 5_000


STATEMENTS = [
    "UPDATE events SET actor = 'nobody'",
    "UPDATE events SET detail = '{}' WHERE id = 1",
    "DELETE FROM events",
    "DELETE FROM events WHERE id = 1",
    "INSERT OR REPLACE INTO events (id, at, actor, kind, detail) VALUES (1, '2026', 'eve', 'held', '{}')",
    "INSERT INTO events (id, at, actor, kind, detail) VALUES (1, '2026', 'eve', 'held', '{}')"
    " ON CONFLICT (id) DO UPDATE SET actor = 'eve'",
    "INSERT INTO events (id, at, actor, kind, detail) VALUES (2, '2026', 'eve', 'held', '{}')",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_nobody_changes_deletes_or_slips_in_an_event(store: Store, statement: str) -> None:
    submit(store)
    store.jobs.skip_ids(10)
    raw(
        store,
        "INSERT INTO events (id, at, actor, kind, detail) VALUES (3, '2026-11-23T03:00:00.000000Z', 'a', 'b', '{}')",
    )
    before = store.jobs.events()
    with pytest.raises(sqlite3.IntegrityError, match="events are"):
        raw(store, statement)
    assert store.jobs.events() == before


def test_events_are_deleted_by_whole_days_once_they_are_old_enough_and_that_is_told(store: Store) -> None:
    submit(store)
    for days in (1, 2):
        store.jobs.note(EventKind.DAEMON_STARTED, now=NOW + timedelta(days=days), version="1")
    later = NOW + timedelta(days=367)
    assert store.trail.prune(NOW.replace(hour=23), now=later) == 0  # of the same day
    assert store.trail.prune(NOW + timedelta(days=2), now=later) == 2
    assert [(event.kind, event.at) for event in store.jobs.events()] == [
        ("daemon_started", NOW + timedelta(days=2)),
        ("events_deleted", later),
    ]
    assert last(store).detail == {"before": "2026-11-25T00:00:00.000000Z", "deleted": 2}
    with pytest.raises(sqlite3.IntegrityError):
        raw(store, "DELETE FROM events")  # what is left is not older than what was told


def test_of_very_many_old_events_some_are_deleted_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_DELETED >= 1000
    monkeypatch.setattr("greenrun.store.trail.MOST_DELETED", 2)
    for _ in range(3):
        submit(store)
    later = NOW + timedelta(days=400)
    assert [store.trail.prune(later, now=later) for _ in range(3)] == [2, 1, 0]
    assert [event.detail.get("deleted") for event in store.jobs.events()] == [2, 1]


def test_changes_of_known_values_are_told_and_secret_ones_not_shown(store: Store) -> None:
    def keep(now: datetime = NOW, **values: object) -> bool:
        told = {key: json.dumps(value) for key, value in values.items()}
        return store.trail.keep_known("settings", told, EventKind.SETTINGS_CHANGED, now=now, detail={"version": "1"})

    assert not keep(tick="5s", zone="GB", key={"secret": SECRET})  # the first time
    assert not keep(tick="5s", zone="GB", key={"secret": SECRET})
    assert store.jobs.events() == []
    assert keep(tick="9s", also=["DE"], key={"secret": "another"})
    event = last(store)
    assert (event.kind, event.detail) == ("settings_changed", {"version": "1"})
    assert event.before == {"tick": "5s", "zone": "GB", "key": "changed"}
    assert event.after == {"tick": "9s", "also": ["DE"], "key": "changed"}


CHANGES: dict[str, Callable[[Store], object]] = {
    "submit": submit,
    "hold": lambda store: store.jobs.intend(Intent.HOLD, [1], actor="ada", now=NOW),
    "edit": lambda store: edit(store, store.jobs.job(1), priority=3),
    "requeue": lambda store: edit(store, store.jobs.job(2), requeue=True),
    "claim": lambda store: claim(store, store.jobs.job(1), "GPU-1"),
    "close": lambda store: close(store, store.runs.live_runs()[0]),
    "expire": lambda store: store.jobs.change_states(State.QUEUED, {1: (State.EXPIRED, WHY)}, actor="x", now=NOW),
    "reason": lambda store: store.jobs.set_reason({1: Reason(ReasonCode.HELD, "held")}, now=NOW),
    "missed": lambda store: store.jobs.miss_limits([1], now=after(9_999)),
    "drain": lambda store: store.drains.drain([DRAIN]),
    "resume": lambda store: store.drains.resume([], user="root", now=NOW),
    "settings": lambda store: store.trail.keep_known(
        "settings", {"a": "2"}, EventKind.SETTINGS_CHANGED, now=NOW, detail={}
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_no_change_is_kept_without_its_event(store: Store, name: str) -> None:
    """Whatever fails between the two: they are one transaction."""
    submit(store, finish_by=after(5))
    store.jobs.change_states(State.QUEUED, {submit(store).id: (State.CANCELLED, WHY)}, actor="ada", now=NOW)
    running(store, "GPU-0")
    store.drains.drain([replace(DRAIN, device="GPU-9")])
    store.trail.keep_known("settings", {"a": "1"}, EventKind.SETTINGS_CHANGED, now=NOW, detail={})

    def all_of_it() -> list[str]:
        with closing(sqlite3.connect(store.path)) as connection:
            return [line for line in connection.iterdump() if "lineage" not in line]

    raw(store, "CREATE TRIGGER fails BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'as if killed here'); END")
    before = all_of_it()
    with pytest.raises(StoreError, match="as if killed here"):
        CHANGES[name](store)
    assert all_of_it() == before
    raw(store, "DROP TRIGGER fails")
    CHANGES[name](store)
    assert all_of_it() != before


def test_events_are_found_by_who_when_what_and_by_who_may_see_them(store: Store) -> None:
    own = submit(store)
    other = store.jobs.add_job(spec(), user="bob", uid=1001, now=after(60))[0]
    store.jobs.intend(Intent.HOLD, [own.id], actor="root", now=after(120), origin=Origin(uid=0))
    store.jobs.intend(Intent.HOLD, [other.id], actor="ada", now=after(180), origin=HERE)
    event = NewEvent(kind=EventKind.RESUMED, at=after(240), actor="root", origin=Origin(uid=0))
    store.jobs.note_event(event)

    def ids(**filters: Any) -> list[int]:
        return [event.id for event in store.jobs.events(**filters)]

    assert ids() == [1, 2, 3, 4, 5]
    assert ids(actor="root") == [3, 5]
    assert ids(kinds=["held", "resumed"]) == [3, 4, 5]
    assert ids(since=after(60), until=after(180)) == [2, 3]
    assert ids(visible_to=1000) == [1, 3, 4, 5]
    assert ids(visible_to=1001) == [2, 4, 5]
    assert ids(visible_to=1002) == [5]
    assert ids(visible_to=1000, after=1, limit=2) == [3, 4]
    assert ids(job_ids=[other.id], visible_to=1000) == [4]


def test_an_older_database_keeps_its_events_and_guards_them(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(SCRIPTS, earlier)
    for script in (earlier / "versions").glob("v*.py"):
        if script.name > "v0012":
            script.unlink()
    path = tmp_path / "greenrun.db"
    migrate(path, earlier)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO events (at, actor, kind, detail)"
            " VALUES ('2026-01-02T03:04:05.000000Z', 'ada', 'drained', '{\"device\":null}')"
        )
    with Store(path) as store:
        (event,) = store.jobs.events()
        assert (event.actor, event.kind, event.detail) == ("ada", "drained", {"device": None})
        assert (event.uid, event.pid, event.before, event.after) == (None, None, None, None)
        with pytest.raises(sqlite3.IntegrityError):
            raw(store, "DELETE FROM events")
