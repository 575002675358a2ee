"""The route of budgets, who sees whose, and what a submission is told that it will take."""

from datetime import UTC
from typing import Any

import pytest

from greenrun.core.budgets.budget import Budget, Budgets, Measure, Owner, OwnerKind
from greenrun.core.budgets.budget_admission import Standing
from greenrun.core.budgets.calendar_period import PeriodKind, period_of
from greenrun.core.budgets.charges import Amount, ChargedAccount
from greenrun.core.jobs.access import AccessRules, Sharing
from greenrun.core.jobs.job import Event, State
from greenrun.core.planning.model import Options
from greenrun.engine.budgets.budget_keeper import BudgetKeeper
from greenrun.engine.budgets.present_charges import BudgetRules
from greenrun.simulation.memory import MemoryStore
from tests.api.fakes import ADA, BOB, NOW, ROOT, World, stored

RULES = Budgets(
    projects={"vision": Budget(most={Measure.KG_CO2E: 2.0}, gpus=3), "secret": Budget(gpus=1)},
    users={"*": Budget(most={Measure.GPU_HOURS: 10.0}, period=PeriodKind.WEEK)},
)
USED = {Measure.KG_CO2E: Amount(0.95)}
ALL = [("project", "secret"), ("project", "vision"), ("user", "41002")]


def standing(owner: Owner, **own: Any) -> Standing:
    budget = RULES.of(owner)
    assert budget is not None
    return Standing(owner=owner, budget=budget, period=period_of(budget.period, NOW, UTC), **own)


def world_of(others: Sharing = Sharing.LISTED, rules: Budgets = RULES) -> World:
    """Budgets of a project that ada (41001) and bob (41002) have used, of one that is bob's alone, and of each user."""
    world = World(access=AccessRules(others=others, members={"secret": ("41002",)}))
    kept = BudgetKeeper(MemoryStore(), BudgetRules(budgets=rules), Options(gpu_power_w=300.0))
    by_account = {ChargedAccount("41001", "vision"): USED, ChargedAccount("41002", "vision"): USED}
    rows = [
        standing(
            Owner(OwnerKind.PROJECT, "vision"), used={Measure.KG_CO2E: Amount(1.9, 0.1)}, by_account=by_account,
            running={Measure.KG_CO2E: 0.05}, gpus_held=1, jobs_queued=2, jobs_withheld=1,
        ),
        standing(Owner(OwnerKind.PROJECT, "secret")),
        standing(Owner(OwnerKind.USER, "41002"), used={Measure.GPU_HOURS: Amount(4.0)}),
    ]  # fmt: skip
    kept.standings = {row.owner: row for row in rows} if rules else {}
    world.scheduler.kept_budgets = kept
    return world


def owners(world: World, who: str) -> list[tuple[str, str]]:
    return [(row["kind"], row["name"]) for row in world.ask("GET", "/v1/budgets", who=who).json()["budgets"]]


def test_users_see_their_own_budget_and_those_of_projects_that_they_may_submit_to() -> None:
    """Also one of their own of which they have used nothing yet."""
    own = ("user", "41001")
    assert owners(world_of(), ADA) == [("project", "vision"), own]
    assert owners(world_of(), BOB) == ALL
    assert owners(world_of(Sharing.OPEN), ADA) == [("project", "vision"), own, ("user", "41002")]
    assert [row for row in owners(world_of(), ROOT) if row[1] != "root"] == ALL


@pytest.mark.parametrize(
    ("others", "who", "users"),
    [
        (Sharing.LISTED, ADA, {"41001": 0.95, "others": 0.95}),
        (Sharing.PRIVATE, BOB, {"41002": 0.95, "others": 0.95}),
        (Sharing.OPEN, ADA, {"41001": 0.95, "41002": 0.95}),
        (Sharing.PRIVATE, ROOT, {"41001": 0.95, "41002": 0.95}),
    ],
)
def test_whose_use_it_was_is_told_as_far_as_the_site_shows_that(
    others: Sharing, who: str, users: dict[str, float]
) -> None:
    rows = world_of(others).ask("GET", "/v1/budgets", who=who).json()["budgets"]
    vision = next(row for row in rows if row["name"] == "vision")
    assert {row["user"]: row["kg_co2e"] for row in vision["users"]} == users


