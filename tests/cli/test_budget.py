"""`greenrun budget` says what is left, who used it and what waits, in words; to a newcomer, how budgets are set."""

from typing import Any

from tests.cli.conftest import Run
from tests.cli.examples import job
from tests.fake_api import FakeApi

LINE = {
    "measure": "kg_co2e", "limit": 2.0, "used": 1.6, "assumed": 0.1, "is_known": True, "running": 0.05, "queued": 0.3,
    "left": 0.05, "ratio": 0.8,
}  # fmt: skip
USER = {"user": "ada", "gpu_hours": 12.0, "kwh": None, "kg_co2e": 1.6, "money": None}
VISION = {
    "kind": "project", "name": "vision", "period": "month", "period_name": "2026-01", "start": "2026-01-01T00:00:00Z",
    "end": "2026-02-01T00:00:00Z", "over": "ask", "keep_limits": False, "currency": None, "lines": [LINE],
    "gpus_limit": 3, "gpus_held": 1, "gpus_kept": 2, "queued_limit": None, "jobs_queued": 4, "jobs_waiting": 1,
    "users": [USER],
}  # fmt: skip


def lines(run: Run) -> list[str]:
    return [" ".join(line.split()) for line in run("budget").out.splitlines()]


def answer(*budgets: dict[str, Any], is_set: bool = True) -> dict[str, Any]:
    return {"is_set": is_set, "may_approve": False, "budgets": list(budgets)}


def test_a_budget_in_words(api: FakeApi, run: Run) -> None:
    api.get("/v1/budgets", answer(VISION))
    first, *rest = lines(run)
    assert first.startswith("project vision: 2026-01, until 2026-02-01 00:00; jobs without room wait until an admin")
    assert rest == [
        "OF LIMIT USED RUNNING QUEUED LEFT USED %",
        "emissions 2 kg CO2e 1.6 kg CO2e 50 g CO2e 300 g CO2e 50 g CO2e 80 %",
        "100 g CO2e of what was used is an estimate, for what was not measured or not priced",
        "GPUs at once: 1 of 3 held, 2 kept for queued jobs",
        "4 queued jobs, of which 1 wait for room",
        "used by ada 1.6 kg CO2e",
    ]


def test_what_is_not_known_is_said(api: FakeApi, run: Run) -> None:
    api.get("/v1/budgets", answer({**VISION, "lines": [{**LINE, "is_known": False}]}))
    told = lines(run)
    assert "1.6 kg CO2e at least" in told[2]
    assert told[3] == "some of what was used is not in the emissions: nothing is known to reckon it by"


def test_quotas_alone(api: FakeApi, run: Run) -> None:
    quotas = {**VISION, "lines": [], "users": [], "queued_limit": 4, "gpus_kept": 0}
    api.get("/v1/budgets", answer(quotas))
    assert lines(run) == [
        "project vision: quotas of what it holds at once",
        "GPUs at once: 1 of 3 held",
        "queued jobs: 4 of 4, of which 1 wait for room",
    ]


def test_a_newcomer_is_told_how_budgets_are_set(api: FakeApi, run: Run) -> None:
    api.get("/v1/budgets", answer(is_set=False))
    told = run("budget").out
    assert told.startswith("No budgets or quotas are set here: nobody's use is limited.")
    assert "[budget.project.vision]" in told
    api.get("/v1/budgets", answer())
    assert run("budget").out == "Budgets are set here, and none is yours: you and your projects are not limited.\n"


def test_a_submission_says_what_it_will_take(api: FakeApi, run: Run) -> None:
    use = {"kind": "project", "name": "vision", "period": "month", "limit": 2.0, "currency": "EUR"}
    rows = [
        {**use, "measure": "kg_co2e", "left": 0.5, "expected": 0.12},
        {**use, "measure": "money", "left": 5.0, "expected": None},
    ]
    api.post("/v1/jobs", {**job(12), "warnings": [], "budgets": rows}, status=201)
    told = run("submit", "--duration", "1h", "--", "true").out.splitlines()[-1].strip()
    assert told == (
        "is expected to take 120 g CO2e of 500 g CO2e, an unknown share of 5.00 EUR left in the budget of project "
        "vision this month"
    )


def test_an_admin_lets_a_job_go(api: FakeApi, run: Run) -> None:
    api.post("/v1/jobs/approve", [{"id": 12, "job": job(12, reason=None), "problem": None}])
    assert run("approve", "12").out == "job 12 queued\n"
    assert api.changes[-1].body == {"ids": [12]}
