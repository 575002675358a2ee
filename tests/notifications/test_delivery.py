"""What a hook is to be told is told at least once, in order, with pauses that grow, and kept over a crash."""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.errors import StoreError
from greenrun.core.jobs.job import Event, Job, JobSpec, Notice, State
from greenrun.core.jobs.notices import Topic, is_for, topics_of
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.jobs.trail import EventKind
from greenrun.notifications import delivery
from greenrun.notifications.delivery import Deliveries, HookDelivery, pause_after
from greenrun.notifications.hook import Failure, Hook
from greenrun.notifications.message import Notification
from greenrun.store import Store
from tests.notifications.build import NOW, event, hook, job, script
from tests.patience import HANGS_S, until

LATER = NOW + timedelta(minutes=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "utc_now", lambda: NOW)


class Bench:
    """A hook that fails for as long as it is told to, and notes what it is told."""

    def __init__(self, store: Store, of: Hook | None = None) -> None:
        self.store, self.hook = store, of or hook()
        self.failure: Failure = None
        self.told: list[Notification] = []
        self.start()

    def start(self) -> None:
        source = self.store.outbox.register([self.hook.name])
        self.delivery = HookDelivery(self.hook, self.store.outbox, source=source, host="box", send=self._send)

    def _send(self, _: Hook, told: Notification, _is_over: object) -> Failure:
        self.told.append(told)
        return self.failure

    def run(self, now: datetime = NOW) -> datetime:
        """Step until nothing is due now; return when something is."""
        while (later := self.delivery.step(now)) <= now:
            pass
        return later

    @property
    def ids(self) -> list[str]:
        return [told.id.partition("-")[2] for told in self.told]


def end(store: Store, notify: tuple[Notice, ...] = (), state: State = State.CANCELLED) -> Job:
    spec = JobSpec(command=("true",), workdir="/", duration=timedelta(hours=1), notify=notify)
    made = store.jobs.add_job(spec, user="ada", uid=1000, now=NOW)[0]
    why = because(ReasonCode.CANCELLED)
    store.jobs.change_states(State.QUEUED, {made.id: (state, why)}, actor="scheduler", now=NOW)
    return made


def test_a_hook_is_told_of_what_happens_from_now_on_each_once_in_order(store: Store) -> None:
    end(store)
    bench = Bench(store)
    first, second = end(store), end(store)
    bench.run()
    bench.run(LATER)
    assert [(told.type, told.job and told.job.id, told.attempt) for told in bench.told] == [
        ("job.ended", first.id, 1),
        ("job.ended", second.id, 1),
    ]
    assert store.books.counters()["greenrun_notifications_total", (("hook", "ops"), ("result", "delivered"))] == 2
    assert store.outbox.waiting() == {}


def test_a_hook_that_fails_is_told_again_after_pauses_that_double_up_to_an_hour(store: Store) -> None:
    bench = Bench(store)
    end(store)
    bench.failure = "no room"
    waiting = []
    now = NOW
    for _ in range(3):
        delivery.utc_now = lambda now=now: now
        bench.run(now)
        at = store.outbox.next_at("ops")
        assert at is not None
        waiting.append(at - now)
        bench.run(at - timedelta(seconds=1))  # too early
        now = at
    assert waiting == [timedelta(seconds=10), timedelta(seconds=20), timedelta(seconds=40)]
    assert [told.attempt for told in bench.told] == [1, 2, 3]
    assert len({told.id for told in bench.told}) == 1
    bench.failure = None
    bench.run(now)
    assert store.outbox.waiting() == {}
    assert max(map(pause_after, range(100))) == timedelta(hours=1)


def test_what_fails_does_not_keep_back_what_comes_after_it(store: Store) -> None:
    bench = Bench(store)
    first = end(store)
    bench.failure = "no room"
    bench.run()
    bench.failure = None
    second = end(store)
    bench.run()
    assert [told.job.id for told in bench.told if told.job] == [first.id, second.id]
    assert store.outbox.waiting() == {"ops": 1}


def test_after_the_time_that_is_set_it_is_given_up_and_that_is_an_event(store: Store) -> None:
    bench = Bench(store, hook(retry_for=timedelta(minutes=5)))
    end(store)
    bench.failure = "its server refuses (HTTP 500)"
    bench.run()
    delivery.utc_now = lambda: NOW + timedelta(minutes=6)
    bench.run(NOW + timedelta(minutes=6))
    (given_up,) = store.jobs.events(kinds=[EventKind.NOTIFICATION_FAILED])
    assert (given_up.detail["hook"], given_up.detail["why"]) == ("ops", "its server refuses (HTTP 500)")
    assert store.outbox.waiting() == {}
    bench.run(NOW + timedelta(minutes=7))  # of a notification that failed nobody is told
    assert len(bench.told) == 2


def test_what_was_not_told_when_the_daemon_died_is_told_after_the_restart_with_the_same_id(store: Store) -> None:
    bench = Bench(store)
    end(store)

    def dies(_: Hook, told: Notification, _is_over: object) -> Failure:
        bench.told.append(told)
        raise KeyboardInterrupt  # it was sent, and that is not known

    bench.delivery._send = dies
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    end(store)  # while it is away
    with Store(store.path) as again:
        after = Bench(again)
        after.run()
    assert after.ids == [*bench.ids, *after.ids[1:]]
    assert len(after.ids) == 2
    assert after.told[0].id == bench.told[0].id


