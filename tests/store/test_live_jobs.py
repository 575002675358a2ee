"""What is kept of the unfinished jobs in memory is what the file says, after any steps, failures and foreign writes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from sqlite3 import connect
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from greenrun.core.errors import GreenrunError
from greenrun.core.jobs.job import FINISHED, Job, State
from greenrun.core.jobs.transitions import Intent
from greenrun.store import Store
from greenrun.store.transaction import JobTransaction
from tests.store.examples import NOW, WHY, running, spec, submit
from tests.store.steps import STEPS, Step, answer

LIVE = tuple(state for state in State if state not in FINISHED)


class Broken(Exception):
    """Raised within a transaction."""


def undone(step: Step) -> Step:
    """Take a step in a transaction that fails after it."""

    def fail(store: Store) -> None:
        parts = (store.jobs, store.runs)
        for part in parts:
            part._transaction = partial(failing, part._transaction)  # type: ignore[method-assign]
        try:
            with suppress(Broken, GreenrunError):
                step(store)
        finally:
            for part in parts:
                del part._transaction  # type: ignore[method-assign]

    return fail


@contextmanager
def failing(transaction: Callable[[], AbstractContextManager[JobTransaction]]) -> Iterator[JobTransaction]:
    with transaction() as stored:
        yield stored
        raise Broken


def foreign(job: int, state: State) -> Step:
    """Let another program change a job."""

    def write(store: Store) -> None:
        with closing(connect(store.path)) as other, other:
            other.execute("UPDATE jobs SET state = ?, reason_text = 'by hand' WHERE id = ?", (state.value, job))

    return write


def in_file(path: Path) -> list[Job]:
    with Store(path) as fresh:
        return [job for job in fresh.jobs.jobs() if job.state in LIVE]


ANY = st.one_of(
    STEPS,
    STEPS,
    STEPS.map(undone),
    st.builds(foreign, st.integers(1, 4), st.sampled_from([State.QUEUED, State.CANCELLED])),
)


@given(st.lists(ANY, min_size=5, max_size=30))
@settings(deadline=None, max_examples=25)
def test_the_jobs_in_memory_are_those_in_the_file_after_any_steps(steps: list[Step]) -> None:
    with TemporaryDirectory() as folder, Store(Path(folder) / "greenrun.db") as store:
        for step in steps:
            answer(step, store)
            everything = [job for job in store.jobs.jobs() if job.state in LIVE]  # read from the file
            assert list(store.jobs.jobs(LIVE)) == everything
            assert store.jobs.count_queued() == sum(job.state is State.QUEUED for job in everything)
            assert [store.jobs.job(job.id) for job in everything] == everything
            assert store.jobs.job_states(range(1, 9)) == {job.id: job.state for job in store.jobs.jobs()}
        assert in_file(store.path) == list(store.jobs.jobs(LIVE))


def test_jobs_that_did_not_change_are_not_read_again(store: Store) -> None:
    for _ in range(3):
        submit(store)
    before = store.jobs.jobs(LIVE)
    store.jobs.intend(Intent.HOLD, [2], actor="ada", now=NOW)
    store.jobs.set_reason({3: WHY}, now=NOW)
    store.jobs.add_job(spec(), user="ada", uid=1000, now=NOW)
    after = store.jobs.jobs(LIVE)
    assert [job is old for job, old in zip(after, before, strict=False)] == [True, False, False]
    assert after[0] is store.jobs.job(1)


def test_two_stores_on_one_file_see_each_other(store: Store) -> None:
    with Store(store.path) as other:
        assert other.jobs.jobs(LIVE) == []
        job = submit(store)
        assert other.jobs.jobs(LIVE) == [job]
        other.jobs.intend(Intent.CANCEL, [job.id], actor="ada", now=NOW)
        assert store.jobs.job(job.id).cancel_requested
        running(other)
        assert [row.state for row in store.jobs.jobs(LIVE)] == [State.QUEUED, State.RUNNING]


def test_a_write_by_any_statement_is_seen(store: Store) -> None:
    jobs = [submit(store) for _ in range(3)]
    assert list(store.jobs.jobs(LIVE)) == jobs
    with store.database.write() as session:
        session.connection().exec_driver_sql("UPDATE jobs SET project = 'other' WHERE id <> 2")
    assert [job.spec.project for job in store.jobs.jobs(LIVE)] == ["other", jobs[1].spec.project, "other"]
