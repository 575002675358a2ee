"""What holds for every plan on a site with a power cap: no slot has more than the cap, by whatever path."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.accounting.weekly import Rule, Weekly
from greenrun.core.errors import InvalidJob
from greenrun.core.planning.admission import admit_all
from greenrun.core.planning.insertion import OpenPlan
from greenrun.core.planning.model import Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.core.planning.precedence.fair_share import AccountOf, Shares
from tests.core import situations as drawn
from tests.core.build import T0, job
from tests.core.exhaustive import Small, best_g
from tests.core.planning.power_cap.draws import situations
from tests.core.situations import quickly, situation
from tests.core.sound import check, check_power

MINUTE = timedelta(minutes=1)


@quickly(80)
@given(situations())
def test_no_plan_draws_more_than_the_cap(asked: Situation) -> None:
    made = plan(asked)
    check(asked, made)
    assert made == plan(asked)


@quickly(20)
@given(situations(crowded=True))
def test_no_plan_of_a_contended_queue_draws_more_than_the_cap(asked: Situation) -> None:
    check(asked, plan(asked))


@quickly(30)
@given(situations(crowded=True))
def test_no_plan_of_users_who_share_draws_more_than_the_cap(asked: Situation) -> None:
    """Their jobs have rounds, and trade places."""
    shares = Shares(by=AccountOf.USER, quantum=timedelta(minutes=10))
    jobs = tuple(replace(one, user=("ada", "bob")[one.id % 2]) for one in asked.jobs)
    shared = replace(asked, jobs=jobs, options=replace(asked.options, shares=shares), used_s={"ada": 3600.0})
    check(shared, plan(shared))


@quickly(20)
@given(st.lists(st.integers(1, 8), min_size=16, max_size=30), st.lists(st.booleans(), min_size=10, max_size=20))
def test_jobs_trade_places_within_the_cap(values: list[int], heavy: list[bool]) -> None:
    """Of two users, one of which has used more: light jobs run three at a time, a heavy one beside one of them."""
    jobs = [
        replace(job(number, slots=2, power_w=900.0 if is_heavy else 300.0), user="ada" if is_heavy else "bob")
        for number, is_heavy in enumerate(heavy, start=1)
    ]
    site = SitePower(cap=Weekly.of([], 1200.0), limit_w={f"gpu{i}": 1000.0 for i in range(3)})
    options = replace(situation([], []).options, shares=Shares(by=AccountOf.USER, quantum=MINUTE))
    for used_s in ({"ada": 36_000.0}, {"bob": 36_000.0}):
        asked = situation(jobs, [50.0 * value for value in values], gpus=3, power=site, options=options, used_s=used_s)
        check(asked, plan(asked))


@quickly(40)
@given(situations(), drawn.seconds(1, 7200))
def test_the_next_plan_draws_no_more_either(asked: Situation, passed: timedelta) -> None:
    """It begins at the places of the last one, and some of its jobs are due."""
    first = plan(asked)
    started = {row.job_id for row in first.placements if row.start <= asked.now}
    jobs = tuple(one for one in asked.jobs if one.id not in started)
    later = replace(asked, now=asked.now + passed, jobs=jobs, last=first, prices=first.prices)
    check(later, plan(later))


@quickly(40)
@given(situations(), st.integers(0, 6), st.integers(1, 3))
def test_jobs_that_are_put_into_a_plan_draw_no_more_than_it_leaves(asked: Situation, first: int, at_once: int) -> None:
    before = replace(asked, jobs=asked.jobs[:first])
    made, rest = OpenPlan(plan(before), before), list(asked.jobs[first:])
    for begin in range(0, len(rest), at_once):
        some = rest[begin : begin + at_once]
        made.add(some, made.find(some, {}, asked.now), {})
    check_power(asked, made.plan)
    made.remove({one.id for one in rest})
    again = made.find(rest, {}, asked.now)
    made.add(rest, again, {})
    check_power(asked, made.plan)


@quickly(30)
@given(situations(), st.integers(0, 5))
def test_what_is_accepted_with_its_limits_draws_no_more_than_the_cap(asked: Situation, first: int) -> None:
    before = replace(asked, jobs=asked.jobs[:first])
    for one in asked.jobs[first:]:
        try:
            made = admit_all(before, [one])
        except InvalidJob:
            continue
        before = replace(before, jobs=(*before.jobs, one))
        check_power(before, made)


@quickly(30)
@given(drawn.situations())
def test_a_cap_that_is_never_reached_changes_no_plan(asked: Situation) -> None:
    capped = replace(asked, power=SitePower(cap=Weekly.of([], 1e8), limit_w=dict.fromkeys(asked.devices, 400.0)))
    assert plan(capped) == plan(asked)


def test_what_waits_for_gpus_alone_is_placed_under_a_cap_as_without_one() -> None:
    """Job 2 is not to be suspended for job 1 just because there is some cap."""
    jobs = [
        job(1, gpus=3, duration=MINUTE, max_delay=MINUTE),
        job(
            2, gpus=1, duration=2 * MINUTE, interruptible=True, min_run=0 * MINUTE, restart_cost=0 * MINUTE, priority=1
        ),
    ]
    asked = situation(jobs, [], gpus=3)
    site = SitePower(cap=Weekly.of([], 1e8), limit_w=dict.fromkeys(asked.devices, 400.0))
    assert plan(replace(asked, power=site)).placements == plan(asked).placements


def small_queues(number: int, count: int) -> Iterator[tuple[Situation, float]]:
    """Queues on a site whose cap is lower for some of four hours, with their best emissions."""
    rng, step = random.Random(number), 10
    while count:
        values = [float(rng.randrange(50, 450)) for _ in range(8)]
        steps = [values[step * i // 30] for i in range(24)]
        begin, end = sorted(rng.sample(range(0, 241, step), 2))
        low, high = rng.choice([500.0, 1000.0, 1500.0]), rng.choice([1500.0, 2000.0, 3000.0])
        rule = Rule(days=frozenset({0}), start_min=begin, end_min=end, value=low)
        caps_w = [low if begin <= step * i < end else high for i in range(24)]
        jobs, small = [], []
        for key in range(1, number + 1):
            length, watts = rng.randrange(1, 9), rng.choice([500.0, 1000.0, 1500.0])
            delay = min(rng.randrange(0, 24), 24 - length)
            limits = {"max_delay": delay * step * MINUTE, "duration": length * step * MINUTE}
            jobs.append(job(key, submitted=T0, gpus=1, power_w=watts, **limits))
            small.append(Small(length=length, gpus=1, earliest=0, latest=delay, watts=watts))
        best = best_g(small, steps, 3, step, caps_w)
        if best is not None:
            count -= 1
            yield replace(situation(jobs, values, 3), power=SitePower(cap=Weekly.of([rule], high))), best


@pytest.mark.parametrize(("number", "count"), [(1, 40), (2, 40), (3, 30), (4, 20)])
def test_few_jobs_meet_their_limits_under_a_cap_and_have_all_but_the_best_plan_there_is(
    number: int, count: int
) -> None:
    """Against every start of every job on a grid of ten minutes, and the bound is one."""
    above = []
    for asked, best in small_queues(number, count):
        made = plan(asked)
        check(asked, made)
        assert not any(row.late for row in made.placements), "some plan meets all limits"
        assert made.expected_g is not None
        assert made.bound_g is not None
        assert made.bound_g <= best * (1 + 1e-9)
        above.append(made.expected_g / best - 1)
    assert sum(above) / len(above) <= 0.01
