"""What several clients submit at one moment is accepted together, and each gets the answer that it would get alone."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, RLock
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenrun.core.errors import GreenrunError, InvalidJob, KeyOfAnotherJob, KnownRequest, StorageFull
from greenrun.core.jobs.job import ArrayPlace, JobRequest, JobSpec, RequestKey
from greenrun.core.planning.model import Placement
from greenrun.daemon.submissions import MOST_JOBS, Submissions
from greenrun.engine.planning import Urgency
from greenrun.store import Store
from tests.patience import HANGS_S, until
from tests.sampling import examples
from tests.world import SLOT, T0, World, new_engine, spec

GPUS, MOST_QUEUED = 2, 12


class Counter:
    """A number of queued jobs, Submissions of them, and what came of each request that was made so far."""

    def __init__(self, store: Store, most_queued: int = MOST_QUEUED) -> None:
        self.store, self.turn, self.asked, self.commits = store, RLock(), list[Urgency](), list[int]()
        world = World([300, 100, 200] * 16, gpus=GPUS)
        self.engine = new_engine(world, store, world.meter())
        self.engine.refresh(T0)
        self.engine.tick(T0)
        self.submissions = Submissions(
            self.engine, store.jobs, self.turn, self.asked.append, lambda: None, most_queued
        )  # fmt: skip
        self._add, store.jobs.add_requests = store.jobs.add_requests, self._noted  # type: ignore[method-assign]

    def _noted(self, requests: Sequence[JobRequest]) -> Any:
        self.commits.append(len(requests))
        return self._add(requests)

    def at_once(self, requests: Sequence[JobRequest]) -> "list[Future[Any]]":
        """Let all of these come, in this order, while the engine is busy with something else; return their answers."""
        with ThreadPoolExecutor(len(requests)) as pool, self.turn:
            answers = []
            for number, request in enumerate(requests, start=1):
                answers.append(pool.submit(self.submissions.submit, request))
                until(lambda many=number: len(self.submissions._waiting) == many, "it waits")  # type: ignore[misc]
        return answers

    def one_by_one(self, requests: Sequence[JobRequest]) -> "list[Future[Any]]":
        """Let each come when the one before it is answered."""
        with ThreadPoolExecutor(1) as pool:
            return [pool.submit(self.submissions.submit, request) for request in requests]


@contextmanager
def counter(most_queued: int = MOST_QUEUED) -> Iterator[Counter]:
    with TemporaryDirectory() as folder, Store(Path(folder) / "greenrun.db") as store:
        yield Counter(store, most_queued)


@pytest.fixture
def lab() -> Iterator[Counter]:
    with counter() as made:
        yield made


def asked(*specs: JobSpec, user: str = "ada", key: str | None = None) -> JobRequest:
    named = RequestKey(key=key, digest="d" * 64) if key else None
    return JobRequest(specs=specs or (plain(),), user=user, uid=1, now=T0, key=named)


def plain(**more: Any) -> JobSpec:
    return spec(1800, max_delay=20 * SLOT, **more)


def told(answer: "Future[Any]") -> Any:
    """Return what a client learns, but for the ids and places, which depend on who came first."""
    failure = answer.exception(timeout=HANGS_S)
    if failure is not None:
        return type(failure), str(failure)
    return [(row.is_new, row.job.spec, row.job.user, row.preview.reason is not None) for row in answer.result()]


def test_requests_of_one_moment_share_a_commit_and_each_has_its_jobs_in_the_file_and_in_the_plan(lab: Counter) -> None:
    sizes = [1, 3, 1, 2]
    answers = lab.at_once([asked(*[plain(name=f"{number}")] * size) for number, size in enumerate(sizes)])
    assert lab.commits == [4]
    assert lab.asked == [Urgency.LEISURE]
    rows = [answer.result() for answer in answers]
    assert [len(each) for each in rows] == sizes
    for number, each in enumerate(rows):
        for row in each:
            assert lab.store.jobs.job(row.job.id).spec.name == f"{number}"
            place = lab.engine.plan.placement(row.job.id)
            assert place is not None
            assert row.preview.placement is not None
            assert place.start == row.preview.placement.start
    assert len({row.job.id for each in rows for row in each}) == sum(sizes)


def test_no_more_gpus_are_given_than_there_are_to_those_of_one_moment(lab: Counter) -> None:
    answers = lab.at_once([asked(plain(gpus=gpus)) for gpus in (2, 1, 2, 1, 1, 2)])
    rows = [row.preview.placement for answer in answers for row in answer.result()]
    places = [row for row in rows if isinstance(row, Placement)]
    assert len(places) == len(answers)
    for at in (row.start for row in places):
        assert sum(row.gpus for row in places if row.start <= at < row.end) <= GPUS


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (asked(plain(gpus=GPUS + 1)), "needs 3 GPUs"),
        (asked(plain(), plain(gpu_model="H100")), "H100"),
        (asked(spec(4 * 1800, finish_by=T0 + SLOT)), "cannot finish by"),
        (asked(*[plain()] * MOST_QUEUED), "are queued and no more than"),
        (asked(plain(name="\udcff")), "cannot be stored"),
        (asked(plain(project="a\ud800")), "cannot be stored"),
    ],
)
def test_a_refusal_is_its_own_and_the_others_are_accepted(lab: Counter, wrong: JobRequest, why: str) -> None:
    first, refused, last = lab.at_once([asked(), wrong, asked(plain(name="last"))])
    assert isinstance(refused.exception(), InvalidJob)
    assert why in str(refused.exception())
    assert [row.is_new for answer in (first, last) for row in answer.result()] == [True, True]
    assert lab.store.jobs.count_queued() == 2


def test_a_finish_by_for_which_others_have_to_move_is_kept_among_those_of_one_moment(lab: Counter) -> None:
    for _ in range(GPUS):
        lab.submissions.submit(asked(spec(1800, max_delay=2 * SLOT)))  # both at the clean hour
    tight = spec(1800, gpus=GPUS, finish_by=T0 + 2 * SLOT, start_after=T0 + SLOT)
    answers = lab.at_once([asked(), asked(tight), asked()])
    assert all(row.is_new for answer in answers for row in answer.result())
    place = lab.engine.plan.placement(answers[1].result()[0].job.id)
    assert place is not None
    assert not place.late


def test_a_key_that_two_requests_of_one_moment_have_is_given_once_for_each_user(lab: Counter) -> None:
    first, again, bobs, other = lab.at_once(
        [asked(key="k"), asked(key="k"), asked(user="bob", key="k"), asked(key="another")]
    )
    assert isinstance(again.exception(), KnownRequest)
    assert [row.is_new for answer in (first, bobs, other) for row in answer.result()] == [True] * 3
    kept = lab.store.jobs.submission("ada", "k")
    assert kept is not None
    assert [job.id for job in kept.jobs] == [first.result()[0].job.id]
    (later,) = lab.one_by_one([asked(key="k")])
    assert isinstance(later.exception(), KnownRequest)


def test_a_unique_key_that_two_requests_of_one_moment_have_names_one_job_of_each_user(lab: Counter) -> None:
    once = plain(unique_key="nightly")
    answers = lab.at_once([asked(once), asked(plain(), once), asked(once, user="bob"), asked(once, once)])
    rows = [answer.result() for answer in answers]
    assert [[row.is_new for row in each] for each in rows] == [[True], [True, False], [True], [False, False]]
    assert {row.job.id for row in (rows[0][0], rows[1][1], *rows[3])} == {rows[0][0].job.id}
    assert lab.store.jobs.count_queued() == 3


def test_a_unique_key_that_one_before_gave_to_another_command_is_refused_with_all_of_its_request(lab: Counter) -> None:
    other = replace(plain(unique_key="nightly"), command=("run", "1", "0"))
    first, refused, bobs, same = lab.at_once(
        [
            asked(plain(unique_key="nightly"), key="a"),
            asked(plain(), other, key="b"),
            asked(other, user="bob"),
            asked(plain(unique_key="nightly"), plain()),
        ]
    )
    assert isinstance(refused.exception(), KeyOfAnotherJob)
    assert lab.store.jobs.submission("ada", "b") is None
    rows = [[row.is_new for row in answer.result()] for answer in (first, bobs, same)]
    assert rows == [[True], [True], [False, True]]
    assert lab.store.jobs.count_queued() == 3
    assert isinstance(lab.one_by_one([asked(other, plain())])[0].exception(), KeyOfAnotherJob)
    assert lab.store.jobs.count_queued() == 3


def test_when_nothing_can_be_stored_everybody_is_told_and_nothing_is_there(lab: Counter) -> None:
    def full(*_: object) -> None:
        raise StorageFull("there is no room")

    lab._add = full  # type: ignore[assignment]
    answers = lab.at_once([asked(), asked(), asked()])
    failures = [answer.exception() for answer in answers]
    assert [type(failure) for failure in failures] == [StorageFull] * 3
    assert len(set(map(id, failures))) == 3
    assert lab.store.jobs.count_queued() == 0
    assert lab.engine.plan.placements == ()
    lab._add = type(lab.store.jobs).add_requests.__get__(lab.store.jobs)
    assert lab.submissions.submit(asked())[0].is_new


@pytest.mark.parametrize("failure", [RuntimeError("boom"), MemoryError(), SystemExit(1)])
def test_a_fault_while_others_wait_leaves_nobody_waiting(
    lab: Counter, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    with monkeypatch.context() as broken:
        broken.setattr(lab.engine, "admit_together", fail)
        answers = lab.at_once([asked(), asked(), asked()])
        assert [answer.exception(timeout=HANGS_S) for answer in answers] == [failure] * 3
    assert lab.submissions.submit(asked())[0].is_new


def test_who_gets_no_turn_keeps_nobody_else_waiting(lab: Counter) -> None:
    class Turn:
        def __enter__(self) -> None:
            raise MemoryError

        def __exit__(self, *_: object) -> None: ...

    turn, lab.submissions._turn = lab.submissions._turn, Turn()
    with pytest.raises(MemoryError):
        lab.submissions.submit(asked())
    lab.submissions._turn = turn
    assert [answer.result(HANGS_S)[0].is_new for answer in lab.one_by_one([asked(), asked()])] == [True, True]


def test_who_comes_while_others_are_accepted_is_accepted_after_them(lab: Counter) -> None:
    begun, go_on = Event(), Event()

    def slowly(requests: Sequence[JobRequest]) -> Any:
        begun.set()
        assert go_on.wait(HANGS_S)
        return type(lab.store.jobs).add_requests(lab.store.jobs, requests)

    lab._add = slowly
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(lab.submissions.submit, asked())]
        assert begun.wait(HANGS_S)
        answers += [pool.submit(lab.submissions.submit, asked()) for _ in range(3)]
        until(lambda: len(lab.submissions._waiting) == 3, "the others wait")
        go_on.set()
    assert all(answer.result()[0].is_new for answer in answers)
    assert lab.commits == [1, 3]


def test_a_long_file_does_not_make_those_after_it_wait_for_more_than_its_own_commit() -> None:
    with counter(most_queued=2 * MOST_JOBS) as lab:
        lab.at_once([asked(), asked(*[plain()] * MOST_JOBS), asked(), asked()])
        assert lab.commits == [1, 1, 2]
        assert lab.store.jobs.count_queued() == MOST_JOBS + 3


SPECS = st.sampled_from(
    [plain(), plain(gpus=2), plain(gpus=3), plain(unique_key="u"), plain(unique_key="v", gpus=2), plain(name="\udcff")]
    + [spec(60, unique_key="u")]
    + [plain(array=ArrayPlace(key="a", index=index, size=2, at_once=1), name=f"a{index}") for index in range(2)]
)  # fmt: skip
REQUESTS = st.builds(
    lambda specs, user, key: asked(*specs, user=user, key=key),
    st.lists(SPECS, min_size=1, max_size=4), st.sampled_from(["ada", "bob"]), st.sampled_from([None, None, "k", "l"]),
)  # fmt: skip


@settings(examples(12), deadline=None)
@given(before=st.lists(REQUESTS, max_size=2), requests=st.lists(REQUESTS, min_size=2, max_size=6))
def test_each_is_answered_as_if_it_had_come_alone_in_its_turn(
    before: Sequence[JobRequest], requests: Sequence[JobRequest]
) -> None:
    found = []
    ways: Sequence[Callable[[Counter], list[Future[Any]]]] = (
        lambda lab: lab.at_once(requests), lambda lab: lab.one_by_one(requests),
    )  # fmt: skip
    for way in ways:
        with counter() as lab:
            for request in before:
                with suppress(GreenrunError):
                    lab.submissions.submit(request)
            answers = [told(answer) for answer in way(lab)]
            found.append((answers, sorted((job.user, job.spec.title) for job in lab.store.jobs.jobs())))
            planned = {row.job_id for row in (*lab.engine.plan.placements, *lab.engine.plan.waiting)}
            assert planned == {job.id for job in lab.store.jobs.jobs()}
    assert found[0] == found[1]
