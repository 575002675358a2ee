"""Where users want more than there is, each gets its share; limits come before shares, and shares before priority."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import Job
from greenrun.core.planning.model import Options
from greenrun.core.planning.planner import plan
from greenrun.core.planning.precedence.fair_share import MOST_ROUNDS, AccountOf, Shares, precedence, rounds, turn_text
from tests.core.build import SLOT, T0, job
from tests.core.situations import situation
from tests.sampling import examples

HOUR_S = 3600.0
SHARES = Shares(
    by=AccountOf.USER, quantum=timedelta(hours=1)
)  # on 2 GPUs and two users of one share: a GPU-hour, two slots, for each
DIP = [300, 300, 100, 300, 300, 300]


def of(user: str, job_id: int, **spec: Any) -> Job:
    return replace(job(job_id, **spec), user=user)


def turns(jobs: Sequence[Job], shares: Shares = SHARES, gpus: int = 2, **used_h: float) -> list[int]:
    return rounds(jobs, shares, {user: hours * HOUR_S for user, hours in used_h.items()}, gpus)


def test_among_nobody_all_have_one_round() -> None:
    jobs = [*(of("ada", number) for number in range(40)), of("bob", 40)]
    assert turns(jobs, replace(SHARES, by=AccountOf.NOBODY), ada=1000) == [0] * 41


def test_one_user_alone_has_a_single_round_however_much_waits_and_was_used() -> None:
    assert turns([of("ada", number, slots=100) for number in range(5)], ada=1000) == [0] * 5


def test_a_sweep_takes_as_many_rounds_as_it_has_shares_of_work() -> None:
    jobs = [*(of("ada", number) for number in range(6)), of("bob", 6), of("bob", 7)]
    assert turns(jobs) == [0, 0, 1, 1, 2, 2, 0, 0]


def test_whoever_has_used_more_has_its_turn_later_and_only_the_difference_counts() -> None:
    jobs = [of("ada", 1), of("bob", 2)]
    assert turns(jobs, ada=3) == [3, 0]
    assert turns(jobs, ada=103, bob=100) == [3, 0]
    assert turns(jobs, ada=2, bob=2, eve=0) == [0, 0]  # who has nothing waiting does not count


def test_shares_weigh_use_and_waiting_work() -> None:
    jobs = [*(of("ada", number) for number in range(6)), *(of("bob", number) for number in range(6, 12))]
    found = turns(jobs, replace(SHARES, weights={"ada": 3.0}), gpus=4)  # 8 slots a round: 6 and 2
    assert found == [0] * 6 + [0, 0, 1, 1, 2, 2]
    assert turns([jobs[0], jobs[6]], replace(SHARES, weights={"ada": 3.0}), gpus=2, ada=6, bob=2) == [0, 0]


def test_gpus_count_and_jobs_without_any_are_in_the_round_of_the_next() -> None:
    jobs = [of("ada", 1, gpus=2), of("ada", 2, gpus=0, slots=50), of("ada", 3), of("bob", 4)]
    assert turns(jobs) == [0, 1, 1, 0]


def test_an_account_may_be_a_project() -> None:
    jobs = [of("ada", 1, project="thesis"), of("ada", 2, project="thesis"), of("ada", 3, project="thesis"),
            of("ada", 4, project="lab")]  # fmt: skip
    assert turns(jobs) == [0, 0, 0, 0]
    assert turns(jobs, replace(SHARES, by=AccountOf.PROJECT)) == [0, 0, 1, 0]


def test_rounds_far_away_are_one() -> None:
    jobs = [*(of("ada", number) for number in range(40)), of("bob", 40)]
    assert max(turns(jobs)) == MOST_ROUNDS - 1


def test_a_user_s_own_jobs_have_their_turns_by_priority_and_nobody_takes_another_s_by_it() -> None:
    jobs = [*(of("ada", number, priority=1000 * (number == 3)) for number in range(4)), of("bob", 4), of("bob", 5)]
    assert turns(jobs) == [0, 1, 1, 0, 0, 0]
    first = precedence(jobs, turns(jobs))
    assert first[3] > first[0] == first[4] == first[5] > first[1] == first[2]
    assert precedence(jobs, [0] * 6) == (0, 0, 0, 1, 0, 0)


@given(st.lists(st.floats(0, 60), min_size=3, max_size=3))
def test_use_is_the_integral_of_a_weight_that_halves_with_every_half_life(days: list[float]) -> None:
    now = T0 + timedelta(days=60)
    start, middle, end = (T0 + timedelta(days=each) for each in sorted(days))
    whole = SHARES.decayed_s(start, end, now)
    assert whole == pytest.approx(SHARES.decayed_s(start, middle, now) + SHARES.decayed_s(middle, end, now))
    assert 0 <= whole <= (end - start).total_seconds() + 1e-6
    assert SHARES.decayed_s(start, end, now + SHARES.half_life) == pytest.approx(whole / 2)
    assert whole * SHARES.decay(timedelta(days=3)) == pytest.approx(
        SHARES.decayed_s(start, end, now + timedelta(days=3))
    )


def test_a_person_can_read_when_a_job_has_its_turn_and_why() -> None:
    jobs = [*(of("ada", number) for number in range(6)), of("bob", 6)]
    used_s = {"ada": 3 * HOUR_S, "bob": HOUR_S}
    assert turn_text(4, jobs, SHARES, used_s, 2) == (
        "2 users share the GPUs in rounds of 1h of all of them: by use for each share, halved every 7d, ada has used "
        "2.0 GPU-hours more than others, so that this job has its turn in round 5."
    )
    assert "nobody has used less than bob, so that this job has its turn in round 1." in str(
        turn_text(6, jobs, SHARES, used_s, 2)
    )
    assert turn_text(6, jobs, replace(SHARES, quantum=timedelta(days=9)), used_s, 2) is None
    assert turn_text(99, jobs, SHARES, used_s, 2) is None


def shared(quantum: timedelta = timedelta(minutes=30)) -> Options:
    return Options(shares=Shares(by=AccountOf.USER, quantum=quantum))


def starts(jobs: Sequence[Job], gpus: int = 1, **more: Any) -> dict[int, float]:
    made = plan(situation(jobs, DIP, gpus=gpus, options=more.pop("options", shared()), **more))
    return {row.job_id: round((row.start - T0) / SLOT, 6) for row in made.placements}


def test_of_two_that_want_the_same_clean_window_the_one_who_used_less_has_it() -> None:
    jobs = [of("ada", 1, power_w=1000.0), of("bob", 2, power_w=10.0)]
    assert starts(jobs)[1] == 2  # as long as nobody has used more, grams decide
    assert starts(jobs, used_s={"ada": HOUR_S})[2] == 2
    assert starts(jobs, used_s={"ada": HOUR_S}, options=shared(timedelta(hours=9)))[1] == 2  # all fits into one round


def test_a_sweep_leaves_another_user_its_share_of_gpus_at_once() -> None:
    sweep = [of("ada", number, start_now=True) for number in range(1, 7)]
    placed = starts([*sweep, of("bob", 7, start_now=True)])
    assert sorted(placed.values()) == [0, 1, 2, 3, 4, 5, 6]
    assert placed[7] <= 1


def test_a_limit_is_not_missed_for_another_s_share() -> None:
    by = T0 + SLOT
    jobs = [of("ada", 1, finish_by=by), of("bob", 2, start_now=True)]
    assert starts(jobs, used_s={"ada": 100 * HOUR_S}) == {1: 0, 2: 1}


def test_gpus_that_the_first_cannot_use_go_to_the_next() -> None:
    jobs = [of("ada", 1, start_now=True), of("bob", 2, start_after=T0 + 3 * SLOT)]
    assert starts(jobs, used_s={"ada": 100 * HOUR_S}) == {1: 0, 2: 3}


@given(
    st.lists(st.integers(50, 400), min_size=24, max_size=40),
    st.integers(8, 14),
    st.integers(8, 14),
    st.floats(0, 20),
)
@examples(40)
def test_of_like_jobs_none_runs_before_one_of_an_account_that_has_used_less_by_then(
    values: list[int], adas: int, bobs: int, used_h: float
) -> None:
    jobs = [of("ada" if number <= adas else "bob", number, slots=2) for number in range(1, adas + bobs + 1)]
    used_s = {"ada": used_h * HOUR_S}
    shares = Shares(by=AccountOf.USER, quantum=timedelta(minutes=1))  # nearly all are in the last round
    made = plan(situation(jobs, values, gpus=2, options=Options(shares=shares), used_s=used_s))
    turn_of = dict(zip((job.id for job in jobs), rounds(jobs, shares, used_s, 2), strict=True))
    placed = sorted(made.placements, key=lambda row: (row.start, turn_of[row.job_id]))
    users = {job.id: job.user for job in jobs}
    told_s = {"ada": used_s["ada"], "bob": 0.0}
    for nth, row in enumerate(placed):
        for later in placed[nth + 1 :]:
            if turn_of[later.job_id] == turn_of[row.job_id] and later.start > row.start:
                assert told_s[users[row.job_id]] <= told_s[users[later.job_id]] + 2 * SLOT.total_seconds()
        told_s[users[row.job_id]] += 2 * SLOT.total_seconds()