@pytest.mark.parametrize("failure", [None, "no answer"])
def test_what_was_sent_while_nothing_could_be_stored_is_not_sent_again_and_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    bench = Bench(store)
    end(store)
    bench.failure = failure

    def fails(*_: object, **__: object) -> None:
        raise StoreError("no room left")

    store.outbox.collect("ops", bench.delivery.wants, now=NOW, most=9)
    with monkeypatch.context() as full:
        full.setattr(store.database, "write", fails)
        for _ in range(5):
            with pytest.raises(StoreError):
                bench.run()
    bench.run()
    assert len(bench.told) == 1
    assert store.outbox.waiting() == ({} if failure is None else {"ops": 1})


def test_ids_of_another_database_are_others(store: Store, tmp_path: Path) -> None:
    with Store(tmp_path / "other.db") as other:
        assert other.outbox.register(["ops"]) != store.outbox.register(["ops"])
        assert store.outbox.register(["ops"]) == store.outbox.register(["ops"])


def test_of_very_many_the_oldest_are_dropped_and_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MOST_WAITING", 3)
    bench = Bench(store)
    jobs = [end(store) for _ in range(5)]
    bench.run()
    assert [told.job.id for told in bench.told if told.job] == [job.id for job in jobs[2:]]
    assert store.books.counters()["greenrun_notifications_total", (("hook", "ops"), ("result", "dropped"))] == 2


def test_a_hook_that_is_gone_leaves_nothing_and_a_new_one_begins_now(store: Store) -> None:
    bench = Bench(store)
    end(store)
    bench.failure = "no room"
    bench.run()
    store.outbox.register(["other"])
    assert store.outbox.waiting() == {}
    back = Bench(store)
    back.run(LATER)
    assert back.told == []


def test_of_jobs_a_hook_is_told_what_their_users_asked_for_unless_all_are_wanted(store: Store) -> None:
    asked, every = Bench(store, hook(only_asked=True)), hook(name="all")
    end(store)
    mine = end(store, notify=(Notice.ENDED,))
    end(store, notify=(Notice.LATE,))
    asked.run()
    assert [told.job.id for told in asked.told if told.job] == [mine.id]
    assert is_for(event(), job(), every.topics, only_asked=False)


@pytest.mark.parametrize(
    ("kind", "detail", "topics"),
    [
        ("started", {}, {Topic.STARTED}),
        ("finished", {"state": "succeeded"}, {Topic.ENDED}),
        ("finished", {"state": "failed"}, {Topic.ENDED, Topic.FAILED}),
        ("finished", {"state": "expired"}, {Topic.ENDED, Topic.FAILED}),
        ("finished", {"state": "cancelled"}, {Topic.ENDED}),
        ("limit_at_risk", {}, {Topic.LATE}),
        ("limit_missed", {}, {Topic.LATE}),
        ("budget_near", {}, {Topic.BUDGET}),
        ("source_lost", {}, {Topic.SOURCE}),
        ("condition_began", {}, {Topic.DAEMON}),
        ("submitted", {}, set()),
        ("notification_failed", {}, set()),
    ],
)
def test_what_an_event_is_about(kind: str, detail: dict[str, Any], topics: set[Topic]) -> None:
    assert topics_of(event(kind, **detail)) == topics


def test_what_cannot_be_stored_is_told_from_memory_a_few_times(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(store)
    detail = {"code": "disk_full", "effect": "failing", "text": "no room", "remedy": "make some", "since": "2026"}
    full = Event(id=0, at=NOW, actor="scheduler", kind="condition_began", job_id=None, run_id=None, detail=detail)
    bench.delivery.tell_unstored(full)
    bench.failure = "its command ended with exit code 1"

    def fails(*_: object, **__: object) -> int:
        raise StoreError("no room left")

    monkeypatch.setattr(store.outbox, "collect", fails)
    for _ in range(9):
        with pytest.raises(StoreError):
            bench.delivery.step(NOW)
    assert [told.type for told in bench.told] == ["condition.began"] * delivery.UNSTORED_TRIES
    assert len({told.id for told in bench.told}) == 1


def test_threads_tell_each_hook_while_another_one_hangs(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    hangs = hook(
        name="hangs",
        command=script(tmp_path, f"echo > {tmp_path}/hangs; exec sleep 1000"),
        timeout=timedelta(seconds=HANGS_S),
    )
    (tmp_path / "other").mkdir()
    works = hook(name="works", command=script(tmp_path / "other", f"cat > {tmp_path}/told"))
    both = Deliveries([hangs, works], store.outbox, "box")
    both.start()
    try:
        end(store)
        until((tmp_path / "hangs").exists, "one hangs")
        until(lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_bytes(), "the other is told")
    finally:
        both.stop()
    until(lambda: not [row for row in threading.enumerate() if row.name.startswith("greenrun-notify")], "threads end")
    assert store.outbox.waiting()["hangs"] == 1


def test_what_is_yet_to_be_told_outlasts_the_retention_of_events(store: Store) -> None:
    bench = Bench(store, hook(retry_for=timedelta(days=30)))
    bench.failure = "no"
    end(store, (Notice.ENDED,))
    bench.run()
    later = NOW + timedelta(days=9)
    assert store.trail.prune(later, now=later) == 1  # of two: that it was submitted, and that it ended
    bench.failure = None
    assert bench.run(later) > later
    assert len(bench.told) == 2
    assert not store.outbox.waiting()
    assert store.trail.prune(later, now=later) == 1


def test_what_a_command_said_is_in_no_event(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(store, hook(retry_for=timedelta(seconds=1)))
    bench.failure = "its command ended with exit code 22 (curl: https://chat.example/sesame is away)"
    end(store)
    bench.run()
    monkeypatch.setattr(delivery, "utc_now", lambda: LATER)
    bench.run(LATER)
    (given_up,) = store.jobs.events(kinds=[EventKind.NOTIFICATION_FAILED])
    assert given_up.detail["why"] == "its command ended with exit code 22"
