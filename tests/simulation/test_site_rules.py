"""What a site's settings set, in a simulation: budgets, reserved and excluded GPUs, power limits; and a month of it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import fsum, sin, tau
from typing import Any

import pytest

from greenrun.core.accounting.weekly import Rule, Weekly
from greenrun.core.budgets.budget import Budget, Budgets, Measure, OverBudget, Owner, OwnerKind
from greenrun.core.budgets.calendar_period import PeriodKind, period_of
from greenrun.core.energy.power_limit import DirtyThreshold, ThresholdKind
from greenrun.core.errors import InvalidInput
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.core.planning.precedence.fair_share import AccountOf, Shares
from greenrun.core.planning.site_limits.reserved import WeeklyReservation
from greenrun.engine.budgets.present_charges import BudgetRules
from greenrun.engine.power_limits import PowerLimitSettings
from greenrun.simulation.case import Case, checked
from greenrun.simulation.compare import by_user, compare, document, figures
from greenrun.simulation.memory_books import MemoryBooks
from greenrun.simulation.play import World, play
from greenrun.simulation.policies import Arrival, policies_of
from greenrun.simulation.schedule import Schedule, is_late
from greenrun.simulation.site_rules import SiteRules
from greenrun.simulation.undone import undone_text
from tests.sampling import EFFORT, dice
from tests.simulation.build import HOUR, START_S, case, grid, hours, job

DAYS = 31  # of March
RED = Owner(OwnerKind.PROJECT, "red")


def site(users: Mapping[str, Budget] | None = None, projects: Mapping[str, Budget] | None = None) -> SiteRules:
    return SiteRules(budgets=BudgetRules(budgets=Budgets(users=users or {}, projects=projects or {})))


def daily(days: int, mean: float = 300.0) -> list[float]:
    """A grid that is clean at night, by 240 of 300 g/kWh."""
    return [mean - 60 * sin(tau * hour / 24) for hour in range(24 * days)]


def starts_h(schedule: Schedule) -> list[float | None]:
    return [hours(pieces)[0][0] if pieces else None for pieces in schedule.pieces]


@pytest.mark.parametrize(
    ("most", "of"),
    [({Measure.KG_CO2E: 0.65}, "user"), ({Measure.KWH: 2.1}, "project"), ({Measure.GPU_HOURS: 2}, "user")],
)
def test_jobs_wait_for_the_next_period_of_a_budget(most: Mapping[Measure, float], of: str) -> None:
    """Two jobs of 1 kW and an hour fit, the third waits for Monday."""
    rules = Budget(most=most, period=PeriodKind.WEEK)
    budgets = site({"ada": rules}) if of == "user" else site(projects={"red": rules})
    jobs = [job(at, wait=0, user="ada", project="red") for at in (0, 2, 4)]
    schedule = play(case(jobs, [300.0] * 24 * 10, site=budgets))
    assert starts_h(schedule) == [0, 2, 7 * 24]
    assert figures(schedule, jobs, grid([300.0] * 240)).late == 1


def test_jobs_over_a_budget_are_refused_where_the_site_says_so_and_the_figures_leave_them_out() -> None:
    rules = Budget(most={Measure.GPU_HOURS: 2}, over=OverBudget.REFUSE)
    jobs = [job(at, wait=0, user="ada") for at in (0, 2, 4)]
    of = case(jobs, [300.0] * 48, site=site({"ada": rules}))
    found = compare(of, policies_of(["greenrun", "start-at-once"], []))
    own = found.figures["greenrun"]
    assert (own.undone, own.late, own.emissions_g, found.at_once.emissions_g) == (1, 0, 600.0, 900.0)
    assert found.saving_ratio("greenrun") == 0.0, "against the same two jobs"
    assert by_user(found.schedules["greenrun"], jobs)["ada"].undone == 1
    (told,) = document(of, found)["policies"]["greenrun"]["undone_reasons"]
    assert told["job"] == 2
    assert "no room for the job: of 2 GPU-hours" in told["why"]
    assert any("1 job was not run" in line for line in undone_text(of, found))


def test_what_an_undone_job_ran_before_it_was_suspended_is_in_no_figure() -> None:
    """All GPUs are reserved but for two hours of each day, and the intensities end with the first."""
    kept = SiteRules(reserved=(weekly(count=4, begin=2, end=24),))
    jobs = [job(hours=3, gpus=2, wait=24, interruptible=True, user="ada"), job(wait=0, user="bob")]
    found = compare(case(jobs, [400.0] * 24, site=kept), policies_of(["greenrun"], []))
    schedule, own = found.schedules["greenrun"], found.figures["greenrun"]
    assert hours(schedule.pieces[0])[-1][1] == 2, "it ran, and is undone"
    assert (own.undone, own.emissions_g, own.earliest_start_g) == (1, 400.0, 400.0)
    assert (own.peak_gpus, own.peak_w, own.checkpoints) == (1, 1000.0, 0)
    assert found.saving_ratio("greenrun") == 0.0
    assert {user: row.gpu_hours for user, row in by_user(schedule, jobs).items()} == {"ada": 0.0, "bob": 1.0}


def test_where_jobs_are_undone_there_is_no_bound_but_the_reason() -> None:
    rules = Budget(most={Measure.GPU_HOURS: 2}, over=OverBudget.REFUSE)
    jobs = [job(at, wait=0, user="ada") for at in (0, 2, 4)]
    of = case(jobs, [300.0] * 48, site=site({"ada": rules}))
    told = document(of, compare(of, policies_of(["greenrun", "start-at-once"], [])))
    assert (told["bound_g"], told["bound_saving_ratio"]) == (None, None)
    assert told["bound_missing_reason"] == "it is for all jobs at full power, and greenrun left 1 job undone"
    peers = document(of, compare(of, policies_of(["start-at-once"], [])))
    assert (peers["bound_g"], peers["bound_missing_reason"]) == (900.0, None), "they ran all jobs"


def test_a_job_larger_than_the_whole_budget_is_refused_and_one_that_only_an_admin_could_let_go_never_runs() -> None:
    for over, why in ((OverBudget.WAIT, "was refused"), (OverBudget.ASK, "has not run when the intensities end")):
        rules = site({"ada": Budget(most={Measure.GPU_HOURS: 1}, over=over)})
        of = case([job(hours=2, user="ada"), job(user="bob", wait=0)], [300.0] * 72, site=rules)
        schedule = play(of)
        assert starts_h(schedule) == [None, 0]
        assert schedule.undone[0].startswith(why)


def test_with_ask_nobody_approves_so_jobs_wait_for_the_next_period_and_that_is_said() -> None:
    rules = Budget(most={Measure.GPU_HOURS: 1}, over=OverBudget.ASK, period=PeriodKind.WEEK)
    of = case([job(at, wait=0, user="ada") for at in (0, 2)], [300.0] * 24 * 9, site=site({"ada": rules}))
    found = compare(of, policies_of(["greenrun"], []))
    assert starts_h(found.schedules["greenrun"]) == [0, 7 * 24]
    assert any("nobody approves" in line for line in undone_text(of, found))


def test_quotas_of_gpus_and_of_queued_jobs_hold() -> None:
    rules = site({"ada": Budget(gpus=1), "bob": Budget(queued_jobs=1)})
    jobs = [job(user="ada", wait=0), job(user="ada", wait=0), job(at=0, user="bob", wait=0), job(user="bob", wait=0)]
    schedule = play(case(jobs, [300.0] * 48, site=rules))
    assert starts_h(schedule) == [0, 1, 0, None]
    assert "may have 1 job queued" in schedule.undone[3]


def weekly(count: int = 0, gpus: tuple[str, ...] = (), begin: int = 0, end: int = 8) -> WeeklyReservation:
    rule = Rule(days=frozenset(range(7)), start_min=begin * 60, end_min=end * 60, value=1.0)
    return WeeklyReservation(name="course", hours=Weekly.of([rule], None), gpus=gpus, count=count)


@pytest.mark.parametrize("reserved", [weekly(count=3), weekly(gpus=("1", "2", "3"))])
def test_reserved_gpus_are_left_alone_under_every_policy(reserved: WeeklyReservation) -> None:
    """Three of four are reserved until eight: one job goes at once, the others then."""
    jobs = [job(wait=10) for _ in range(3)]
    of = case(jobs, [100.0] * 8 + [300.0] * 64, site=SiteRules(reserved=(reserved,)))
    found = compare(of, policies_of(["greenrun", "start-at-once"], []))
    for name, schedule in found.schedules.items():
        starts = sorted(at for at in starts_h(schedule) if at is not None)
        assert starts == [0, 1, 2], name  # one after another on the GPU that is left


def test_excluded_gpus_are_none_and_the_others_keep_their_numbers() -> None:
    rules = SiteRules(excluded=frozenset({0, 2}), reserved=(weekly(gpus=("3",)),))
    assert [device.index for device in rules.devices(2)] == [1, 3]
    schedule = play(case([job(wait=0), job(wait=10)], [300.0] * 72, 2, site=rules))
    assert sorted(at for at in starts_h(schedule) if at is not None) == [0, 1]


def test_reservations_of_a_gpu_that_is_not_there_are_refused() -> None:
    with pytest.raises(InvalidInput) as one:
        checked(case([job()], [300.0] * 72, site=SiteRules(reserved=(weekly(gpus=("9",)),))))
    assert "devices.reserved.course names 9" in one.value.problems[0].message
    with pytest.raises(InvalidInput) as other:
        checked(case([job()], [300.0] * 72, None, site=SiteRules(excluded=frozenset({0}))))
    assert "say how many there are" in other.value.problems[0].message


def limited(above: float) -> SiteRules:
    threshold = DirtyThreshold(kind=ThresholdKind.STATED, value=above)
    return SiteRules(power_limits=PowerLimitSettings(above=threshold, change_every=timedelta(0)))


@pytest.mark.parametrize(
    ("text", "watts", "slowdown"), [("70%:slowdown=10%", 700, 0.1), ("250W:slowdown=25%", 500, 0.25)]
)
def test_a_limited_job_draws_less_and_takes_longer_in_dirty_hours_alone(
    text: str, watts: float, slowdown: float
) -> None:
    """Two GPUs of 500 W; the first two hours are dirty."""
    values = [400.0, 400.0, *[200.0] * 70]
    jobs = [job(hours=3, gpus=2, wait=1, power_limit=text)]
    of = case(jobs, values, site=limited(300), notice=timedelta(0))
    of = replace(of, jobs=(replace(jobs[0], max_delay_s=HOUR),))
    own = play(of)
    pieces, powers_w = own.pieces[0], own.powers_w.get(0, ())
    lowered_h = sum((end - start) / HOUR for (start, end), each in zip(pieces, powers_w, strict=True) if each == watts)
    full_h = sum((end - start) / HOUR for (start, end), each in zip(pieces, powers_w, strict=True) if each == 1000)
    assert lowered_h > 0
    assert lowered_h / (1 + slowdown) + full_h == pytest.approx(3, abs=1e-6), "all of its work is done"
    assert set(powers_w) == {watts, 1000.0}
    found = figures(own, of.jobs, of.measured)
    expected = [each / 1000 * of_piece for each, of_piece in zip(powers_w, map(grams_of(of), pieces), strict=True)]
    assert found.emissions_g == pytest.approx(fsum(expected))
    assert found.checkpoints == 0


@pytest.mark.parametrize(("above", "bound_g"), [(300, None), (500, 400.0)])
def test_where_power_was_lowered_there_is_no_bound_but_the_reason(above: float, bound_g: float | None) -> None:
    """At 70 % of its power the job emits less than it could at full power at any time."""
    of = case([job(wait=0, power_limit="70%:slowdown=10%")], [400.0] * 72, site=limited(above))
    found = compare(of, policies_of(["greenrun"], []))
    emitted_g = found.figures["greenrun"].emissions_g
    assert emitted_g is not None
    assert (emitted_g < 400.0) == (bound_g is None)
    assert found.bound.grams == bound_g
    why = "it is for all jobs at full power, and under greenrun power limits lowered what 1 job drew"
    assert found.bound.why_none == ("" if bound_g else why)


def grams_of(of: Case) -> Any:
    """How many g a piece emits for each kW."""

    def grams(piece: tuple[float, float]) -> float:
        start, end = (datetime.fromtimestamp(at, UTC) for at in piece)
        mean = of.measured.mean(start, end)
        assert mean is not None
        return mean * (piece[1] - piece[0]) / HOUR

    return grams


# a month

EVERY, JOBS_A_DAY = ((3, 1), (3, 1), (1, 4))[EFFORT]
CAP = Weekly.of([Rule(days=frozenset(range(5)), start_min=8 * 60, end_min=20 * 60, value=700.0)], 1500.0)


def month() -> Case:
    """Three users, two projects: red has some kg in the month, cid some GPU-hours in each week; less power by day."""
    random = dice("a month of a site")
    jobs = [
        Arrival(
            submitted_s=START_S + (day * 24 + random.uniform(0, 23)) * HOUR,
            duration_s=random.choice([1, 2, 4]) * HOUR,
            gpus=random.choice([1, 1, 2]),
            power_w=random.choice([200.0, 300.0, 450.0]),
            max_delay_s=random.choice([24, 48]) * HOUR,
            interruptible=random.random() < 0.2,
            user=user,
            project="red" if random.random() < 0.5 else "blue",
        )
        for day in range(0, DAYS - 3, EVERY)
        for user in ("ann", "ben", "cid")
        for _ in range(JOBS_A_DAY)
    ]
    rules = site({"cid": Budget(most={Measure.GPU_HOURS: WEEK_GPU_H}, period=PeriodKind.WEEK)}, {"red": RED_BUDGET})
    return case(
        jobs, daily(DAYS + 14), 4, site=replace(rules, pue=1.2), site_power=SitePower(cap=CAP),
        shares=Shares(by=AccountOf.USER, weights={"ann": 1.0, "ben": 1.0, "cid": 1.0}),
    )  # fmt: skip


WEEK_GPU_H = (8.0, 8.0, 24.0)[EFFORT]
RED_BUDGET = Budget(most={Measure.KG_CO2E: (1.6, 1.6, 20.0)[EFFORT]})


def test_a_month_keeps_its_cap_its_budgets_and_its_limits() -> None:
    of = month()
    world = World(of)
    schedule = world.play()
    assert_under_cap(of, schedule)
    assert_within_budgets(of, schedule)
    assert_charged_as_settled(world)
    free = [row for row, each in enumerate(of.jobs) if each.user != "cid" and each.project != "red"]
    assert [row for row in free if is_late(schedule.pieces[row], of.jobs[row])] == [], "limits that can be met are met"


def assert_under_cap(of: Case, schedule: Schedule) -> None:
    rows = [row for drawn in schedule.drawn(of.jobs) for row in drawn]
    moments = sorted({at for (start, end), _ in rows for at in (start, end)} | set(of.measured.starts_s.tolist()))
    for at in moments[:-1]:
        drawn_w = fsum(power_w for (start, end), power_w in rows if start <= at < end)
        assert drawn_w <= (CAP.at(datetime.fromtimestamp(at, UTC)) or 0.0) + 1e-6, at


def assert_within_budgets(of: Case, schedule: Schedule) -> None:
    """No more than there is, but for one job that was let go for as much as its cleanest hours would take."""
    gpu_hours: defaultdict[str, float] = defaultdict(float)
    grams: defaultdict[str, float] = defaultdict(float)
    most_g = max(each.power_w / 1000 * 360 * each.duration_s / HOUR for each in of.jobs) * of.site.pue
    for drawn, each in zip(schedule.drawn(of.jobs), of.jobs, strict=True):
        for (start, end), power_w in drawn:
            for begin, stop in pieces_by_hour(start, end):
                at = datetime.fromtimestamp(begin, UTC)
                if each.user == "cid":
                    gpu_hours[period_of(PeriodKind.WEEK, at, UTC).name] += (stop - begin) / HOUR * each.gpus
                if each.project == "red":
                    kg = grams_of(of)((begin, stop)) * power_w / 1e6 * of.site.pue
                    grams[period_of(PeriodKind.MONTH, at, UTC).name] += kg
    assert max(gpu_hours.values()) <= WEEK_GPU_H + 1e-6, dict(gpu_hours)
    assert max(grams.values()) <= RED_BUDGET.most[Measure.KG_CO2E] + most_g / 1000, dict(grams)


def pieces_by_hour(start_s: float, end_s: float) -> Sequence[tuple[float, float]]:
    edges = [start_s, *(at for at in range(int(start_s // HOUR + 1) * int(HOUR), int(end_s) + 1, int(HOUR))), end_s]
    return list(pairwise(sorted({at for at in edges if start_s <= at <= end_s})))


def assert_charged_as_settled(world: World) -> None:
    """What red is charged in the last period is what the ledger has settled in it."""
    now = world.machine.now
    for later in (timedelta(hours=2), timedelta(hours=2, minutes=2)):  # by then all of it is settled, and read again
        world.machine.now = now + later
        world.engine.refresh(now + later)
        world.engine.tick(now + later)
    books = world.store.books
    assert isinstance(books, MemoryBooks)
    period = period_of(PeriodKind.MONTH, now, UTC)
    runs = {run.id: world.store.jobs.job(run.job_id) for run in world.store.jobs.started()}
    mine = [row for row in books.entries if runs[row.slice.run_id or 0].spec.project == "red"]
    assert all(row.settled is not None for row in mine)
    last = [row for row in mine if row.slice.start >= period.start]
    settled_g = fsum(row.settled.emissions_g or 0.0 for row in last if row.settled)
    used_j = fsum(row.slice.energy_j or 0.0 for row in last)
    standing = world.engine.budgets.standing(RED, world.machine.now)
    assert standing is not None
    charged = standing.used[Measure.KG_CO2E]
    assert charged.is_known
    assert charged.value == pytest.approx(settled_g / 1000, abs=1e-9, rel=1e-9)
    assert standing.used[Measure.KWH].value == pytest.approx(used_j / 3.6e6, rel=1e-9)
