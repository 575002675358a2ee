"""A submission that is sent again with its key gets the jobs that it got before, and adds none, whatever happened."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenrun.api.app import create_app
from greenrun.api.service import Submitted
from greenrun.core.errors import InvalidJob, StoreError
from greenrun.core.jobs.job import JobSpec, State
from greenrun.metrics import MetricsCollector, registry_of
from greenrun.store import Store
from tests.api.fakes import ADA, BOB, NOW, FakeScheduler, World, errors, live_state, stored
from tests.sampling import examples

JOB = {"command": ["/bin/true"], "workdir": "/"}
BODIES: list[Any] = [
    JOB,
    {**JOB, "unique_key": "u"},
    [JOB, {**JOB, "unique_key": "u"}, JOB],
    {**JOB, "array": {"indices": [1, 2, 3]}},
    {**JOB, "unique_key": "a", "array": {"indices": [1, 2]}},
    [{**JOB, "unique_key": "v"}, {**JOB, "unique_key": "v"}, {**JOB, "grid": {"x": ["1", "2"]}}],
]
SENT = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(BODIES), st.booleans()), min_size=1, max_size=5)


class Crashing(FakeScheduler):
    """A scheduler that may be gone after it has stored, and before it has answered."""

    crashes = False

    def submit(self, *given: Any, **more: Any) -> list[Submitted]:
        rows = super().submit(*given, **more)
        if self.crashes:
            raise StoreError("the power is gone")
        return rows


def api_over(store: Store) -> World:
    """An API over this store, as it is after a start."""
    world = World()
    world.scheduler = Crashing()
    world.scheduler.store = store
    metrics = registry_of(MetricsCollector(store, live_state(world.store, world.scheduler)))
    world.app = create_app(store, world.scheduler, world.settings, metrics, now=lambda: NOW)
    return world


def send(world: World, key: str | None, body: Any, who: str = ADA, query: str = "") -> httpx.Response:
    headers = {"content-type": "application/json"} | ({} if key is None else {"Idempotency-Key": key})
    return world.ask("POST", f"/v1/jobs{query}", who=who, content=json.dumps(body), headers=headers)


def ids_of(answer: httpx.Response) -> list[int]:
    told = answer.json()
    return [row["id"] for row in told] if isinstance(told, list) else [told["id"]]


@pytest.fixture
def lasting(tmp_path: Path) -> Iterator[World]:
    with Store(tmp_path / "greenrun.db") as store:
        yield api_over(store)


@settings(examples(40), suppress_health_check=list(HealthCheck))
@given(sent=SENT)
def test_whatever_is_sent_again_and_whenever_it_crashes_each_request_is_done_once(
    sent: list[tuple[str, Any, bool]],
) -> None:
    done: dict[str, tuple[Any, list[int]]] = {}
    keyed: dict[str, int] = {}
    with TemporaryDirectory() as folder, ExitStack() as opened:
        world = api_over(opened.enter_context(Store(Path(folder) / "greenrun.db")))
        for key, body, crashes in sent:
            before = len(world.scheduler.store.jobs.jobs())
            world.scheduler.crashes = crashes
            answer = send(world, key, body)
            if answer.status_code == 503:
                assert crashes
                assert key not in done
                opened.close()
                world = api_over(opened.enter_context(Store(Path(folder) / "greenrun.db")))
                before, answer = len(world.scheduler.store.jobs.jobs()), send(world, key, body)
                assert answer.status_code == 200
                done[key] = body, ids_of(answer)
            known_body, ids = done.get(key, (body, []))
            if known_body != body:
                assert (answer.status_code, answer.json()["title"]) == (422, "idempotency key reused")
            elif ids:
                assert (answer.status_code, ids_of(answer)) == (200, ids)
            if key in done:
                assert len(world.scheduler.store.jobs.jobs()) == before
            elif answer.status_code == 201:  # the key of a request that added nothing need not be kept
                done[key] = body, ids_of(answer)
            if answer.is_success:
                told = answer.json() if isinstance(answer.json(), list) else [answer.json()]
                unique = {row["unique_key"]: row["id"] for row in told if row["unique_key"]}
                assert {**keyed, **unique} == {**unique, **keyed}  # each key names one job for ever
                keyed |= unique
        unkeyed = {job_id for _, ids in done.values() for job_id in ids} - set(keyed.values())
        assert len(world.scheduler.store.jobs.jobs()) == len(unkeyed) + len(keyed)


def test_a_request_that_is_known_gets_its_jobs_as_they_are_now_also_when_it_could_not_be_accepted(
    lasting: World,
) -> None:
    body = {**JOB, "name": "night", "finish_by": "2026-03-02T13:30Z", "duration_s": 3600}
    first = send(lasting, "k", body)
    lasting.ask("POST", "/v1/jobs/1/hold")
    lasting.scheduler.tried = InvalidJob("there is no room any more")
    again = send(lasting, "k", body)
    assert (first.status_code, again.status_code, again.json()["id"]) == (201, 200, 1)
    assert (again.json()["held"], lasting.scheduler.wakes) == (True, 2)
    assert send(lasting, "l", body).status_code == 422


def test_a_key_is_its_users_own_and_a_refused_request_leaves_none(lasting: World) -> None:
    assert errors(send(lasting, "k", {**JOB, "workdir": "/no/such"}))
    assert [send(lasting, "k", JOB, who).json()["id"] for who in (ADA, BOB, ADA)] == [1, 2, 1]


def test_without_a_key_the_same_is_done_again_and_a_dry_run_keeps_none(lasting: World) -> None:
    assert send(lasting, "k", JOB, query="?dry_run=true").json()["id"] is None
    assert [send(lasting, key, JOB).json()["id"] for key in (None, None, "k", "k")] == [1, 2, 3, 3]


def test_two_that_ask_at_once_with_one_key_get_the_same_jobs(lasting: World, monkeypatch: pytest.MonkeyPatch) -> None:
    quicker: list[httpx.Response] = []
    submit = lasting.scheduler.submit

    def slow(*given: Any, **more: Any) -> list[Submitted]:
        if not quicker:
            monkeypatch.undo()
            quicker.append(send(lasting, "k", BODIES[3]))
        return submit(*given, **more)

    monkeypatch.setattr(lasting.scheduler, "submit", slow)
    slower = send(lasting, "k", BODIES[3])
    assert [answer.status_code for answer in (*quicker, slower)] == [201, 200]
    assert ids_of(slower) == ids_of(quicker[0]) == [1, 2, 3]
    assert len(lasting.scheduler.store.jobs.jobs()) == 3


def test_of_two_that_submit_one_unique_key_at_once_both_get_its_job(
    lasting: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = lasting.scheduler.submit

    def slow(*given: Any, **more: Any) -> list[Submitted]:
        monkeypatch.undo()
        send(lasting, None, BODIES[1])
        return submit(*given, **more)

    monkeypatch.setattr(lasting.scheduler, "submit", slow)
    answer = send(lasting, None, BODIES[2])
    assert (answer.status_code, ids_of(answer)) == (201, [2, 1, 3])


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x7fb", "ä"])
def test_a_key_that_is_none_is_refused(world: World, key: str) -> None:
    headers = {"content-type": "application/json", "Idempotency-Key": key.encode("latin-1")}
    answer = world.ask("POST", "/v1/jobs", content=json.dumps(JOB), headers=headers)
    assert list(errors(answer)) == ["idempotency-key"]


def test_what_is_known_by_its_unique_key_is_neither_planned_nor_counted_again() -> None:
    world = World(max_queued=3)
    world.store.keep(stored(1, unique_key="u", user="41001"), stored(2))
    planned: list[int] = []
    submit = world.scheduler.submit

    def noted(specs: Any, **more: Any) -> list[Submitted]:
        planned.append(len(specs))
        return submit(specs, **more)

    world.scheduler.submit = noted  # type: ignore[method-assign]
    answer = send(world, None, [{**JOB, "unique_key": "u"}, JOB])
    assert (answer.status_code, ids_of(answer), planned) == (201, [1, 3], [1])
    assert send(world, None, {**JOB, "unique_key": "u"}).status_code == 200
    assert send(world, None, JOB).json()["detail"].startswith("3 jobs are queued and no more than 3")
    assert planned == [1]


def test_keys_are_forgotten_with_time_and_their_jobs_stay(lasting: World) -> None:
    jobs = lasting.scheduler.store.jobs
    send(lasting, "k", JOB)
    jobs.prune_submissions(NOW)
    assert send(lasting, "k", JOB).status_code == 200
    jobs.prune_submissions(NOW + timedelta(seconds=1))
    assert send(lasting, "k", JOB).json()["id"] == 2
    assert [job.state for job in jobs.jobs()] == [State.QUEUED] * 2


class Overtaken(Crashing):
    """A scheduler that accepts a job of somebody else's request just before it gets to its own."""

    def __init__(self, store: Store, first: JobSpec) -> None:
        super().__init__()
        self.store, self.first = store, first  # type: ignore[assignment]

    def submit(self, *given: Any, **more: Any) -> list[Submitted]:
        self.store.jobs.add_jobs([self.first], user=more["user"], uid=more["uid"], now=NOW)
        return super().submit(*given, **more)


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("others", [0, 2])
def test_a_unique_key_that_another_command_got_meanwhile_is_refused(
    lasting: World, key: str | None, others: int
) -> None:
    store = lasting.scheduler.store
    first = JobSpec(command=("/bin/false",), workdir="/", duration=timedelta(hours=1), unique_key="u")
    lasting.app = app_of(store, Overtaken(store, first), lasting)  # type: ignore[arg-type]
    refused = send(lasting, key, [*[JOB] * others, {**JOB, "unique_key": "u"}], who=ADA)
    assert refused.status_code == 422
    assert "'u' is the key of job 1, whose command is another: /bin/false" in refused.text
    assert [job.id for job in store.jobs.jobs()] == [1]


def test_what_stays_as_it_is_of_a_job_that_got_the_key_meanwhile_is_warned_of(lasting: World) -> None:
    store = lasting.scheduler.store
    first = JobSpec(
        command=("/bin/true",), workdir="/", duration=timedelta(hours=1), unique_key="u", priority=3, retries=2
    )
    lasting.app = app_of(store, Overtaken(store, first), lasting)  # type: ignore[arg-type]
    known = send(lasting, None, {**JOB, "unique_key": "u"}, who=ADA)
    assert (known.status_code, known.json()["id"]) == (200, 1)
    assert known.json()["warnings"] == [
        "job 1 has this key already and stays as it is, with --priority 3, not 0",
        "job 1 has this key already and stays as it is, with --retries 2, not 0",
    ]


def app_of(store: Store, scheduler: FakeScheduler, world: World) -> Any:
    metrics = registry_of(MetricsCollector(store, live_state(world.store, scheduler)))
    return create_app(store, scheduler, world.settings, metrics, now=lambda: NOW)