def test_a_budget_tells_what_is_left_of_it_and_until_when() -> None:
    answer = world_of().ask("GET", "/v1/budgets").json()
    vision = answer["budgets"][0]
    assert (answer["is_set"], answer["may_approve"]) == (True, False)
    assert (vision["period"], vision["period_name"], vision["end"]) == ("month", "2026-03", "2026-04-01T00:00:00Z")
    assert (vision["gpus_limit"], vision["gpus_held"], vision["jobs_queued"], vision["jobs_waiting"]) == (3, 1, 2, 1)
    (line,) = vision["lines"]
    assert line.pop("left") == pytest.approx(0.05)
    assert line == {
        "measure": "kg_co2e", "limit": 2.0, "used": 1.9, "assumed": 0.1, "is_known": True, "running": 0.05,
        "queued": 0.0, "ratio": 0.95,
    }  # fmt: skip


def test_without_budgets_there_are_none() -> None:
    answer = world_of(rules=Budgets()).ask("GET", "/v1/budgets").json()
    assert answer == {"is_set": False, "may_approve": False, "budgets": []}


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_a_submission_is_told_what_it_will_take_of_each_budget(query: str) -> None:
    """As these stood before it; the hour at its place emits 400 g."""
    told = world_of().submit(query, project="vision", gpus=1).json()["budgets"]
    assert [(row["kind"], row["name"], row["measure"], row["period"]) for row in told] == [
        ("project", "vision", "kg_co2e", "month"), ("user", "41001", "gpu_hours", "week"),
    ]  # fmt: skip
    assert [(row["limit"], row["left"], row["expected"]) for row in told] == [
        (2.0, pytest.approx(0.05), pytest.approx(0.4)), (10.0, 10.0, pytest.approx(1.0)),
    ]  # fmt: skip
    assert world_of(rules=Budgets()).submit(query, gpus=1).json()["budgets"] == []


def test_only_those_who_may_do_everything_let_a_job_go_over_a_budget() -> None:
    """Not even its own submitter."""
    world = world_of()
    world.store.keep(stored(1))
    refused = world.ask("POST", "/v1/jobs/approve", json={"ids": [1]})
    assert refused.status_code == 403
    assert "may let jobs go over a budget: ask one of them" in refused.json()["detail"]
    assert not world.store.kept[1].over_budget
    (row,) = world.ask("POST", "/v1/jobs/approve", who=ROOT, json={"ids": [1]}).json()
    assert (row["problem"], world.store.kept[1].over_budget) == (None, True)
    world.store.keep(stored(2, State.SUCCEEDED))
    (row,) = world.ask("POST", "/v1/jobs/approve", who=ROOT, json={"ids": [2]}).json()
    assert "only a queued job can be let go over a budget" in row["problem"]["detail"]


@pytest.mark.parametrize(
    ("owner", "seen"),
    [("user 41001", True), ("user 41002", False), ("project vision", True), ("project secret", False)],
)
def test_events_of_budgets_are_told_to_those_who_may_see_these(owner: str, seen: bool) -> None:
    world = world_of()
    detail = {"owner": owner, "what": "kwh", "period": "2026-03", "used": 8.0, "limit": 10.0, "share": 0.8}
    event = Event(id=1, at=NOW, actor="scheduler", kind="budget_near", job_id=None, run_id=None, detail=detail)
    world.store.log.append(event)
    assert bool(world.ask("GET", "/v1/events").json()) is seen
    assert len(world.ask("GET", "/v1/events", who=ROOT).json()) == 1
