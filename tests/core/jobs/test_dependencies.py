"""A job starts only when what it waits for has ended as it asked, and never more of an array than its limit."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.dependencies import blocked, crowded_out, hopeless
from greenrun.core.jobs.job import FINISHED, After, ArrayPlace, Dependency, Job, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.model import Situation
from greenrun.core.planning.planner import plan
from tests.core.build import T0, job

STATES = st.dictionaries(st.integers(1, 5), st.sampled_from(State))
AFTERS = st.lists(st.builds(Dependency, job_id=st.integers(1, 5), on=st.sampled_from(After)), max_size=4).map(tuple)


def waiting(*after: tuple[int, After]) -> Job:
    return job(9, after=tuple(Dependency(job_id=key, on=on) for key, on in after))


def member(job_id: int, key: str = "a", at_once: int | None = 2) -> Job:
    return job(job_id, array=ArrayPlace(key=key, index=job_id, size=9, at_once=at_once))


@given(after=AFTERS, states=STATES)
def test_a_job_starts_when_all_it_waits_for_ended_as_asked_and_is_lost_when_one_did_not(
    after: tuple[Dependency, ...], states: dict[int, State]
) -> None:
    asked = job(9, after=after)
    met = [states.get(row.job_id) in ({State.SUCCEEDED} if row.on is After.OK else FINISHED) for row in after]
    lost = [row.on is After.OK and states.get(row.job_id) in FINISHED - {State.SUCCEEDED} for row in after]
    assert (blocked(asked, states) is None) == all(met)
    assert (hopeless(asked, states) is not None) == any(lost)
    assert not (blocked(asked, states) is None and hopeless(asked, states)), "a job that may start is never lost"


@given(after=AFTERS, states=STATES, job_id=st.integers(1, 5), ended=st.sampled_from(sorted(FINISHED)))
def test_what_is_settled_stays_so_whatever_ends_later(
    after: tuple[Dependency, ...], states: dict[int, State], job_id: int, ended: State
) -> None:
    asked, later = job(9, after=after), {**states}
    if states.get(job_id) not in FINISHED:
        later[job_id] = ended
    assert blocked(asked, states) is not None or blocked(asked, later) is None
    assert hopeless(asked, states) is None or hopeless(asked, later) is not None


@pytest.mark.parametrize(
    ("on", "state", "wait", "lost"),
    [
        (After.OK, State.RUNNING, "waits for job 7 to succeed", None),
        (After.ANY, State.QUEUED, "waits for job 7 to end", None),
        (After.OK, State.FAILED, "waits for job 7 to succeed",
         "was to run once job 7 had succeeded, and job 7 has failed"),
        (After.OK, State.CANCELLED, "waits for job 7 to succeed",
         "was to run once job 7 had succeeded, and job 7 has been cancelled"),
        (After.ANY, State.FAILED, None, None),
        (After.OK, State.SUCCEEDED, None, None),
    ],
)  # fmt: skip
def test_the_sentences_name_the_job(on: After, state: State, wait: str | None, lost: str | None) -> None:
    asked, states = waiting((7, on)), {7: state}
    told = [reason and reason.text for reason in (blocked(asked, states), hopeless(asked, states))]
    assert told == [wait, lost]


@given(
    ids=st.lists(st.tuples(st.integers(1, 50), st.sampled_from("abc")), max_size=12, unique_by=lambda row: row[0]),
    at_once=st.integers(1, 4),
    live=st.dictionaries(st.sampled_from("abc"), st.integers(0, 5)),
)
def test_no_more_of_an_array_than_its_limit_are_let_through_and_no_fewer(
    ids: list[tuple[int, str]], at_once: int, live: dict[str, int]
) -> None:
    jobs = [member(job_id, key, at_once) for job_id, key in ids]
    held_back = crowded_out(jobs, live)
    through = Counter(key for job_id, key in ids if job_id not in held_back)
    queued = Counter(key for _, key in ids)
    assert through == +Counter({key: min(queued[key], max(0, at_once - live.get(key, 0))) for key in queued})
    for job_id, key in ids:
        earlier = [other for other, same in ids if same == key and other < job_id]
        assert job_id in held_back or not held_back.keys() & set(earlier), "the lowest ids go first"


def test_an_array_without_a_limit_holds_nobody_back() -> None:
    assert crowded_out([member(key, at_once=None) for key in range(1, 9)], {"a": 100}) == {}


def test_the_plan_gives_no_place_to_a_job_that_waits_for_what_it_does_not_know_or_for_its_turn() -> None:
    jobs = (replace(job(1), held=True), job(2, after=(Dependency(job_id=1),)), member(3), member(4), member(5))
    situation = Situation(now=T0, jobs=jobs, devices=("a", "b", "c", "d"), states={1: State.QUEUED}, arrays={"a": 1})
    made = plan(situation)
    assert {row.job_id for row in made.placements} == {3}
    assert {row.job_id: row.reason.code for row in made.waiting} == {
        1: ReasonCode.HELD, 2: ReasonCode.WAITS_FOR, 4: ReasonCode.ARRAY_FULL, 5: ReasonCode.ARRAY_FULL,
    }  # fmt: skip
