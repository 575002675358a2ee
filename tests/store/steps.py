"""Steps in the lives of a few jobs, drawn at random, for what must hold after any sequence of them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from greenrun.core.errors import GreenrunError, JobError
from greenrun.core.jobs.job import Anomaly, Job, Outcome, State
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.core.jobs.runs.anomalies import RuleResult
from greenrun.core.jobs.transitions import Edit, Intent
from tests.store.examples import NOW, after, spec

Step = Callable[[Any], object]

IDS = st.integers(1, 4)
SECONDS = st.integers(0, 3600)
REASONS = st.sampled_from([Reason(code, code.value) for code in (ReasonCode.DUE, ReasonCode.NO_FORECAST)])


def submit(seconds: int, delay: int | None, keys: list[str | None], user: str) -> Step:
    limit = None if delay is None else timedelta(seconds=delay)
    own = {"max_delay": limit, "env": {"TOKEN": "secret", "A": "b"}, "start_after": after(delay or 0)}
    wanted = [spec(unique_key=key, **own) for key in keys]
    return lambda store: store.jobs.add_jobs(wanted, user=user, uid=1000, now=after(seconds))


def change_states(jobs: list[int], old: State, new: State, reason: Reason, seconds: int) -> Step:
    moves = dict.fromkeys(jobs, (new, reason))
    return lambda store: store.jobs.change_states(old, moves, actor="ada", now=after(seconds))


def explain(job: int, reason: Reason, seconds: int) -> Step:
    return lambda store: store.jobs.set_reason({job: reason, 99: reason}, now=after(seconds))


def intend(intent: Intent, jobs: list[int]) -> Step:
    return lambda store: [_told(row) for row in store.jobs.intend(intent, jobs, actor="ada", now=NOW)]


def _told(outcome: Job | JobError) -> object:
    return (type(outcome), str(outcome)) if isinstance(outcome, JobError) else outcome


def requeue(job: int, seconds: int) -> Step:
    def step(store: Any) -> object:
        before = store.jobs.job(job)
        return store.jobs.edit([Edit(before=before, spec=before.spec, requeue=True)], actor="ada", now=after(seconds))

    return step


def claim(job: int, devices: list[str], reason: Reason, seconds: int) -> Step:
    def step(store: Any) -> object:
        run = store.runs.claim(job, devices, reason=reason, now=after(seconds))
        return run and (run.id, run.number, run.devices)

    return step


def confirm(run: int, seconds: int) -> Step:
    return lambda store: store.runs.confirm(run, started_at=after(seconds), log=f"/logs/{run}", now=after(seconds))


def close(run: int, outcome: Outcome, state: State, start: int | None, end: int, progress: int | None) -> Step:
    return lambda store: store.runs.close_run(
        run, outcome=outcome, exit_code=1, started_at=None if start is None else after(start), ended_at=after(end),
        log=None, job_state=state, reason=Reason(ReasonCode.EXIT_CODE, "1"), now=after(end),
        progress=None if progress is None else timedelta(seconds=progress),
    )  # fmt: skip


def keep_work(run: int, work: int) -> Step:
    return lambda store: store.runs.keep_work(run, work=float(work), unit="steps", at=after(work))


def ignore_work(run: int) -> Step:
    return lambda store: store.runs.note_ignored_work(run, "it went back", now=NOW)


def note(run: int, anomaly: Anomaly, is_anomalous: bool, stop: bool) -> Step:
    result = RuleResult(is_anomalous=is_anomalous, text="odd", numbers={"watts": 12.5})
    return lambda store: store.runs.note_anomaly(run, result, anomaly, stop=stop, now=NOW)


STATES = st.sampled_from(State)
ENDS = [State.CANCELLED, State.EXPIRED]
SOME = st.lists(IDS, max_size=3, unique=True)
KEYS = st.lists(st.sampled_from([None, None, "k", "l"]), min_size=1, max_size=3)
STEPS = st.one_of(
    st.builds(submit, SECONDS, st.none() | SECONDS, KEYS, st.sampled_from(["ada", "bob"])),
    st.builds(change_states, st.lists(IDS, min_size=1, max_size=1), STATES, STATES, REASONS, SECONDS),
    st.builds(change_states, SOME, st.just(State.QUEUED), st.sampled_from(ENDS), REASONS, SECONDS),
    st.builds(explain, IDS, REASONS, SECONDS),
    st.builds(intend, st.sampled_from(Intent), st.lists(IDS, max_size=5)),
    st.builds(intend, st.sampled_from(Intent), st.lists(IDS, min_size=1, max_size=1)),
    st.builds(claim, IDS, st.lists(st.sampled_from("ab"), unique=True), REASONS, SECONDS),
    st.builds(requeue, IDS, SECONDS),
    st.builds(confirm, IDS, SECONDS),
    st.builds(close, IDS, st.sampled_from(Outcome), STATES, st.none() | SECONDS, SECONDS, st.none() | SECONDS),
    st.builds(keep_work, IDS, SECONDS),
    st.builds(ignore_work, IDS),
    st.builds(note, IDS, st.sampled_from(Anomaly), st.booleans(), st.booleans()),
)


def answer(step: Step, store: Any) -> object:
    """What a step answers, or how it is refused."""
    try:
        return step(store)
    except GreenrunError as exc:
        return type(exc), str(exc)
